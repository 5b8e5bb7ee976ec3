//! A [`Dispatcher`] with threads: one for each core, under the real-time set-up that
//! the kernel grants it, some that wait for the fog host, one that probes it, and one
//! that keeps the promise true while the device changes.

mod exchanges;
mod upkeep;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Tensor};

use self::exchanges::Exchange;
use self::upkeep::Upkeep;
use super::beliefs::Beliefs;
use super::clock::{Clock, MonotonicClock};
use super::dispatcher::{Discarded, Dispatcher, InputId, Placed, Ran};
use super::energy::EnergyModel;
use super::fog::{Abort, Fog};
use super::offloader::{Options, Shared as Probing};
use super::policy::{Cooling, Policy};
use super::prober::{ProbeThread, Prober};
use super::record::DecisionRecord;
use super::subject::Subject;
use crate::admission::{Admission, Executor, Standing, Stream};
use crate::executor::machine::Next;
use crate::executor::{Counts, Shed};
use crate::realtime::{RealTime, RealTimeReport};
use crate::sandbox::{Instance, Limits, RunError};
use crate::thermal::Monitor;
use crate::timing::Watch;

/// The model of a stream.
#[derive(Debug)]
pub struct Model {
    /// Runs it. Its tensors are handed from segment to segment.
    pub instance: Instance,
    /// The execution time of its worst input, from calibration; see
    /// [`Task::wcet`](super::Task::wcet).
    pub wcet: Duration,
    /// What is promised of its time, which every execution feeds.
    pub watch: Option<Arc<Watch>>,
    /// The component's bytes, to send to a fog host that lacks it.
    pub component: Option<Arc<[u8]>>,
}

/// How a [`Runner`] is set up.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The streams.
    pub streams: &'a [Stream],
    /// What was promised to them.
    pub admission: &'a Admission,
    /// What for.
    pub executor: Executor,
    /// Where inputs are placed.
    pub policy: Box<dyn Policy>,
    /// The fog host.
    pub fog: Arc<dyn Fog>,
    /// When to probe it.
    pub options: Options,
    /// What the cores' threads ask the kernel for, beside their own CPU.
    pub real_time: RealTime,
    /// What each choice takes of the device's energy, for records and policies.
    pub energy: Option<Arc<dyn EnergyModel>>,
    /// The device's temperature and clock: above the soft limit the fog host is preferred
    /// and the bounds are those of the throttled processor; above the hard one streams
    /// are set aside in the order of its rules.
    pub thermal: Option<Monitor>,
}

/// How often it is looked whether a probe is due.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// An answered input.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The model's outputs.
    pub outputs: Vec<Tensor>,
    /// How it came about.
    pub record: DecisionRecord,
}

/// Why an input has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// A thread did not start.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A stream degrades to a model that takes other inputs.
    #[error(
        "stream {stream:?} degrades to {to:?}, whose model takes other inputs; a model with the \
         same inputs is wanted"
    )]
    OtherInputs {
        /// The stream.
        stream: String,
        /// The smaller model's.
        to: String,
    },
    /// It came too early, and its stream sheds those.
    #[error("the input came before its period was over, and its stream has one waiting already")]
    Shed(Shed),
    /// A newer one took its place while it waited.
    #[error("a newer input took its place")]
    Replaced,
    /// The model failed on the device, and the fog host has not answered.
    #[error("the model failed on the device: {0}")]
    Run(#[from] RunError),
    /// The runner has ended.
    #[error("the runner has ended")]
    Ended,
}

type Answer = Result<Answered, RunnerError>;

/// An input that was taken: its answer comes here.
#[derive(Debug)]
pub struct Ticket {
    /// Where it was placed.
    pub placed: Placed,
    answer: Receiver<Answer>,
}

impl Ticket {
    /// Waits for the answer.
    pub fn wait(self) -> Answer {
        self.answer.recv().unwrap_or(Err(RunnerError::Ended))
    }
}

