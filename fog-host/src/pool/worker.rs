//! One worker: a thread that runs one job after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::Instant;

use leeway_contract::Bound;
use leeway_runtime::sandbox::{Instance, Interrupt, Limits, RunError};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use super::instances::Instances;
use super::schedule::Busy;
use super::{Answer, Done, Job, JobError, Queued, Shared};

/// How much workers leave to the threads that read, where there is not a processor for each:
/// who is refused hears so at once, and how long a request has waited is known.
const NICENESS: i32 = 5;

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    instances: Instances,
    retirements: u64,
}

impl<'a> Worker<'a> {
    /// A worker on the calling thread.
    pub(super) fn new(shared: &'a Shared, number: usize, pin: bool) -> Self {
        if pin && let Err(error) = pin_to(number) {
            tracing::warn!(worker = number, %error, "a worker cannot be bound to its processor");
        }
        // The nice value is a thread's on Linux (setpriority(2)).
        if let Err(error) = setpriority_process(Some(gettid()), NICENESS) {
            tracing::warn!(worker = number, %error, "a worker has the priority of all threads");
        }
        Self { shared, instances: Instances::of(shared.instances), retirements: 0 }
    }

    /// Runs jobs until the pool has stopped.
    pub(super) fn work(mut self) {
        while let Some((busy, queued)) = self.next() {
            let Queued { job, since, interrupt, answer } = *queued;
            if answer.is_closed() {
                self.shared.lock().schedule.end(busy);
                continue;
            }
            let kept = self.instances.take(job.module.digest());
            let (done, instance) = perform(self.shared, busy, job, since, kept, Some(&interrupt));
            self.instances.keep(instance);
            // The client may have gone in the meantime.
            let _ = answer.send(done);
        }
    }

    /// Waits for the next job; `None` when the pool has stopped.
    fn next(&mut self) -> Option<(Busy, Box<Queued>)> {
        let mut state = self.shared.lock();
        loop {
            if state.retirements != self.retirements {
                self.retirements = state.retirements;
                self.instances.retain(|digest| !state.retired.contains(digest));
            }
            if state.stopped {
                return None;
            }
            if let Some(started) = state.schedule.start(Instant::now()) {
                return Some(started);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs a job as the worker that is busy with it, and notes what it took. Gives the
/// instance back if it can be used again.
pub(super) fn perform(
    shared: &Shared,
    busy: Busy,
    job: Job,
    since: Instant,
    kept: Option<Instance>,
    interrupt: Option<&Interrupt>,
) -> (Answer, Option<Instance>) {
    let (started, digest, range) = (Instant::now(), job.module.digest(), job.range.clone());
    let done = catch_unwind(AssertUnwindSafe(|| run(job, since, kept, interrupt)));
    let (done, instance) = done.unwrap_or((Err(JobError::Panicked), None));
    let (now, time) = (Instant::now(), started.elapsed());
    let mut state = shared.lock();
    state.schedule.end(busy);
    match &done {
        Ok(Done { execution, .. }) => {
            state.costs.observe(now, digest, &range, execution.fuel, time);
        }
        Err(JobError::Run(RunError::DeadlinePassed { .. })) => {
            state.costs.observe_longer(now, digest, &range, time);
        }
        Err(_) => {}
    }
    (done, instance)
}

fn run(
    job: Job,
    since: Instant,
    kept: Option<Instance>,
    interrupt: Option<&Interrupt>,
) -> (Answer, Option<Instance>) {
    let Job { module, range, inputs, deadline, time, .. } = job;
    let mut instance = match kept.map_or_else(|| module.instantiate(), Ok) {
        Ok(instance) => instance,
        Err(error) => return (Err(error.into()), None),
    };
    let queue = since.elapsed();
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        // One that serves a single call is not kept: it would keep a place in the pool.
        let again = instance.module().certificate().bound() == Bound::Static;
        return (Err(JobError::TimedOut { limit: time }), again.then_some(instance));
    }
    let limits = Limits::within(left);
    let result = instance.run_interruptible(range, &inputs, &limits, interrupt);
    let ended = Instant::now();
    let done = result.map(|execution| Done { execution, queue, ended });
    (done.map_err(JobError::from), Some(instance))
}

/// Binds the calling thread to one of the processors that this process may use.
fn pin_to(number: usize) -> rustix::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let processors: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    let mut one = CpuSet::new();
    one.set(processors[number % processors.len()]);
    sched_setaffinity(None, &one)
}
