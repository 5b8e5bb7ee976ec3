//! A [`Dispatcher`] with threads: one for each core, under the real-time set-up that
//! the kernel grants it, some that wait for the fog host, and one that keeps the promise
//! true while the device changes.
//!
//! The set of streams and their models change while it runs: [`Runner::serve`]. Threads,
//! clock, policy and what is believed of the fog host stay. An input that was taken
//! before is answered by the model that it was taken for.

mod cores;
mod exchanges;
mod set;
mod upkeep;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use leeway_contract::{Digest, Tensor};

use self::exchanges::{Exchange, Exchanges};
use self::set::{Loaded, Planned};
pub use self::set::{Model, Set};
use self::upkeep::Upkeep;
use super::beliefs::Beliefs;
use super::clock::Clock;
use super::dispatcher::{Discarded, Dispatcher, InputId, NotTaken, Placed};
use super::fog::Abort;
use super::host::Host;
use super::policy::{Cooling, Policy};
use super::record::DecisionRecord;
use crate::admission::{Admission, Executor, Standing};
use crate::executor::{Counts, Shed};
use crate::realtime::{RealTime, RealTimeReport};
use crate::sandbox::RunError;
use crate::thermal::{Advice, Monitor, Validity};

/// How a [`Runner`] is set up.
#[derive(Debug)]
pub struct Setup {
    /// What runs the streams' models.
    pub executor: Executor,
    /// Where inputs are placed.
    pub policy: Box<dyn Policy>,
    /// The fog host. Who makes it has it probed.
    pub host: Arc<Host>,
    /// What each core's thread asks the kernel for; those that are not given ask for
    /// nothing.
    pub real_time: Vec<RealTime>,
    /// The device's temperature and clock: above the soft limit the fog host is preferred
    /// and the bounds are those of the throttled processor; above the hard one streams
    /// are set aside in the order of its rules.
    pub thermal: Option<Monitor>,
}

impl Setup {
    /// For a device without a fog host, of which no more is known.
    pub fn alone(executor: Executor) -> Self {
        let (policy, host) = (Box::new(super::policy::AllLocal), Arc::new(Host::none()));
        Self { executor, policy, host, real_time: Vec::new(), thermal: None }
    }
}

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
    /// A stream degrades to a model with other inputs or outputs.
    #[error(
        "stream {stream:?} degrades to {to:?}, whose model has other inputs or outputs; a model \
         with the same ones is wanted"
    )]
    OtherTensors {
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
    /// Its stream makes room for others at the moment, and has no smaller model.
    #[error("the device cannot keep the stream's deadlines at the moment: it is set aside")]
    SetAside,
    /// Its stream is not served any more, or not by that model.
    #[error("the stream is not served by that model any more")]
    Superseded,
    /// It came too early for its stream, which is about to be another one.
    #[error("the input came before its period was over, while its stream changes: ask again")]
    Changing,
    /// The model failed on the device, and the fog host has not answered.
    #[error("the model failed on the device: {0}")]
    Run(#[from] RunError),
    /// The model took longer than was promised, and was stopped for others to be in time.
    #[error("the model took longer than was promised, and was stopped")]
    Stopped {
        /// What was decided, and how far it came.
        record: Box<DecisionRecord>,
    },
    /// The runner has ended.
    #[error("the runner has ended")]
    Ended,
}

impl From<NotTaken> for RunnerError {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Shed(shed) => RunnerError::Shed(shed),
            NotTaken::SetAside => RunnerError::SetAside,
            NotTaken::Superseded => RunnerError::Superseded,
            NotTaken::Changing => RunnerError::Changing,
        }
    }
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
    model: Arc<Loaded>,
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
    /// Of each stream and module that answers it.
    models: HashMap<(usize, Digest), Arc<Loaded>>,
    /// Those that answer nothing any more, until no input holds them.
    left: Vec<Arc<Loaded>>,
    planned: Planned,
    standing: Standing,
    heat: (Advice, Validity),
    /// Something has changed that what is promised depends on.
    raised: bool,
    ended: bool,
}

/// What the threads share. The lock is never held while a model runs or the fog host
/// is waited for.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The cores have gone over to another set, or the runner ends.
    gone_over: Condvar,
    /// There is something for the upkeep to do, or the runner ends.
    raised: Condvar,
    host: Arc<Host>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.host.clock.now()
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

    /// These came too early, and have to come again.
    fn give_back(&mut self, inputs: Vec<InputId>) {
        for input in inputs {
            self.answer(input, |_| Err(RunnerError::Changing));
        }
    }

    fn give_up(&mut self, input: InputId) {
        self.answer(input, |failure| Err(failure.map_or(RunnerError::Ended, RunnerError::Run)));
    }
}

/// Runs admitted streams.
#[derive(Debug)]
pub struct Runner {
    shared: Arc<Shared>,
    executor: Executor,
    exchanges: Option<Sender<Exchange>>,
    asking: Mutex<Exchanges>,
    /// Held while the set changes.
    serving: Mutex<()>,
    threads: Vec<JoinHandle<()>>,
    real_time: Vec<RealTimeReport>,
}