/// An input on its way: what the next segment reads, and who waits for the answer.
#[derive(Debug)]
struct Work {
    tensors: Arc<Vec<Tensor>>,
    failure: Option<RunError>,
    answer: SyncSender<Answer>,
}

#[derive(Debug)]
struct State {
    dispatcher: Dispatcher,
    work: HashMap<InputId, Work>,
    /// Those under way.
    exchanges: HashMap<InputId, Arc<Abort>>,
    requests: u64,
    standing: Standing,
    /// A run has exceeded its bound.
    raised: bool,
    ended: bool,
}

/// What the threads share. The lock is never held while a model runs or the fog host
/// is waited for.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// A run has exceeded its bound, or the runner ends.
    raised: Condvar,
    clock: Arc<MonotonicClock>,
    fog: Arc<dyn Fog>,
    /// Of each stream.
    modules: Vec<(Digest, Certificate)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends an input's answer, and ends the exchange that it does not wait for any more.
    /// Its waiter may have gone.
    fn answer(&mut self, input: InputId, answer: impl FnOnce(Option<RunError>) -> Answer) {
        if let Some(abort) = self.exchanges.remove(&input) {
            abort.abort();
        }
        if let Some(work) = self.work.remove(&input) {
            work.answer.try_send(answer(work.failure)).ok();
        }
    }

    fn give_up(&mut self, input: InputId) {
        self.answer(input, |failure| Err(failure.map_or(RunnerError::Ended, RunnerError::Run)));
    }
}

/// Runs admitted streams. Streams are named by their place among those of the set-up.
#[derive(Debug)]
pub struct Runner {
    shared: Arc<Shared>,
    exchanges: Option<Sender<Exchange>>,
    threads: Vec<JoinHandle<()>>,
    real_time: Vec<RealTimeReport>,
    _probing: Option<ProbeThread>,
}

impl Runner {
    /// Starts the threads; `models` are those of the streams, in the same order.
    pub fn start(setup: Setup<'_>, models: Vec<Model>) -> Result<Self, RunnerError> {
        check_inputs(setup.streams, &models)?;
        let offloading = setup.streams.iter().filter(|stream| stream.offload.is_some()).count();
        let (admission, executor, real_time) = (setup.admission, setup.executor, setup.real_time);
        let (shared, upkeep, prober) = Shared::new(setup, &models);
        let mut runner = Self {
            shared,
            exchanges: None,
            threads: Vec::new(),
            real_time: Vec::new(),
            _probing: None,
        };
        let mut instances: Vec<HashMap<usize, Instance>> =
            (0..executor.cores).map(|_| HashMap::new()).collect();
        for (stream, model) in models.into_iter().enumerate() {
            instances[admission.streams[stream].core].insert(stream, model.instance);
        }
        for (core, instances) in instances.into_iter().enumerate() {
            runner.start_core(core, instances, real_time)?;
        }
        // A stream has one input under way, or two where its deadline is past its
        // period.
        runner.start_exchanges(2 * offloading)?;
        if offloading > 0 {
            runner._probing = Some(prober.spawn(PROBE_INTERVAL)?);
        }
        let own = Arc::clone(&runner.shared);
        let named = std::thread::Builder::new().name("leeway-upkeep".into());
        runner.threads.push(named.spawn(move || own.keep_up(upkeep))?);
        Ok(runner)
    }

    fn start_core(
        &mut self,
        core: usize,
        mut instances: HashMap<usize, Instance>,
        real_time: RealTime,
    ) -> std::io::Result<()> {
        let (report_to, report) = sync_channel(1);
        let own = Arc::clone(&self.shared);
        let named = std::thread::Builder::new().name(format!("leeway-core-{core}"));
        self.threads.push(named.spawn(move || {
            report_to.send(real_time.apply()).ok();
            own.serve(core, &mut instances);
        })?);
        self.real_time.push(report.recv().map_err(std::io::Error::other)?);
        Ok(())
    }

    /// What the kernel granted to each core's thread.
    pub fn real_time(&self) -> &[RealTimeReport] {
        &self.real_time
    }

