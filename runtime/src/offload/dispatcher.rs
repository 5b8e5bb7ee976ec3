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

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leeway_contract::{Digest, Fuel};
use serde::Serialize;

use super::beliefs::{Beliefs, ProbeRule};
use super::fog::{FogAnswer, FogError, Mismatch};
use super::policy::{Context, Decision, Placement, Policy, Reason};
use super::record::{DecisionRecord, FogFailure, Outcome};
use super::subject::{Course, Moment, Subject};
use crate::admission::{Admission, Executor, Plan, Stream};
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
    /// When its answer is due.
    pub deadline: Duration,
    /// Where it is to be sent to the fog host: for how long an answer is of use.
    /// [`Dispatcher::replied`] must be called once, whatever comes of it.
    pub exchange: Option<Duration>,
    /// An older one, whose place it took.
    pub dropped: Option<InputId>,
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
    subject: Subject,
    /// Where its model runs: the core, and its place there.
    core: usize,
    place: usize,
    offloads: bool,
    degrade_to: Option<usize>,
    /// Whether all of its inputs go to the smaller model, as somebody wants it.
    degraded: bool,
    /// The same, as the promise wants it.
    set_aside: bool,
    handed_on: u64,
    discarded: Discarded,
}

/// An input that has no answer yet.
#[derive(Debug)]
struct Pending {
    stream: usize,
    arrival: Duration,
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
    stream: usize,
    sent: Duration,
    expected: Option<Duration>,
}

