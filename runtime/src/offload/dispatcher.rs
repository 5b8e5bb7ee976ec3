//! The executor behind the offloader: every input of every admitted stream is placed
//! by the policy, and answered by whoever is first, the device by its deadline.
//!
//! The exchange with the fog host runs beside the device's own work. The device
//! begins by itself when the input is armed: admission has found for how long each
//! stream can wait so that all deadlines are kept if no answer ever comes. The first
//! valid answer counts. The exchange that the device outpaced is ended by whoever makes
//! it, what still comes of it is discarded and counted, and the device's execution ends
//! after the segment that is running where the fog host was first.
//!
//! It is told the time, and what happens; it has no clock, no thread and no socket. A
//! [`Runner`](super::Runner) gives it these, [`simulate`](super::simulate::simulate)
//! gives it simulated ones.

mod change;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leeway_contract::{Digest, Fuel};
use serde::Serialize;

pub use self::change::Begun;
use self::change::Change;
use super::beliefs::{Beliefs, ProbeRule};
use super::fog::{FogAnswer, FogError, Mismatch};
use super::policy::{Context, Decision, Placement, Policy, Reason};
use super::record::{DecisionRecord, FogFailure, Outcome};
use super::subject::{Course, Moment, Subject};
use crate::admission::{Admission, Executor, Stream};
use crate::executor::machine::{Next, Progress, Taken};
use crate::executor::{Counts, JobId, Machine, Service, Shed};
use crate::timing::times;

/// Names an input that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId {
    /// The core that runs it, if the device does.
    pub core: usize,
    /// Its job there.
    pub job: JobId,
}

/// An input that was taken and placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Names it from now on.
    pub input: InputId,
    /// The stream whose model answers it: another one's where it was degraded.
    pub stream: usize,
    /// The model.
    pub module: Digest,
    /// When its answer is due.
    pub deadline: Duration,
    /// Where it is to be sent to the fog host: for how long an answer is of use.
    /// [`Dispatcher::replied`] must be called once, whatever comes of it.
    pub exchange: Option<Duration>,
    /// An older one, whose place it took.
    pub dropped: Option<InputId>,
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It came too early for its stream.
    Shed(Shed),
    /// Nothing is promised to its stream at the moment, and it has no smaller model.
    SetAside,
    /// Its stream is not served any more, or not by the model that was named.
    Superseded,
    /// It came too early for its stream, which is about to be another one: it has to
    /// come again.
    Changing,
}

/// What a reply of the fog host, or its failure, meant.
#[derive(Debug)]
pub enum Replied {
    /// It is the answer.
    Answer(Box<DecisionRecord>),
    /// It came too late, or cannot be used: it is discarded.
    Discarded,
    /// The device has failed as well: there is no answer.
    Lost(FogFailure),
}

/// What the end of a segment meant.
#[derive(Debug)]
pub enum Ran {
    /// There are more.
    More,
    /// The device has answered. `raised` where it took longer than was promised: the
    /// streams should be admitted again.
    Answered {
        /// What is written down.
        record: Box<DecisionRecord>,
        /// Whether the bound of its time was raised.
        raised: bool,
    },
    /// The fog host had answered in the meantime.
    TooLate,
}

/// What it meant that a segment was stopped.
#[derive(Debug)]
pub struct Stopped {
    /// What is written down where there is no answer now; the fog host has given one, or
    /// may, where there is none.
    pub record: Option<Box<DecisionRecord>>,
    /// Whether the bound of its model's time was raised.
    pub raised: bool,
}

/// Replies that were no answers, by what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Discarded {
    /// Valid, and after the device's own answer.
    pub late: u64,
    /// None in the time that there was.
    pub timed_out: u64,
    /// None before the device's own answer, when the exchange was ended.
    pub aborted: u64,
    /// By another module than was asked.
    pub other_module: u64,
    /// To another request.
    pub other_request: u64,
    /// With other tensors than the module's outputs.
    pub other_outputs: u64,
    /// With another fuel than certified.
    pub other_fuel: u64,
    /// Not to be understood.
    pub malformed: u64,
    /// Refused.
    pub refused: u64,
    /// No connection.
    pub unreachable: u64,
}

impl Discarded {
    /// Those that had not come in time.
    pub fn not_in_time(&self) -> u64 {
        self.late + self.timed_out + self.aborted
    }

