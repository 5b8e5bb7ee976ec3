//! Keeps the promise true while the device changes: polls its temperature and clock,
//! tells the policy of the heat, and plans anew when a run has exceeded its bound, when
//! the clock is another one, or when heat wants streams set aside.

use std::sync::PoisonError;
use std::time::Duration;

use super::Shared;
use crate::admission::{Executor, Plan, Stream, plan};
use crate::offload::clock::Clock as _;
use crate::thermal::{Advice, Monitor};

/// How often temperature and clock are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the last plan was for, and what is watched to make the next one.
#[derive(Debug)]
pub(super) struct Upkeep {
    monitor: Option<Monitor>,
    /// The streams that are set aside, in this order.
    order: Vec<String>,
    /// The times of the stages of each stream, and how many streams heat wanted set aside.
    planned: (Vec<Vec<Duration>>, usize),
}

fn stages(streams: &[Stream]) -> Vec<Vec<Duration>> {
    streams.iter().map(|stream| stream.stages.clone()).collect()
}

impl Upkeep {
    /// Of streams that have been admitted so.
    pub fn new(streams: &[Stream], monitor: Option<Monitor>) -> Self {
        let order = monitor.as_ref().map_or(Vec::new(), |monitor| monitor.rules().degrade.clone());
        Self { monitor, order, planned: (stages(streams), 0) }
    }

    /// Reads temperature and clock, which may change what the models' watches promise.
    fn poll(&mut self, now: Duration) -> Advice {
        self.monitor.as_mut().map_or(Advice::default(), |monitor| monitor.poll(now))
    }

    /// The plan for the streams as they are now, where that differs from the last time.
    fn plan(&mut self, streams: &[Stream], executor: &Executor, advice: Advice) -> Option<Plan> {
        let wanted = (stages(streams), advice.degraded);
        if wanted == self.planned {
            return None;
        }
        self.planned = wanted;
        Some(plan(streams, executor, &self.order, advice.degraded))
    }
}

impl Shared {
    /// Until the runner ends.
    pub(super) fn keep_up(&self, mut upkeep: Upkeep) {
        loop {
            self.renew(&mut upkeep);
            let state = self.state();
            let wait = |state: &mut super::State| !state.raised && !state.ended;
            let waited = self.raised.wait_timeout_while(state, INTERVAL, wait);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.raised = false;
            if state.ended {
                return;
            }
        }
    }

    /// The plan is made without the lock, so that no core waits for it.
    fn renew(&self, upkeep: &mut Upkeep) {
        let advice = upkeep.poll(self.clock.now());
        let state = self.state();
        let beliefs = state.dispatcher.beliefs();
        beliefs.lock().unwrap_or_else(PoisonError::into_inner).set_heat(advice.level);
        let (streams, executor) = (state.dispatcher.present(), *state.dispatcher.executor());
        drop(state);
        let Some(plan) = upkeep.plan(&streams, &executor, advice) else { return };
        let standing = plan.standing(&streams);
        match (&plan.refusal, plan.holds()) {
            (Some(refusal), false) => tracing::error!(
                %refusal,
                "the streams are not admitted any more; runs end with the times that were admitted"
            ),
            (_, true) => {
                tracing::warn!(set_aside = ?standing.set_aside, "the streams are admitted anew")
            }
            (None, false) => {}
        }
        let mut state = self.state();
        state.dispatcher.adopt(self.clock.now(), &plan);
        state.standing = standing;
        drop(state);
        self.changed.notify_all();
    }
}