/// Places and answers the inputs of admitted streams.
#[derive(Debug)]
pub struct Dispatcher {
    streams: Vec<Dispatched>,
    asked: Vec<Stream>,
    executor: Executor,
    cores: Vec<Machine>,
    /// For each core the streams on it, in the order of their places.
    on_core: Vec<Vec<usize>>,
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
        let mut on_core = vec![Vec::new(); executor.cores];
        let mut dispatched = Vec::with_capacity(streams.len());
        let named = |name: &String| streams.iter().position(|stream| stream.name == *name);
        for (index, ((stream, admitted), subject)) in
            streams.iter().zip(&admission.streams).zip(subjects).enumerate()
        {
            dispatched.push(Dispatched {
                subject,
                core: admitted.core,
                place: on_core[admitted.core].len(),
                offloads: stream.offload.is_some(),
                degrade_to: stream.degrade_to.as_ref().and_then(named),
                degraded: false,
                set_aside: false,
                handed_on: 0,
                discarded: Discarded::default(),
            });
            on_core[admitted.core].push(index);
        }
        let machine = |core| {
            Machine::new(executor.scheduling, Service::of_core(streams, admission, executor, core))
        };
        Self {
            streams: dispatched,
            asked: streams.to_vec(),
            executor: *executor,
            cores: (0..executor.cores).map(machine).collect(),
            on_core,
            policy,
            beliefs: Arc::default(),
            rule,
            pending: HashMap::new(),
            orphans: HashMap::new(),
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

    /// The module of a stream.
    pub fn digest(&self, stream: usize) -> Digest {
        self.streams[stream].subject.digest()
    }

    /// What has happened to the inputs of a stream, as far as they were its own
    /// model's.
    pub fn counts(&self, stream: usize) -> Counts {
        let Dispatched { core, place, .. } = self.streams[stream];
        self.cores[core].counts(place)
    }

    /// How many inputs of a stream were handed on to its smaller model.
    pub fn handed_on(&self, stream: usize) -> u64 {
        self.streams[stream].handed_on
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
        let present = |(asked, of): (&Stream, &Dispatched)| {
            let factor = of.subject.lengthened();
            let stages = asked.stages.iter().map(|&stage| times(stage, factor)).collect();
            Stream { stages, core: Some(of.core), ..asked.clone() }
        };
        self.asked.iter().zip(&self.streams).map(present).collect()
    }

    /// What the streams run on.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// From now on this is promised. Where the plan promises nothing, what was
    /// promised before stays in force: segments end with the times that it counts on.
    pub fn adopt(&mut self, now: Duration, plan: &Plan) {
        for (of, &set_aside) in self.streams.iter_mut().zip(&plan.set_aside) {
            of.set_aside = set_aside && of.degrade_to.is_some();
        }
        for (index, stream, admitted) in &plan.admitted {
            let Dispatched { core, place, .. } = self.streams[*index];
            let asked = &self.asked[*index];
            let service = Service::of(stream, admitted, &self.executor);
            let service = Service { overload: asked.overload, ..service };
            self.cores[core].serve(now, place, service);
        }
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
    ) -> Result<Placed, Shed> {
        let own = &mut self.streams[stream];
        let smaller = own.degrade_to;
        if let Some(smaller) = smaller.filter(|_| own.degraded || own.set_aside) {
            own.handed_on += 1;
            return self.take(now, smaller, arrived);
        }
        match (self.take(now, stream, arrived), smaller) {
            (Err(Shed::Degraded), Some(smaller)) => {
                self.streams[stream].handed_on += 1;
                self.take(now, smaller, arrived)
            }
            (taken, _) => taken,
        }
    }

    fn take(&mut self, now: Duration, stream: usize, arrived: Duration) -> Result<Placed, Shed> {
        let Dispatched { core, place, .. } = self.streams[stream];
        let machine = &mut self.cores[core];
        let backlog = machine.backlog(now, place);
        let taken = machine.arrive(now, place, arrived)?;
        let input = InputId { core, job: taken.job };
        let dropped = taken.dropped.map(|job| InputId { core, job });
        if let Some(dropped) = dropped {
            self.forget(dropped);
        }
        let (context, decision) = self.place(now, stream, &taken, backlog);
        let sent = (decision.placement == Placement::Fog).then_some(now);
        if sent.is_some() {
            self.cores[core].offload(taken.job);
        }
        let Taken { arrival, deadline, .. } = taken;
        let pending = Pending {
            stream,
            arrival,
            context,
            decision,
            sent,
            fog_failure: None,
            executed: Duration::ZERO,
            fuel: Fuel(0),
        };
        self.pending.insert(input, pending);
        let exchange = sent.map(|sent| deadline.saturating_sub(sent));
        Ok(Placed { input, stream, deadline, exchange, dropped })
    }

    /// The decision on an input. It allocates nothing.
    fn place(
        &mut self,
        now: Duration,
        stream: usize,
        taken: &Taken,
        backlog: Duration,
    ) -> (Context, Decision) {
        let of = &self.streams[stream];
        let moment = Moment {
            now,
            age: now.saturating_sub(taken.arrival),
            armed: Some(taken.armed.saturating_sub(now)),
            backlog,
        };
        let context = of.subject.context(&lock(&self.beliefs), moment);
        let decision = match of.offloads {
            true => self.policy.decide(&context),
            false => Decision::local(Reason::NotAllowed),
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
            self.orphans.insert(input, Orphan { stream: pending.stream, sent, expected });
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
        let (stream, sent, expected) = match (self.pending.get(&input), self.orphans.remove(&input))
        {
            (Some(pending), _) if pending.sent.is_some() => {
                let expected = pending.context.offloaded.map(|time| time.longest());
                (pending.stream, pending.sent.unwrap_or(now), expected)
            }
            (_, Some(orphan)) => (orphan.stream, orphan.sent, orphan.expected),
            // A second reply, or one to nothing.
            (pending, None) => {
                let place = self.on_core[input.core].first().copied();
                if let Some(stream) = pending.map(|pending| pending.stream).or(place) {
                    self.streams[stream].discarded.late += 1;
                }
                return Replied::Discarded;
            }
        };
        let elapsed = now.saturating_sub(sent);
        match reply {
            Ok(answer) => self.answered(now, input, stream, answer, elapsed),
            Err(error) => self.not_answered(now, input, stream, error, elapsed, expected),
        }
    }

    fn answered(
        &mut self,
        now: Duration,
        input: InputId,
        stream: usize,
        answer: &FogAnswer,
        elapsed: Duration,
    ) -> Replied {
        let of = &mut self.streams[stream];
        let mut beliefs = lock(&self.beliefs);
        let offloaded = of.subject.answered(&mut beliefs, now, answer, elapsed);
        if !self.cores[input.core].fog_answered(now, of.place, input.job) {
            of.discarded.late += 1;
            return Replied::Discarded;
        }
        let Some(pending) = self.pending.remove(&input) else { return Replied::Discarded };
        let course = Course {
            outcome: Outcome::Fog,
            released: pending.arrival,
            latency: now.saturating_sub(pending.arrival),
            offloaded: Some(offloaded),
            fog_failure: None,
            unanswered: None,
            local: (!pending.executed.is_zero()).then_some(pending.executed),
            fuel: answer.time.fuel,
        };
        let name = self.policy.name();
        let record = of.subject.record(&beliefs, name, &pending.context, pending.decision, course);
        drop(beliefs);
        self.policy.observe(&record);
        Replied::Answer(Box::new(record))
    }

    fn not_answered(
        &mut self,
        now: Duration,
        input: InputId,
        stream: usize,
        error: &FogError,
        elapsed: Duration,
        expected: Option<Duration>,
    ) -> Replied {
        let of = &mut self.streams[stream];
        of.discarded.count(error);
        let mut beliefs = lock(&self.beliefs);
        // Given up before an answer was to be expected: that says nothing of the link.
        let early = expected.is_some_and(|expected| elapsed <= expected);
        let ended = matches!(error, FogError::TimedOut { .. } | FogError::Aborted);
        let failure = if early && ended {
            beliefs.given_up();
            FogFailure::new(error, elapsed)
        } else {
            of.subject.not_answered(&mut beliefs, now, error, elapsed, &self.rule.back_off)
        };
        drop(beliefs);
        if matches!(error, FogError::Aborted) {
            return Replied::Discarded;
        }
        let lost = self.cores[input.core].fog_failed(now, of.place, input.job);
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
    /// named with it.
    pub fn next(&mut self, core: usize, now: Duration) -> Next {
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
        self.orphan(input, &pending);
        let of = &mut self.streams[pending.stream];
        let raised = of.subject.ran(pending.executed);
        let outcome = match (pending.decision.placement, &pending.fog_failure) {
            (Placement::Local, _) => Outcome::Local,
            (Placement::Fog, Some(_)) => Outcome::Fallback,
            (Placement::Fog, None) => Outcome::Compensated,
        };
        let course = Course {
            outcome,
            released: pending.arrival,
            latency: now.saturating_sub(pending.arrival),
            offloaded: None,
            fog_failure: pending.fog_failure,
            unanswered: pending.sent.map(|sent| now.saturating_sub(sent)),
            local: Some(pending.executed),
            fuel: pending.fuel,
        };
        let name = self.policy.name();
        let beliefs = lock(&self.beliefs);
        let record = of.subject.record(&beliefs, name, &pending.context, pending.decision, course);
        drop(beliefs);
        self.policy.observe(&record);
        Ran::Answered { record: Box::new(record), raised }
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
}

fn lock(beliefs: &Arc<Mutex<Beliefs>>) -> MutexGuard<'_, Beliefs> {
    beliefs.lock().unwrap_or_else(PoisonError::into_inner)
}