    /// Those that were no answers, whenever they came.
    pub fn wrong(&self) -> u64 {
        let Self { other_module, other_request, other_outputs, other_fuel, .. } = self;
        let answers = other_module + other_request + other_outputs + other_fuel;
        answers + self.malformed + self.refused + self.unreachable
    }

    fn count(&mut self, error: &FogError) {
        let counter = match error {
            FogError::Unreachable(_) => &mut self.unreachable,
            FogError::TimedOut { .. } => &mut self.timed_out,
            FogError::Aborted => &mut self.aborted,
            FogError::Refused { .. } => &mut self.refused,
            FogError::Malformed(_) => &mut self.malformed,
            FogError::Mismatched { what: Mismatch::Module, .. } => &mut self.other_module,
            FogError::Mismatched { what: Mismatch::Request, .. } => &mut self.other_request,
            FogError::Mismatched { what: Mismatch::Outputs, .. } => &mut self.other_outputs,
            FogError::Mismatched { what: Mismatch::Fuel, .. } => &mut self.other_fuel,
        };
        *counter += 1;
    }
}

/// One stream as it is dispatched.
#[derive(Debug)]
struct Dispatched {
    /// As it was admitted.
    asked: Stream,
    /// The models that answer it: the first one, where no other is named.
    models: Vec<Subject>,
    /// Those that did, as long as inputs are under way.
    leaving: Vec<Subject>,
    /// Where its models run: the core, and its place there.
    core: usize,
    place: usize,
    /// Cores and places where they ran before.
    before: Vec<(usize, usize)>,
    /// Whether it is not served any more.
    gone: bool,
    degrade_to: Option<usize>,
    /// Whether all of its inputs go to the smaller model, as somebody wants it.
    degraded: bool,
    /// The same, as the promise wants it.
    set_aside: bool,
    handed_on: u64,
    sent: u64,
    compensated: u64,
    discarded: Discarded,
}

impl Dispatched {
    /// One that is not served yet.
    fn new(asked: Stream, core: usize, place: usize) -> Self {
        Self {
            asked,
            models: Vec::new(),
            leaving: Vec::new(),
            core,
            place,
            before: Vec::new(),
            gone: true,
            degrade_to: None,
            degraded: false,
            set_aside: false,
            handed_on: 0,
            sent: 0,
            compensated: 0,
            discarded: Discarded::default(),
        }
    }

    fn has(&self, module: Digest) -> bool {
        self.models.iter().any(|model| model.digest() == module)
    }

    fn subject(&mut self, module: Digest) -> Option<&mut Subject> {
        self.models.iter_mut().chain(&mut self.leaving).find(|model| model.digest() == module)
    }

    /// By how much more is promised of its models' times than it was admitted with.
    fn lengthened(&self) -> f64 {
        self.models.iter().map(Subject::lengthened).fold(1.0, f64::max)
    }

    /// These are its models from now on.
    fn answer_with(&mut self, models: Vec<Subject>) {
        let mut left: Vec<Subject> = self.models.drain(..).chain(self.leaving.drain(..)).collect();
        self.models = models;
        for model in &mut self.models {
            if let Some(known) = left.iter().position(|one| one.digest() == model.digest()) {
                let newer = std::mem::replace(model, left.swap_remove(known));
                model.renew(newer);
            }
        }
        self.leaving = left;
    }
}

/// Whose an input is.
#[derive(Clone, Copy, Debug)]
struct Owner {
    stream: usize,
    module: Digest,
    /// On the core that the input is named with.
    place: usize,
}

/// An input that has no answer yet.
#[derive(Debug)]
struct Pending {
    owner: Owner,
    arrival: Duration,
    /// When it is due, as it was promised when it was taken.
    deadline: Duration,
    context: Context,
    decision: Decision,
    /// When it was sent, while a reply may come.
    sent: Option<Duration>,
    fog_failure: Option<FogFailure>,
    /// On the device, so far.
    executed: Duration,
    fuel: Fuel,
}

/// A request whose input is answered already.
#[derive(Debug)]
struct Orphan {
    owner: Owner,
    sent: Duration,
    expected: Option<Duration>,
}

/// Places and answers the inputs of admitted streams.
#[derive(Debug)]
pub struct Dispatcher {
    streams: Vec<Dispatched>,
    /// Those that are served, in the order in which they were admitted.
    served: Vec<usize>,
    executor: Executor,
    cores: Vec<Machine>,
    /// For each core the streams on it, in the order of their places.
    on_core: Vec<Vec<usize>>,
    /// What is under way to be served instead.
    change: Option<Change>,
    policy: Box<dyn Policy>,
    beliefs: Arc<Mutex<Beliefs>>,
    rule: ProbeRule,
    pending: HashMap<InputId, Pending>,
    orphans: HashMap<InputId, Orphan>,
}

