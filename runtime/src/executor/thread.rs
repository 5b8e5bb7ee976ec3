//! The local executor on a thread of its own, under the real-time set-up that the
//! kernel grants it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use leeway_contract::Tensor;

use super::machine::{Counts, JobId, Machine, Next, Progress, Service, Shed, Taken};
use crate::admission::Scheduling;
use crate::offload::clock::{Clock as _, MonotonicClock};
use crate::realtime::{RealTime, RealTimeReport};
use crate::sandbox::{Instance, Limits, RunError};

/// A stream's model and what was promised to it.
#[derive(Debug)]
pub struct Model {
    /// The promise.
    pub service: Service,
    /// Runs the model. Its tensors are handed from segment to segment.
    pub instance: Instance,
}

/// Who answered an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The device.
    Device,
    /// The fog host.
    Fog,
}

/// An answered input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The model's outputs.
    pub outputs: Vec<Tensor>,
    /// Who answered.
    pub by: By,
    /// When, by the executor's clock.
    pub at: Duration,
    /// When it was due.
    pub deadline: Duration,
}

/// Why an input has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// It came too early, and its stream sheds those.
    #[error("the input came before its period was over, and its stream has one waiting already")]
    Shed(Shed),
    /// A newer one took its place while it waited.
    #[error("a newer input took its place")]
    Replaced,
    /// The model failed on the device, and the fog host has not answered.
    #[error("the model failed on the device: {0}")]
    Run(#[from] RunError),
    /// The executor has ended.
    #[error("the executor has ended")]
    Ended,
}

type Answer = Result<Answered, ExecutorError>;

/// An input that was taken: its answer comes here.
#[derive(Debug)]
pub struct Ticket {
    /// What the machine said of it.
    pub taken: Taken,
    answer: Receiver<Answer>,
}

impl Ticket {
    /// Waits for the answer.
    pub fn wait(self) -> Answer {
        self.answer.recv().unwrap_or(Err(ExecutorError::Ended))
    }
}

/// An input on its way: what the next segment reads, and who waits for the answer.
#[derive(Debug)]
struct Work {
    stream: usize,
    tensors: Vec<Tensor>,
    deadline: Duration,
    failure: Option<RunError>,
    answer: SyncSender<Answer>,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    work: HashMap<JobId, Work>,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clock: MonotonicClock,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends a job's answer. Its waiter may have gone.
    fn answer(&mut self, job: JobId, outputs: Vec<Tensor>, by: By, at: Duration) {
        if let Some(work) = self.work.remove(&job) {
            let deadline = work.deadline;
            work.answer.try_send(Ok(Answered { outputs, by, at, deadline })).ok();
        }
    }

    fn give_up(&mut self, job: JobId) {
        if let Some(work) = self.work.remove(&job) {
            let failure = work.failure.map_or(ExecutorError::Ended, ExecutorError::Run);
            work.answer.try_send(Err(failure)).ok();
        }
    }
}

/// Runs admitted streams on one core.
#[derive(Debug)]
pub struct LocalExecutor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    real_time: RealTimeReport,
}

impl LocalExecutor {
    /// Starts the thread, under as much of the real-time set-up as the kernel
    /// grants. Streams are named by their place among the models.
    pub fn start(
        scheduling: Scheduling,
        models: Vec<Model>,
        real_time: RealTime,
    ) -> std::io::Result<Self> {
        let (services, mut instances): (Vec<Service>, Vec<Instance>) =
            models.into_iter().map(|model| (model.service, model.instance)).unzip();
        let machine = Machine::new(scheduling, services);
        let state = State { machine, work: HashMap::new(), ended: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            clock: MonotonicClock::new(),
        });
        let (report_to, report) = sync_channel(1);
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("executor".into()).spawn(move || {
            report_to.send(real_time.apply()).ok();
            own.serve(&mut instances);
        })?;
        let real_time = report.recv().map_err(std::io::Error::other)?;
        Ok(Self { shared, thread: Some(thread), real_time })
    }

    /// What the kernel granted.
    pub fn real_time(&self) -> &RealTimeReport {
        &self.real_time
    }

    /// The time, as arrivals and deadlines count it.
    pub fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    /// What has happened to the inputs of a stream.
    pub fn counts(&self, stream: usize) -> Counts {
        self.shared.state().machine.counts(stream)
    }

    /// Takes an input that arrived at `arrived`. Where it is offloaded, the device
    /// waits until it is armed, or until [`Self::fog_failed`].
    pub fn submit(
        &self,
        stream: usize,
        arrived: Duration,
        inputs: Vec<Tensor>,
        offloaded: bool,
    ) -> Result<Ticket, ExecutorError> {
        let mut state = self.shared.state();
        let now = self.shared.clock.now();
        let taken = state.machine.arrive(now, stream, arrived).map_err(ExecutorError::Shed)?;
        if let Some(work) = taken.dropped.and_then(|dropped| state.work.remove(&dropped)) {
            work.answer.try_send(Err(ExecutorError::Replaced)).ok();
        }
        if offloaded {
            state.machine.offload(taken.job);
        }
        let (answer, receiver) = sync_channel(1);
        let deadline = taken.deadline;
        state
            .work
            .insert(taken.job, Work { stream, tensors: inputs, deadline, failure: None, answer });
        drop(state);
        self.shared.changed.notify_one();
        Ok(Ticket { taken, answer: receiver })
    }

    /// A valid answer of the fog host to a job has come. True if it counts.
    pub fn fog_answered(&self, stream: usize, job: JobId, outputs: Vec<Tensor>) -> bool {
        let mut state = self.shared.state();
        let now = self.shared.clock.now();
        let counts = state.machine.fog_answered(now, stream, job);
        if counts {
            state.answer(job, outputs, By::Fog, now);
        }
        counts
    }

    /// No valid answer of the fog host to a job will come: the device runs it now.
    pub fn fog_failed(&self, stream: usize, job: JobId) {
        let mut state = self.shared.state();
        let now = self.shared.clock.now();
        if state.machine.fog_failed(now, stream, job) {
            state.give_up(job);
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl Drop for LocalExecutor {
    /// Ends after the segment that is running; what is waiting has no answer.
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn serve(&self, instances: &mut [Instance]) {
        let mut state = self.state();
        while !state.ended {
            let now = self.clock.now();
            let (job, stages, limit) = match state.machine.next(now) {
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
            let Some(work) = state.work.get_mut(&job) else {
                state.machine.failed(job, false);
                continue;
            };
            let (stream, tensors) = (work.stream, std::mem::take(&mut work.tensors));
            drop(state);
            let run = instances[stream].run(stages, &tensors, &Limits::within(limit));
            state = self.state();
            self.ran(&mut state, job, run.map(|run| (run.outputs, run.elapsed)));
        }
        // Whoever waits is told so, as the senders go.
        state.work.clear();
    }

    fn ran(&self, state: &mut State, job: JobId, run: Result<(Vec<Tensor>, Duration), RunError>) {
        let now = self.clock.now();
        match run {
            Ok((outputs, elapsed)) => match state.machine.ran(now, job, elapsed) {
                Progress::More => {
                    if let Some(work) = state.work.get_mut(&job) {
                        work.tensors = outputs;
                    }
                }
                Progress::Answered => state.answer(job, outputs, By::Device, now),
                Progress::TooLate => {}
            },
            Err(error) => {
                tracing::warn!(%error, "a model failed on the device");
                let stopped = matches!(error, RunError::DeadlinePassed { .. });
                if let Some(work) = state.work.get_mut(&job) {
                    work.failure = Some(error);
                }
                if state.machine.failed(job, stopped) {
                    state.give_up(job);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
