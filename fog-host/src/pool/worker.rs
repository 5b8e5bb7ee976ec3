//! One worker: a thread that runs one job after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::Instant;

use leeway_contract::Digest;
use leeway_runtime::sandbox::{Instance, Interrupt, Limits, RunError};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{Answer, Done, Job, JobError, Queued, Shared};

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    number: usize,
    /// The most recently used last.
    instances: Vec<(Digest, Instance)>,
    retirements: u64,
}

impl<'a> Worker<'a> {
    /// A worker on the calling thread.
    pub(super) fn new(shared: &'a Shared, number: usize, pin: bool) -> Self {
        if pin && let Err(error) = pin_to(number) {
            tracing::warn!(worker = number, %error, "a worker cannot be bound to its processor");
        }
        Self { shared, number, instances: Vec::new(), retirements: 0 }
    }

    /// Runs jobs until the pool has stopped.
    pub(super) fn work(mut self) {
        while let Some(queued) = self.next() {
            let Queued { job, since, interrupt, answer } = *queued;
            if answer.is_closed() {
                self.shared.lock().schedule.end(self.number);
                continue;
            }
            let (started, digest, range) = (Instant::now(), job.module.digest(), job.range.clone());
            let done = catch_unwind(AssertUnwindSafe(|| self.run(job, since, &interrupt)));
            let (now, time) = (Instant::now(), started.elapsed());
            let mut state = self.shared.lock();
            state.schedule.end(self.number);
            match &done {
                Ok(Ok(Done { execution, .. })) => {
                    state.costs.observe(now, digest, &range, execution.fuel, time);
                }
                Ok(Err(JobError::Run(RunError::DeadlinePassed { .. }))) => {
                    state.costs.observe_longer(now, digest, &range, time);
                }
                _ => {}
            }
            drop(state);
            // The client may have gone in the meantime.
            let _ = answer.send(done.unwrap_or(Err(JobError::Panicked)));
        }
    }

    /// Waits for the next job; `None` when the pool has stopped.
    fn next(&mut self) -> Option<Box<Queued>> {
        let mut state = self.shared.lock();
        loop {
            if state.retirements != self.retirements {
                self.retirements = state.retirements;
                self.instances.retain(|(digest, _)| !state.retired.contains(digest));
            }
            if state.stopped {
                return None;
            }
            if let Some(queued) = state.schedule.start(Instant::now(), self.number) {
                return Some(queued);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&mut self, job: Job, since: Instant, interrupt: &Interrupt) -> Answer {
        let Job { module, range, inputs, deadline, time } = job;
        let digest = module.digest();
        let kept = self.instances.iter().position(|(kept, _)| *kept == digest);
        let mut instance = match kept {
            Some(position) => self.instances.remove(position).1,
            None => module.instantiate()?,
        };
        let queue = since.elapsed();
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.keep(digest, instance);
            return Err(JobError::TimedOut { limit: time });
        }
        let limits = Limits::within(left);
        let result = instance.run_interruptible(range, &inputs, &limits, Some(interrupt));
        self.keep(digest, instance);
        Ok(Done { execution: result?, queue })
    }

    fn keep(&mut self, digest: Digest, instance: Instance) {
        if self.instances.len() >= self.shared.instances {
            self.instances.remove(0);
        }
        self.instances.push((digest, instance));
    }
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