    /// The clock, as arrivals and deadlines count.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock) as Arc<dyn Clock>
    }

    /// The time by it.
    pub fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    /// Looks at what is believed at the moment.
    pub fn inspect<T>(&self, look: impl FnOnce(&Beliefs) -> T) -> T {
        let beliefs = Arc::clone(self.shared.state().dispatcher.beliefs());
        look(&beliefs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is promised at the moment.
    pub fn standing(&self) -> Standing {
        self.shared.state().standing.clone()
    }

    /// What has happened to the inputs of a stream, and which replies to them were no
    /// answers.
    pub fn counts(&self, stream: usize) -> (Counts, Discarded) {
        let state = self.shared.state();
        (state.dispatcher.counts(stream), state.dispatcher.discarded(stream))
    }

    /// See [`Dispatcher::set_degraded`].
    pub fn set_degraded(&self, stream: usize, degraded: bool) -> bool {
        self.shared.state().dispatcher.set_degraded(stream, degraded)
    }

    /// Takes an input that arrived at `arrived`, places it, and answers it.
    pub fn submit(
        &self,
        stream: usize,
        arrived: Duration,
        inputs: Vec<Tensor>,
    ) -> Result<Ticket, RunnerError> {
        let mut state = self.shared.state();
        let now = self.shared.clock.now();
        let placed = state.dispatcher.arrive(now, stream, arrived).map_err(RunnerError::Shed)?;
        if let Some(dropped) = placed.dropped {
            state.answer(dropped, |_| Err(RunnerError::Replaced));
        }
        let tensors = Arc::new(inputs);
        if let (Some(limit), Some(exchanges)) = (placed.exchange, &self.exchanges) {
            state.requests += 1;
            let (id, input, stream) = (state.requests, placed.input, placed.stream);
            let (inputs, until) = (Arc::clone(&tensors), now.saturating_add(limit));
            let abort = Arc::new(Abort::default());
            state.exchanges.insert(input, Arc::clone(&abort));
            // The threads end after the sender.
            exchanges.send(Exchange { id, input, stream, inputs, until, abort }).ok();
        }
        let (answer, receiver) = sync_channel(1);
        state.work.insert(placed.input, Work { tensors, failure: None, answer });
        drop(state);
        self.shared.changed.notify_all();
        Ok(Ticket { placed, answer: receiver })
    }
}

impl Drop for Runner {
    /// Ends after the segments that are running; exchanges are ended, and what is waiting
    /// has no answer.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        for (_, abort) in state.exchanges.drain() {
            abort.abort();
        }
        drop(state);
        self.exchanges = None;
        self.shared.changed.notify_all();
        self.shared.raised.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there has been reported there.
            thread.join().ok();
        }
    }
}

/// A smaller model must take the inputs that it is handed.
fn check_inputs(streams: &[Stream], models: &[Model]) -> Result<(), RunnerError> {
    let inputs = |model: &Model| {
        let specs = model.instance.module().certificate().inputs();
        specs.iter().map(|spec| (spec.dtype, spec.shape.clone())).collect::<Vec<_>>()
    };
    for (stream, model) in streams.iter().zip(models) {
        let smaller =
            streams.iter().position(|other| stream.degrade_to == Some(other.name.clone()));
        if let Some(smaller) = smaller.filter(|&smaller| inputs(&models[smaller]) != inputs(model))
        {
            let (stream, to) = (stream.name.clone(), streams[smaller].name.clone());
            return Err(RunnerError::OtherInputs { stream, to });
        }
    }
    Ok(())
}

