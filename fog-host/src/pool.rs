//! The workers: a fixed number of threads that run models, with a bounded queue
//! before them. Each worker keeps instances of the modules that it ran last.
//!
//! A job whose client has gone is dropped from the queue, and so is one whose
//! time is over. Nothing here is asynchronous but the answer's channel.

use std::collections::{HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use leeway_contract::{Digest, Tensor};
use leeway_runtime::sandbox::{Execution, Instance, Limits, Module, RunError};
use tokio::sync::oneshot;

/// One run of a range of a module's stages.
pub(crate) struct Job {
    /// What to run.
    pub(crate) module: Module,
    /// Which of its stages.
    pub(crate) range: RangeInclusive<u32>,
    /// The inputs of the first of them.
    pub(crate) inputs: Vec<Tensor>,
    /// The longest that it may wait and run, together.
    pub(crate) time: Duration,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) struct Done {
    /// The outputs, with fuel and compute time.
    pub(crate) execution: Execution,
    /// How long the job waited for a worker, and for its instance.
    pub(crate) queue: Duration,
}

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// All workers are busy and the queue is full.
    #[error("overloaded: {waiting} requests wait already")]
    Full {
        /// The length of the queue.
        waiting: usize,
        /// When it may be worth another try, by the runs of late.
        retry_after: Duration,
    },
    /// The host is shutting down.
    #[error("shutting down")]
    Stopped,
}

/// Why a job that was taken gave no outputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It waited for longer than it may take.
    #[error("no worker was free within {limit:?}")]
    TimedOut {
        /// The job's time.
        limit: Duration,
    },
    /// A defect of this program.
    #[error("the worker panicked")]
    Panicked,
}

type Answer = Result<Done, JobError>;

struct Queued {
    job: Job,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    idle_workers: usize,
    stopped: bool,
    /// The time that a run takes, averaged over those of late.
    mean_run: Duration,
    /// Modules of which no instance shall be kept, and how often this changed.
    retired: HashSet<Digest>,
    retirements: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    workers: usize,
    capacity: usize,
    instances: usize,
}

/// The workers. They stop when this is dropped, after the run they are at.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts as many workers, which keep as many instances each, with a queue
    /// of `capacity` before them.
    pub(crate) fn start(
        workers: usize,
        capacity: usize,
        instances: usize,
    ) -> std::io::Result<Self> {
        let (workers, instances) = (workers.max(1), instances.max(1));
        let (state, changed) = Default::default();
        let shared = Arc::new(Shared { state, changed, workers, capacity, instances });
        let pool = Self { shared };
        for number in 0..workers {
            let shared = Arc::clone(&pool.shared);
            let name = format!("leeway-worker-{number}");
            thread::Builder::new().name(name).spawn(move || Worker::new(&shared).work())?;
        }
        Ok(pool)
    }

    /// Takes a job, or refuses it at once. Dropping the receiver abandons it.
    pub(crate) fn submit(&self, job: Job) -> Result<oneshot::Receiver<Answer>, SubmitError> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.shared.lock();
        if state.stopped {
            return Err(SubmitError::Stopped);
        }
        let room = self.shared.capacity + state.idle_workers;
        if state.queue.len() >= room {
            state.queue.retain(|queued| !queued.answer.is_closed());
        }
        if state.queue.len() >= room {
            let waiting = state.queue.len();
            let runs = waiting.div_ceil(self.shared.workers) as u32 + 1;
            return Err(SubmitError::Full { waiting, retry_after: state.mean_run * runs });
        }
        state.queue.push_back(Queued { job, since: Instant::now(), answer });
        drop(state);
        self.shared.changed.notify_one();
        Ok(receiver)
    }

    /// Has the workers forget their instances of a module.
    pub(crate) fn retire(&self, digest: Digest) {
        let mut state = self.shared.lock();
        state.retired.insert(digest);
        state.retirements += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Takes back `retire`: the module is there again.
    pub(crate) fn reinstate(&self, digest: Digest) {
        self.shared.lock().retired.remove(&digest);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    /// The most recently used last.
    instances: Vec<(Digest, Instance)>,
    retirements: u64,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, instances: Vec::new(), retirements: 0 }
    }

    fn work(mut self) {
        while let Some(queued) = self.next() {
            let Queued { job, since, answer } = queued;
            if answer.is_closed() {
                continue;
            }
            let started = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| self.run(job, since)));
            self.note(started.elapsed());
            // The client may have gone in the meantime.
            let _ = answer.send(done.unwrap_or(Err(JobError::Panicked)));
        }
    }

    /// Waits for the next job; `None` when the pool has stopped.
    fn next(&mut self) -> Option<Queued> {
        let mut state = self.shared.lock();
        loop {
            if state.retirements != self.retirements {
                self.retirements = state.retirements;
                self.instances.retain(|(digest, _)| !state.retired.contains(digest));
            }
            if state.stopped {
                return None;
            }
            if let Some(queued) = state.queue.pop_front() {
                return Some(queued);
            }
            state.idle_workers += 1;
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_workers -= 1;
        }
    }

    fn run(&mut self, job: Job, since: Instant) -> Answer {
        let Job { module, range, inputs, time } = job;
        let digest = module.digest();
        let kept = self.instances.iter().position(|(kept, _)| *kept == digest);
        let mut instance = match kept {
            Some(position) => self.instances.remove(position).1,
            None => module.instantiate()?,
        };
        let queue = since.elapsed();
        let Some(left) = time.checked_sub(queue).filter(|left| !left.is_zero()) else {
            self.keep(digest, instance);
            return Err(JobError::TimedOut { limit: time });
        };
        let result = instance.run(range, &inputs, &Limits::within(left));
        self.keep(digest, instance);
        Ok(Done { execution: result?, queue })
    }

    fn keep(&mut self, digest: Digest, instance: Instance) {
        if self.instances.len() >= self.shared.instances {
            self.instances.remove(0);
        }
        self.instances.push((digest, instance));
    }

    fn note(&self, run: Duration) {
        let mut state = self.shared.lock();
        state.mean_run = (state.mean_run * 7 + run) / 8;
    }
}
