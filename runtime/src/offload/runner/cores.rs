//! A core's thread: runs the segments that the dispatcher gives it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Answered, RunnerError, Shared, State};
use crate::executor::machine::Next;
use crate::offload::dispatcher::{InputId, Ran, Stopped};
use crate::sandbox::{Execution, Limits, RunError};

impl Shared {
    /// Until the runner ends.
    pub(super) fn work(&self, core: usize) {
        let mut state = self.state();
        while !state.ended {
            let now = self.now();
            let changing = state.dispatcher.is_changing();
            let next = state.dispatcher.next(core, now);
            if changing && !state.dispatcher.is_changing() {
                self.gone_over.notify_all();
            }
            let (job, stages, limit) = match next {
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
            let work = state.work.get(&input);
            let work = work.map(|work| (Arc::clone(&work.model), Arc::clone(&work.tensors)));
            let Some((model, tensors)) = work else {
                state.dispatcher.failed(input, false);
                continue;
            };
            drop(state);
            let run = model.instance().run(stages, &tensors, &Limits::within(limit));
            drop((model, tensors));
            state = self.state();
            self.ran(&mut state, input, run, limit);
        }
        // Whoever waits is told so, as the senders go.
        state.work.clear();
    }

    /// A segment is over, for which there was so much time.
    fn ran(
        &self,
        state: &mut State,
        input: InputId,
        run: Result<Execution, RunError>,
        limit: Duration,
    ) {
        let now = self.now();
        match run {
            Ok(run) => match state.dispatcher.ran(now, input, run.elapsed, run.fuel) {
                Ran::More => {
                    if let Some(work) = state.work.get_mut(&input) {
                        work.tensors = Arc::new(run.outputs);
                    }
                }
                Ran::Answered { record, raised } => {
                    let (outputs, record) = (run.outputs, *record);
                    self.has_raised(state, raised);
                    state.answer(input, |_| Ok(Answered { outputs, record }));
                }
                Ran::TooLate => {}
            },
            Err(error) => {
                tracing::warn!(%error, "a model failed on the device");
                if matches!(error, RunError::DeadlinePassed { .. }) {
                    return self.stopped(state, input, error, limit);
                }
                if let Some(work) = state.work.get_mut(&input) {
                    work.failure = Some(error);
                }
                if state.dispatcher.failed(input, false) {
                    state.give_up(input);
                }
            }
        }
    }

    /// A segment was stopped, after so much time.
    fn stopped(&self, state: &mut State, input: InputId, error: RunError, limit: Duration) {
        let Stopped { record, raised } = state.dispatcher.stopped(self.now(), input, limit);
        self.has_raised(state, raised);
        match record {
            Some(record) => state.answer(input, |_| Err(RunnerError::Stopped { record })),
            None => {
                if let Some(work) = state.work.get_mut(&input) {
                    work.failure = Some(error);
                }
            }
        }
    }

    /// Where a bound was raised, the streams are admitted anew at once.
    fn has_raised(&self, state: &mut State, raised: bool) {
        if raised {
            state.raised = true;
            self.raised.notify_all();
        }
    }
}