impl Shared {
    /// What the threads share, and what two of them begin with.
    fn new(setup: Setup<'_>, models: &[Model]) -> (Arc<Self>, Upkeep, Prober) {
        let Setup { streams, admission, executor, policy, fog, options, .. } = setup;
        let subject = |(stream, model): (&Stream, &Model)| {
            let module = model.instance.module();
            let (digest, certificate) = (module.digest(), module.certificate());
            let (watch, deadline) = (model.watch.clone(), Some(stream.deadline));
            Subject::new(stream.name.clone(), digest, certificate, model.wcet, watch, deadline)
        };
        let subjects = streams.iter().zip(models).map(subject).collect();
        let policy = match setup.thermal {
            Some(_) => Box::new(Cooling::new(policy)),
            None => policy,
        };
        let dispatcher =
            Dispatcher::new(streams, admission, &executor, subjects, policy, options.probe);
        let beliefs = Arc::clone(dispatcher.beliefs());
        if let Some(energy) = setup.energy {
            beliefs.lock().unwrap_or_else(PoisonError::into_inner).set_energy(energy);
        }
        let clock = Arc::new(MonotonicClock::new());
        let probing = Arc::new(Probing::new(
            Arc::clone(&fog),
            Arc::clone(&clock) as Arc<dyn Clock>,
            options,
            beliefs,
        ));
        let component = |model: &Model| {
            Some((model.instance.module().digest(), Arc::clone(model.component.as_ref()?)))
        };
        let prober = Prober::new(probing, models.iter().filter_map(component).collect());
        let monitor = setup.thermal.map(|mut monitor| {
            let watches = models.iter().filter_map(|model| model.watch.clone());
            watches.for_each(|watch| monitor.follow(watch));
            monitor
        });
        let module = |model: &Model| {
            let module = model.instance.module();
            (module.digest(), module.certificate().clone())
        };
        let admitted = admission.streams.clone();
        let state = State {
            dispatcher,
            work: HashMap::new(),
            exchanges: HashMap::new(),
            requests: 0,
            standing: Standing { admitted, ..Standing::default() },
            raised: false,
            ended: false,
        };
        let shared = Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            raised: Condvar::new(),
            clock,
            fog,
            modules: models.iter().map(module).collect(),
        });
        (shared, Upkeep::new(streams, monitor), prober)
    }

    fn serve(&self, core: usize, instances: &mut HashMap<usize, Instance>) {
        let mut state = self.state();
        while !state.ended {
            let now = self.clock.now();
            let (job, stages, limit) = match state.dispatcher.next(core, now) {
                Next::Run { job, stages, limit, .. } => (job, stages, limit),
                Next::Wait(None) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Next::Wait(Some(until)) => {
                    let waited = self.changed.wait_timeout(state, until.saturating_sub(now));
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            let input = InputId { core, job };
            let instance =
                state.dispatcher.stream_of(input).and_then(|stream| instances.get_mut(&stream));
            let tensors = state.work.get(&input).map(|work| Arc::clone(&work.tensors));
            let (Some(instance), Some(tensors)) = (instance, tensors) else {
                state.dispatcher.failed(input, false);
                continue;
            };
            drop(state);
            let run = instance.run(stages, &tensors, &Limits::within(limit));
            drop(tensors);
            state = self.state();
            self.ran(&mut state, input, run);
        }
        // Whoever waits is told so, as the senders go.
        state.work.clear();
    }

    fn ran(
        &self,
        state: &mut State,
        input: InputId,
        run: Result<crate::sandbox::Execution, RunError>,
    ) {
        let now = self.clock.now();
        match run {
            Ok(run) => match state.dispatcher.ran(now, input, run.elapsed, run.fuel) {
                Ran::More => {
                    if let Some(work) = state.work.get_mut(&input) {
                        work.tensors = Arc::new(run.outputs);
                    }
                }
                Ran::Answered { record, raised } => {
                    let (outputs, record) = (run.outputs, *record);
                    if raised {
                        state.raised = true;
                        self.raised.notify_all();
                    }
                    state.answer(input, |_| Ok(Answered { outputs, record }));
                }
                Ran::TooLate => {}
            },
            Err(error) => {
                tracing::warn!(%error, "a model failed on the device");
                let stopped = matches!(error, RunError::DeadlinePassed { .. });
                if let Some(work) = state.work.get_mut(&input) {
                    work.failure = Some(error);
                }
                if state.dispatcher.failed(input, stopped) {
                    state.give_up(input);
                }
            }
        }
    }
}