impl Dispatcher {
    /// A dispatcher for the streams that `admission` admitted to `executor`; the
    /// subjects are their models, in the same order.
    pub fn new(
        streams: &[Stream],
        admission: &Admission,
        executor: &Executor,
        subjects: Vec<Subject>,
        policy: Box<dyn Policy>,
        rule: ProbeRule,
    ) -> Self {
        let machine = |_| Machine::new(executor.scheduling, Vec::new());
        let mut dispatcher = Self {
            streams: Vec::new(),
            served: Vec::new(),
            executor: *executor,
            cores: (0..executor.cores).map(machine).collect(),
            on_core: vec![Vec::new(); executor.cores],
            change: None,
            policy,
            beliefs: Arc::default(),
            rule,
            pending: HashMap::new(),
            orphans: HashMap::new(),
        };
        let models = subjects.into_iter().map(|subject| vec![subject]).collect();
        dispatcher.change(Duration::ZERO, streams, admission, models);
        dispatcher
    }

    /// The same, which shares what it believes with others.
    pub fn believing(self, beliefs: Arc<Mutex<Beliefs>>) -> Self {
        Self { beliefs, ..self }
    }

    /// Models that answer nothing any more are forgotten with their last input.
    fn forget_models(&mut self) {
        let owners = self.pending.values().map(|pending| pending.owner);
        let owners: Vec<Owner> =
            owners.chain(self.orphans.values().map(|orphan| orphan.owner)).collect();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            if stream.gone {
                stream.leaving.append(&mut stream.models);
            }
            stream.leaving.retain(|model| {
                owners.iter().any(|o| o.stream == index && o.module == model.digest())
            });
        }
    }

    /// What is believed of link and fog host, shared with who probes.
    pub fn beliefs(&self) -> &Arc<Mutex<Beliefs>> {
        &self.beliefs
    }

    /// How many cores there are to ask what to do.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// When to probe.
    pub fn probe_rule(&self) -> &ProbeRule {
        &self.rule
    }

    /// What a stream that is served is named by.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.served.iter().copied().find(|&stream| self.streams[stream].asked.name == name)
    }

    /// The module that answers a stream.
    pub fn digest(&self, stream: usize) -> Digest {
        self.streams[stream].models[0].digest()
    }

    /// What has happened to the inputs of a stream, as far as they were its own
    /// model's.
    pub fn counts(&self, stream: usize) -> Counts {
        let Dispatched { core, place, ref before, .. } = self.streams[stream];
        let places = before.iter().copied().chain([(core, place)]);
        places.map(|(core, place)| self.cores[core].counts(place)).sum()
    }

    /// How many inputs of a stream were handed on to its smaller model.
    pub fn handed_on(&self, stream: usize) -> u64 {
        self.streams[stream].handed_on
    }

    /// How many inputs of a stream were sent to the fog host, and of these, how many the
    /// device answered as no answer had come.
    pub fn sent(&self, stream: usize) -> (u64, u64) {
        (self.streams[stream].sent, self.streams[stream].compensated)
    }

    /// Which replies to inputs of a stream were no answers.
    pub fn discarded(&self, stream: usize) -> Discarded {
        self.streams[stream].discarded
    }

    /// Whether no input is without an answer.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.cores.iter().all(Machine::is_idle)
    }

    /// From now on, all inputs of a stream go to its smaller model, or no longer.
    /// False where it has none.
    pub fn set_degraded(&mut self, stream: usize, degraded: bool) -> bool {
        let stream = &mut self.streams[stream];
        stream.degraded = degraded && stream.degrade_to.is_some();
        stream.degrade_to.is_some()
    }

    /// The streams as they would have to be admitted now: by what is promised at the
    /// moment of their models' times, each on the core that it runs on.
    pub fn present(&self) -> Vec<Stream> {
        let present = |&index: &usize| {
            let of = &self.streams[index];
            let factor = of.lengthened();
            let stages = of.asked.stages.iter().map(|&stage| times(stage, factor)).collect();
            Stream { stages, core: Some(of.core), ..of.asked.clone() }
        };
        self.served.iter().map(present).collect()
    }

    /// What the streams run on.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// How long an offloaded input of a stream is waited for, and the time that is
    /// counted on for each of its segments.
    pub fn service(&self, stream: usize) -> &Service {
        let Dispatched { core, place, .. } = self.streams[stream];
        self.cores[core].service(place)
    }

    /// Takes an input that is ready now and belongs to an arrival at `arrived`, and
    /// places it.
    ///
    /// # Errors
    /// Where it came too early for its stream, and for its smaller model's.
    pub fn arrive(
        &mut self,
        now: Duration,
        stream: usize,
        arrived: Duration,
    ) -> Result<Placed, NotTaken> {
        match self.streams.get(stream).and_then(|stream| stream.models.first()) {
            Some(model) => self.arrive_for(now, stream, model.digest(), arrived),
            None => Err(NotTaken::Superseded),
        }
    }

    /// The same, to be answered by this one of the stream's models.
    ///
    /// # Errors
    /// Also where the stream is not served any more, or not by this model.
    pub fn arrive_for(
        &mut self,
        now: Duration,
        stream: usize,
        module: Digest,
        arrived: Duration,
    ) -> Result<Placed, NotTaken> {
        let own = self.streams.get_mut(stream).filter(|own| !own.gone && own.has(module));
        let own = own.ok_or(NotTaken::Superseded)?;
        let smaller = own.degrade_to;
        match smaller {
            Some(smaller) if own.degraded || own.set_aside => {
                own.handed_on += 1;
                return self.hand_on(now, smaller, arrived);
            }
            None if own.set_aside => return Err(NotTaken::SetAside),
            _ => {}
        }
        match (self.take(now, stream, module, arrived), smaller) {
            (Err(NotTaken::Shed(Shed::Degraded)), Some(smaller)) => {
                self.streams[stream].handed_on += 1;
                self.hand_on(now, smaller, arrived)
            }
            (taken, _) => taken,
        }
    }

    /// Gives an input to the stream of a smaller model.
    fn hand_on(
        &mut self,
        now: Duration,
        smaller: usize,
        arrived: Duration,
    ) -> Result<Placed, NotTaken> {
        let to = &self.streams[smaller];
        let model = to.models.first().filter(|_| !to.set_aside && !to.gone);
        let module = model.ok_or(NotTaken::SetAside)?.digest();
        self.take(now, smaller, module, arrived)
    }

    fn take(
        &mut self,
        now: Duration,
        stream: usize,
        module: Digest,
        arrived: Duration,
    ) -> Result<Placed, NotTaken> {
        let Dispatched { core, place, .. } = self.streams[stream];
        if self.becomes_another(stream) && self.cores[core].is_early(now, place) {
            return Err(NotTaken::Changing);
        }
        let owner = Owner { stream, module, place };
        let last = self.streams[stream].subject(module).map_or(u32::MAX, |s| s.last_stage());
        let machine = &mut self.cores[core];
        let backlog = machine.backlog(now, place);
        let taken = machine.arrive_for(now, place, arrived, last).map_err(NotTaken::Shed)?;
        let input = InputId { core, job: taken.job };
        let dropped = taken.dropped.map(|job| InputId { core, job });
        if let Some(dropped) = dropped {
            self.forget(dropped);
        }
        let (context, decision) = self.place(now, owner, &taken, backlog);
        let sent = (decision.placement == Placement::Fog).then_some(now);
        if sent.is_some() {
            self.cores[core].offload(taken.job);
            self.streams[stream].sent += 1;
        }
        let Taken { arrival, deadline, .. } = taken;
        let pending = Pending {
            owner,
            arrival,
            deadline,
            context,
            decision,
            sent,
            fog_failure: None,
            executed: Duration::ZERO,
            fuel: Fuel(0),
        };
        self.pending.insert(input, pending);
        let exchange = sent.map(|sent| deadline.saturating_sub(sent));
        Ok(Placed { input, stream, module, deadline, exchange, dropped })
    }

    /// The decision on an input. It allocates nothing.
    fn place(
        &mut self,
        now: Duration,
        owner: Owner,
        taken: &Taken,
        backlog: Duration,
    ) -> (Context, Decision) {
        let of = &mut self.streams[owner.stream];
        let offloads = of.asked.offload.is_some();
        let of = of.subject(owner.module).expect("an input is placed for a model that there is");
        let moment = Moment {
            now,
            age: now.saturating_sub(taken.arrival),
            armed: Some(taken.armed.saturating_sub(now)),
            backlog,
        };
        let context = of.context(&lock(&self.beliefs), moment);
        let decision = match (offloads, &self.change) {
            (true, None) => self.policy.decide(&context),
            (true, Some(_)) => Decision::local(Reason::SetChanges),
            (false, _) => Decision::local(Reason::NotAllowed),
        };
        (context, decision)
    }

    /// An input without an answer will not get one; a reply may still come.
    fn forget(&mut self, input: InputId) {
        if let Some(pending) = self.pending.remove(&input) {
            self.orphan(input, &pending);
        }
    }

    fn orphan(&mut self, input: InputId, pending: &Pending) {
        if let Some(sent) = pending.sent {
            let expected = pending.context.offloaded.map(|time| time.longest());
            self.orphans.insert(input, Orphan { owner: pending.owner, sent, expected });
        }
    }

    /// A reply to an input that was sent, checked against its request, or why there
    /// is none.
    pub fn replied(
        &mut self,
        now: Duration,
        input: InputId,
        reply: Result<&FogAnswer, &FogError>,
    ) -> Replied {
        let (owner, sent, expected) = match (self.pending.get(&input), self.orphans.remove(&input))
        {
            (Some(pending), _) if pending.sent.is_some() => {
                let expected = pending.context.offloaded.map(|time| time.longest());
                (pending.owner, pending.sent.unwrap_or(now), expected)
            }
            (_, Some(orphan)) => (orphan.owner, orphan.sent, orphan.expected),
            // A second reply, or one to nothing.
            (pending, None) => {
                let place = self.on_core[input.core].first().copied();
                if let Some(stream) = pending.map(|pending| pending.owner.stream).or(place) {
                    self.streams[stream].discarded.late += 1;
                }
                return Replied::Discarded;
            }
        };
        let elapsed = now.saturating_sub(sent);
        match reply {
            Ok(answer) => self.answered(now, input, owner, answer, elapsed),
            Err(error) => self.not_answered(now, input, owner, error, elapsed, expected),
        }
    }

    fn answered(
        &mut self,
        now: Duration,
        input: InputId,
        owner: Owner,
        answer: &FogAnswer,
        elapsed: Duration,
    ) -> Replied {
        let of = &mut self.streams[owner.stream];
        let mut beliefs = lock(&self.beliefs);
        let Some(subject) = of.subject(owner.module) else { return Replied::Discarded };
        let offloaded = subject.answered(&mut beliefs, now, answer, elapsed);
        if !self.cores[input.core].fog_answered(now, owner.place, input.job) {
            of.discarded.late += 1;
            return Replied::Discarded;
        }
        let Some(pending) = self.pending.remove(&input) else { return Replied::Discarded };
        let course = Course {
            outcome: Outcome::Fog,
            released: pending.arrival,
            latency: now.saturating_sub(pending.arrival),
            deadline: Some(pending.deadline.saturating_sub(pending.arrival)),
            offloaded: Some(offloaded),
            fog_failure: None,
            unanswered: None,
            local: (!pending.executed.is_zero()).then_some(pending.executed),
            fuel: answer.time.fuel,
        };
        let name = self.policy.name();
        let record = subject.record(&beliefs, name, &pending.context, pending.decision, course);
        drop(beliefs);
        self.policy.observe(&record);
        Replied::Answer(Box::new(record))
    }

    fn not_answered(
        &mut self,
        now: Duration,
        input: InputId,
        owner: Owner,
        error: &FogError,
        elapsed: Duration,
        expected: Option<Duration>,
    ) -> Replied {
        let of = &mut self.streams[owner.stream];
        of.discarded.count(error);
        let Some(subject) = of.subject(owner.module) else { return Replied::Discarded };
        let mut beliefs = lock(&self.beliefs);
        // Given up before an answer was to be expected: that says nothing of the link.
        let early = expected.is_some_and(|expected| elapsed <= expected);
        let ended = matches!(error, FogError::TimedOut { .. } | FogError::Aborted);
        let failure = if early && ended {
            beliefs.given_up();
            FogFailure::new(error, elapsed)
        } else {
            subject.not_answered(&mut beliefs, now, error, elapsed, &self.rule.back_off)
        };
        drop(beliefs);
        if matches!(error, FogError::Aborted) {
            return Replied::Discarded;
        }
        let lost = self.cores[input.core].fog_failed(now, owner.place, input.job);
        if lost {
            self.pending.remove(&input);
            return Replied::Lost(failure);
        }
        if let Some(pending) = self.pending.get_mut(&input) {
            pending.sent = None;
            pending.fog_failure = Some(failure);
        }
        Replied::Discarded
    }

    /// What a core, which is free, should do. A segment belongs to the input that is
    /// named with it. Where the core is to go over to something else and can, it does.
    pub fn next(&mut self, core: usize, now: Duration) -> Next {
        self.go_over(now);
        self.cores[core].next(now)
    }

    /// The stream of a job that a core was given.
    pub fn stream_of(&self, input: InputId) -> Option<usize> {
        let place = self.cores[input.core].stream(input.job)?;
        self.on_core[input.core].get(place).copied()
    }

    /// The segment that [`Self::next`] gave has run, for this time and fuel.
    pub fn ran(&mut self, now: Duration, input: InputId, elapsed: Duration, fuel: Fuel) -> Ran {
        if let Some(pending) = self.pending.get_mut(&input) {
            pending.executed = pending.executed.saturating_add(elapsed);
            pending.fuel.0 = pending.fuel.0.saturating_add(fuel.0);
        }
        match self.cores[input.core].ran(now, input.job, elapsed) {
            Progress::More => Ran::More,
            Progress::TooLate => Ran::TooLate,
            Progress::Answered => match self.pending.remove(&input) {
                Some(pending) => self.finish(now, input, pending),
                None => Ran::TooLate,
            },
        }
    }

    fn finish(&mut self, now: Duration, input: InputId, pending: Pending) -> Ran {
        let Owner { stream, module, .. } = pending.owner;
        let Some(subject) = self.streams[stream].subject(module) else { return Ran::TooLate };
        let raised = subject.ran(pending.executed);
        match self.record(now, input, pending) {
            Some(record) => Ran::Answered { record, raised },
            None => Ran::TooLate,
        }
    }

    /// Writes down an input that the device's own time ended.
    fn record(
        &mut self,
        now: Duration,
        input: InputId,
        pending: Pending,
    ) -> Option<Box<DecisionRecord>> {
        self.orphan(input, &pending);
        let Owner { stream, module, .. } = pending.owner;
        let subject = self.streams[stream].subject(module)?;
        let outcome = match (pending.decision.placement, &pending.fog_failure) {
            (Placement::Local, _) => Outcome::Local,
            (Placement::Fog, Some(_)) => Outcome::Fallback,
            (Placement::Fog, None) => Outcome::Compensated,
        };
        let course = Course {
            outcome,
            released: pending.arrival,
            latency: now.saturating_sub(pending.arrival),
            deadline: Some(pending.deadline.saturating_sub(pending.arrival)),
            offloaded: None,
            fog_failure: pending.fog_failure,
            unanswered: pending.sent.map(|sent| now.saturating_sub(sent)),
            local: Some(pending.executed),
            fuel: pending.fuel,
        };
        let name = self.policy.name();
        let beliefs = lock(&self.beliefs);
        let record = subject.record(&beliefs, name, &pending.context, pending.decision, course);
        drop(beliefs);
        self.policy.observe(&record);
        self.streams[stream].compensated += u64::from(record.decision.placement == Placement::Fog);
        Some(Box::new(record))
    }

    /// The segment that [`Self::next`] gave has failed, or was stopped. True if there
    /// is no answer to its input now; false if the fog host has given one, or may.
    pub fn failed(&mut self, input: InputId, stopped: bool) -> bool {
        let lost = self.cores[input.core].failed(input.job, stopped);
        if lost {
            self.forget(input);
        }
        lost
    }

    /// The same for one that was stopped after this time, as it took longer than was
    /// promised.
    pub fn stopped(&mut self, now: Duration, input: InputId, elapsed: Duration) -> Stopped {
        let mut raised = false;
        if let Some(pending) = self.pending.get_mut(&input) {
            pending.executed = pending.executed.saturating_add(elapsed);
            let Owner { stream, module, .. } = pending.owner;
            let subject = self.streams[stream].subject(module);
            raised = subject.is_some_and(|subject| subject.stopped(pending.executed));
        }
        let lost = self.cores[input.core].failed(input.job, true);
        let pending = lost.then(|| self.pending.remove(&input)).flatten();
        let record = pending.and_then(|pending| self.record(now, input, pending));
        Stopped { record, raised }
    }
}

fn lock(beliefs: &Arc<Mutex<Beliefs>>) -> MutexGuard<'_, Beliefs> {
    beliefs.lock().unwrap_or_else(PoisonError::into_inner)
}