impl Runner {
    /// Starts the threads. There is nothing to serve yet.
    pub fn start(setup: Setup) -> Result<Self, RunnerError> {
        let Setup { executor, policy, host, real_time, thermal } = setup;
        let policy = match thermal {
            Some(_) => Box::new(Cooling::new(policy)),
            None => policy,
        };
        let nobody = Admission { streams: Vec::new() };
        let rule = host.options.probe;
        let dispatcher = Dispatcher::new(&[], &nobody, &executor, Vec::new(), policy, rule)
            .believing(Arc::clone(&host.beliefs));
        let state = State {
            dispatcher,
            work: HashMap::new(),
            exchanges: HashMap::new(),
            models: HashMap::new(),
            left: Vec::new(),
            planned: Planned::default(),
            standing: Standing::default(),
            heat: (Advice::default(), Validity::Holds),
            raised: false,
            ended: false,
        };
        let (changed, gone_over, raised) = (Condvar::new(), Condvar::new(), Condvar::new());
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { state, changed, gone_over, raised, host });
        let (sender, asking) = Exchanges::new();
        let mut runner = Self {
            shared,
            executor,
            exchanges: Some(sender),
            asking: Mutex::new(asking),
            serving: Mutex::new(()),
            threads: Vec::new(),
            real_time: Vec::new(),
        };
        for core in 0..executor.cores {
            runner.start_core(core, real_time.get(core).copied().unwrap_or_default())?;
        }
        let (own, upkeep) = (Arc::clone(&runner.shared), Upkeep::new(thermal));
        let named = std::thread::Builder::new().name("leeway-upkeep".into());
        runner.threads.push(named.spawn(move || own.keep_up(upkeep))?);
        Ok(runner)
    }

    fn start_core(&mut self, core: usize, real_time: RealTime) -> std::io::Result<()> {
        let (report_to, report) = sync_channel(1);
        let own = Arc::clone(&self.shared);
        let named = std::thread::Builder::new().name(format!("leeway-core-{core}"));
        self.threads.push(named.spawn(move || {
            report_to.send(real_time.apply()).ok();
            own.work(core);
        })?);
        self.real_time.push(report.recv().map_err(std::io::Error::other)?);
        Ok(())
    }

    /// What the kernel granted to each core's thread.
    pub fn real_time(&self) -> &[RealTimeReport] {
        &self.real_time
    }

    /// What it runs streams on.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The clock, as arrivals and deadlines count.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.host.clock)
    }

    /// The time by it.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Looks at what is believed at the moment.
    pub fn inspect<T>(&self, look: impl FnOnce(&Beliefs) -> T) -> T {
        self.shared.host.inspect(look)
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

    /// How many inputs of a stream were handed on to its smaller model.
    pub fn handed_on(&self, stream: usize) -> u64 {
        self.shared.state().dispatcher.handed_on(stream)
    }

    /// See [`Dispatcher::sent`].
    pub fn sent(&self, stream: usize) -> (u64, u64) {
        self.shared.state().dispatcher.sent(stream)
    }

    /// What temperature and clock want done, as they were read last.
    pub fn heat(&self) -> (Advice, Validity) {
        self.shared.state().heat.clone()
    }

    /// See [`Dispatcher::set_degraded`].
    pub fn set_degraded(&self, stream: usize, degraded: bool) -> bool {
        self.shared.state().dispatcher.set_degraded(stream, degraded)
    }

    /// Takes an input that arrived at `arrived`, places it, and answers it. `module`: by
    /// this one of the stream's models; the first one where it is not given.
    pub fn submit(
        &self,
        stream: usize,
        module: Option<Digest>,
        arrived: Duration,
        inputs: impl Into<Arc<Vec<Tensor>>>,
    ) -> Result<Ticket, RunnerError> {
        let tensors = inputs.into();
        let mut state = self.shared.state();
        let now = self.shared.now();
        let placed = match module {
            Some(module) => state.dispatcher.arrive_for(now, stream, module, arrived)?,
            None => state.dispatcher.arrive(now, stream, arrived)?,
        };
        if let Some(dropped) = placed.dropped {
            state.answer(dropped, |_| Err(RunnerError::Replaced));
        }
        let input = placed.input;
        let model = state.models.get(&(placed.stream, placed.module));
        // The two are changed together.
        let model = Arc::clone(model.expect("what is dispatched is loaded"));
        if let (Some(limit), Some(exchanges)) = (placed.exchange, &self.exchanges) {
            let (model, tensors) = (Arc::clone(&model), Arc::clone(&tensors));
            let (until, abort) = (now.saturating_add(limit), Arc::new(Abort::default()));
            state.exchanges.insert(input, Arc::clone(&abort));
            // The threads end after the sender.
            exchanges.send(Exchange { input, model, tensors, until, abort }).ok();
        }
        let (answer, receiver) = sync_channel(1);
        state.work.insert(input, Work { model, tensors, failure: None, answer });
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
        self.shared.gone_over.notify_all();
        self.shared.raised.notify_all();
        let asking = self.asking.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in self.threads.drain(..).chain(asking.threads.drain(..)) {
            // A panic there has been reported there.
            thread.join().ok();
        }
    }
}
