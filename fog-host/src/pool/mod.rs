//! The workers: a fixed number of threads that run models, with a bounded queue
//! before them that knows deadlines. Each worker keeps instances of the modules
//! that it ran last.
//!
//! A job that cannot end in time is refused at the door. One whose client has gone
//! is dropped from the queue, or interrupted where it runs; one whose time is over
//! does not begin. Nothing here is asynchronous but the answer's channel.
//!
//! A run that is shorter than waking another thread twice, by its certificate and by what
//! it took before, is made by the thread that asks, in the place of a worker that is idle.

mod answers;
mod cost;
mod instances;
mod lag;
mod schedule;
mod worker;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use leeway_contract::{Bound, Digest, Fuel, Stage, Tensor};
use leeway_runtime::sandbox::{Execution, Interrupt, Module, RunError};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

pub(crate) use answers::Written;

use answers::Answers;
use cost::Costs;
use instances::Instances;
use schedule::{Busy, Refusal, Schedule};
use worker::{Worker, perform};

/// The longest run that is made at once, by what it is expected to take.
const SHORT: Duration = Duration::from_micros(100);
/// And by its certified fuel, which it cannot exceed: under a millisecond on any machine
/// that serves others.
const SHORT_FUEL: Fuel = Fuel(1 << 18);

/// Of the time that a request has, this part is left for what nobody foresees. Under load
/// what is taken ends when it must: without that, every second answer would be late.
const MARGIN_PARTS: u32 = 16;

/// One run of a range of a module's stages.
pub(crate) struct Job {
    /// What to run.
    pub(crate) module: Module,
    /// Which of its stages.
    pub(crate) range: RangeInclusive<u32>,
    /// The inputs of the first of them.
    pub(crate) inputs: Vec<Tensor>,
    /// When it must have ended.
    pub(crate) deadline: Instant,
    /// The time that it had for that when its request arrived.
    pub(crate) time: Duration,
}

/// What stages burn, where the certificate knows that and not only a bound.
fn exact_fuel(module: &Module, range: &RangeInclusive<u32>) -> Option<Fuel> {
    let certificate = module.certificate();
    let (first, last) = (*range.start() as usize, *range.end() as usize);
    let exact = |stages: &[Stage]| stages.iter().all(|stage| stage.bound == Bound::Static);
    let known = certificate.stages.get(first..=last).is_some_and(exact);
    known.then(|| certificate.fuel(range.clone())).flatten()
}

/// What became of a job.
#[derive(Debug)]
pub(crate) struct Done {
    /// The outputs, with fuel and compute time.
    pub(crate) execution: Execution,
    /// How long the job waited for a worker, and for its instance.
    pub(crate) queue: Duration,
    /// When the run had ended.
    pub(crate) ended: Instant,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubmitError {
    /// All workers are busy and the queue is full.
    #[error("overloaded: {waiting} requests wait already")]
    Full {
        /// The length of the queue.
        waiting: usize,
        /// When it may be worth another try, by the runs of late.
        retry_after: Duration,
    },
    /// It would end too late, or have another end too late.
    #[error("overloaded: it would take {end:?} from now, and {left:?} are left")]
    Late {
        /// The time that it would take.
        end: Duration,
        /// The time that it has.
        left: Duration,
        /// When it may be worth another try.
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

/// What a job gave.
pub(crate) type Answer = Result<Done, JobError>;

struct Queued {
    job: Job,
    since: Instant,
    interrupt: Interrupt,
    answer: oneshot::Sender<Answer>,
}

/// A job that was taken.
pub(crate) enum Taken {
    /// It ran at once.
    Done(Answer),
    /// It waits for a worker.
    Waits(Waiting),
}

/// A job that a worker has. Dropping this abandons it, also where it runs.
pub(crate) struct Waiting {
    answer: oneshot::Receiver<Answer>,
    interrupt: Interrupt,
    answered: bool,
}

impl Taken {
    /// What becomes of the job; an error where the workers stop before.
    pub(crate) async fn done(self) -> Result<Answer, RecvError> {
        match self {
            Taken::Done(answer) => Ok(answer),
            Taken::Waits(mut waiting) => {
                let answer = (&mut waiting.answer).await;
                waiting.answered = true;
                answer
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            self.interrupt.interrupt();
        }
    }
}

struct State {
    schedule: Schedule<Box<Queued>>,
    costs: Costs,
    answers: Answers,
    stopped: bool,
    /// Modules of which no instance shall be kept, and how often this changed.
    retired: HashSet<Digest>,
    retirements: u64,
}

/// What a run is expected to be.
struct Plan {
    cost: Duration,
    /// When it must have ended, so that its answer can be written in time.
    deadline: Instant,
    /// Whether it is so short that the thread which asks may make it.
    at_once: bool,
}

impl State {
    fn plan(
        &self,
        now: Instant,
        module: &Module,
        range: &RangeInclusive<u32>,
        deadline: Instant,
        time: Duration,
    ) -> Plan {
        let (digest, fuel) = (module.digest(), exact_fuel(module, range));
        let cost = self.costs.expect(now, digest, range, fuel);
        let after = self.answers.encoding(now, digest, range)
            + self.answers.wait(now)
            + time / MARGIN_PARTS;
        let deadline = deadline.checked_sub(after).unwrap_or(now);
        let is_short = fuel.is_some_and(|fuel| fuel <= SHORT_FUEL) && !cost.is_zero();
        Plan { cost, deadline, at_once: is_short && cost <= SHORT }
    }

    /// Whether a run may be taken.
    fn check(&mut self, now: Instant, plan: &Plan) -> Result<(), SubmitError> {
        let Plan { cost, deadline, .. } = *plan;
        let left = deadline.saturating_duration_since(now);
        let mut checked = self.schedule.check(now, deadline, cost);
        if checked.is_err() && cost <= left {
            // It may be in the way of nobody but clients that have gone.
            self.schedule.retain(|queued| !queued.answer.is_closed());
            checked = self.schedule.check(now, deadline, cost);
        }
        checked.map_err(|refusal| match refusal {
            Refusal::Full { waiting, wait } => SubmitError::Full { waiting, retry_after: wait },
            Refusal::Late { end, wait } => SubmitError::Late { end, left, retry_after: wait },
        })
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    instances: usize,
}

/// How many workers there are, and what is before them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSize {
    /// The threads.
    pub(crate) workers: usize,
    /// The jobs that may wait.
    pub(crate) queue: usize,
    /// The instances that each worker keeps.
    pub(crate) instances: usize,
    /// Whether each worker stays on one processor.
    pub(crate) pin: bool,
}

/// The workers. They stop when this is dropped, after the run they are at.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// For runs at once. Locked after the state, where both are.
    here: Mutex<Instances>,
}

impl Pool {
    /// Starts the workers.
    pub(crate) fn start(size: PoolSize) -> std::io::Result<Self> {
        let workers = size.workers.max(1);
        let state = State {
            schedule: Schedule::new(workers, size.queue),
            costs: Costs::default(),
            answers: Answers::default(),
            stopped: false,
            retired: HashSet::new(),
            retirements: 0,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            instances: size.instances.max(1),
        };
        let here = Mutex::new(Instances::of(shared.instances));
        let pool = Self { shared: Arc::new(shared), here };
        for number in 0..workers {
            let shared = Arc::clone(&pool.shared);
            let name = format!("leeway-worker-{number}");
            let work = move || Worker::new(&shared, number, size.pin).work();
            thread::Builder::new().name(name).spawn(work)?;
        }
        Ok(pool)
    }

    /// Refuses a run that could not end in time, before its inputs are read. Takes no place.
    pub(crate) fn foresee(
        &self,
        module: &Module,
        range: &RangeInclusive<u32>,
        deadline: Instant,
        time: Duration,
    ) -> Result<(), SubmitError> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let plan = state.plan(now, module, range, deadline, time);
        state.check(now, &plan)
    }

    /// Takes a job, or refuses it at once.
    pub(crate) fn submit(&self, mut job: Job) -> Result<Taken, SubmitError> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        if state.stopped {
            return Err(SubmitError::Stopped);
        }
        let plan = state.plan(now, &job.module, &job.range, job.deadline, job.time);
        if plan.at_once
            && now + plan.cost <= plan.deadline
            && let Some(busy) = state.schedule.start_at_once(now, plan.cost)
        {
            drop(state);
            return Ok(Taken::Done(self.run_here(busy, job, now)));
        }
        state.check(now, &plan)?;
        job.deadline = plan.deadline;
        let (answer, receiver) = oneshot::channel();
        let interrupt = job.module.interrupt();
        let queued = Queued { job, since: now, interrupt: interrupt.clone(), answer };
        state.schedule.insert(plan.deadline, plan.cost, Box::new(queued));
        drop(state);
        self.shared.changed.notify_one();
        Ok(Taken::Waits(Waiting { answer: receiver, interrupt, answered: false }))
    }

    fn run_here(&self, busy: Busy, job: Job, now: Instant) -> Answer {
        let here = || self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = job.module.digest();
        let kept = here().take(digest);
        let (answer, instance) = perform(&self.shared, busy, job, now, kept, None);
        let state = self.shared.lock();
        // Not one of a module that was retired in the meantime.
        here().keep(instance.filter(|_| !state.retired.contains(&digest)));
        let waiting = state.schedule.waiting();
        drop(state);
        if waiting > 0 {
            // No worker could begin it as long as this one was busy.
            self.shared.changed.notify_one();
        }
        answer
    }

    /// Takes in what became of an execution.
    pub(crate) fn written(&self, now: Instant, written: &Written) {
        self.shared.lock().answers.written(now, written);
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().schedule.waiting()
    }

    /// Has the workers forget their instances of a module.
    pub(crate) fn retire(&self, digest: Digest) {
        let mut state = self.shared.lock();
        state.retired.insert(digest);
        state.retirements += 1;
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.retain(|kept| *kept != digest);
        drop((here, state));
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
