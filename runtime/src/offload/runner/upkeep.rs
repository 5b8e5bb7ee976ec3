//! Keeps the promise true while the device changes: polls its temperature and clock,
//! tells the policy of the heat, and plans anew when a run has exceeded its bound, when
//! the clock is another one, or when heat wants streams set aside.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::set::stages;
use super::{Loaded, Shared, State};
use crate::admission::{Plan, plan};
use crate::thermal::{Advice, Monitor, Validity};

/// How often temperature and clock are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is watched to make the next plan.
#[derive(Debug)]
pub(super) struct Upkeep {
    monitor: Option<Monitor>,
    /// The streams that are set aside, in this order.
    order: Vec<String>,
}

impl Upkeep {
    pub fn new(monitor: Option<Monitor>) -> Self {
        let order = monitor.as_ref().map_or(Vec::new(), |monitor| monitor.rules().degrade.clone());
        Self { monitor, order }
    }

    /// Reads temperature and clock, which may change what the models' watches promise.
    fn poll(&mut self, now: Duration) -> Advice {
        self.monitor.as_mut().map_or(Advice::default(), |monitor| monitor.poll(now))
    }
}

impl Shared {
    /// Until the runner ends.
    pub(super) fn keep_up(&self, mut upkeep: Upkeep) {
        loop {
            self.renew(&mut upkeep);
            self.sweep();
            let state = self.state();
            let wait = |state: &mut State| !state.raised && !state.ended;
            let waited = self.raised.wait_timeout_while(state, INTERVAL, wait);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.raised = false;
            if state.ended {
                return;
            }
        }
    }

    /// Frees the models that answer nothing any more: not on a core's thread.
    fn sweep(&self) {
        let free = |model: &mut Arc<Loaded>| Arc::strong_count(model) == 1;
        let gone: Vec<_> = self.state().left.extract_if(.., free).collect();
        drop(gone);
    }

    /// The plan is made without the lock, so that no core waits for it.
    fn renew(&self, upkeep: &mut Upkeep) {
        let watches = self.state().planned.watches.take();
        if let (Some(watches), Some(monitor)) = (watches, &mut upkeep.monitor) {
            monitor.follow_only(watches);
        }
        let advice = upkeep.poll(self.now());
        let validity = upkeep.monitor.as_ref().map_or(Validity::Holds, |m| m.validity().clone());
        let mut state = self.state();
        state.heat = (advice, validity);
        let beliefs = state.dispatcher.beliefs();
        beliefs.lock().unwrap_or_else(PoisonError::into_inner).set_heat(advice.level);
        let (streams, executor) = (state.dispatcher.present(), *state.dispatcher.executor());
        let (wanted, generation) = (stages(&streams), state.planned.generation);
        let planned = (&state.planned.stages, state.planned.degraded);
        // What is on its way to another set is planned for when it is there.
        if (&wanted, advice.degraded) == planned || state.dispatcher.is_changing() {
            return;
        }
        drop(state);
        let plan = plan(&streams, &executor, &upkeep.order, advice.degraded);
        let standing = plan.standing(&streams);
        let mut state = self.state();
        if state.planned.generation != generation || state.dispatcher.is_changing() {
            // It was for another set. The next turn comes at once.
            state.raised = true;
            return;
        }
        (state.planned.stages, state.planned.degraded) = (wanted, advice.degraded);
        tell(&plan, &standing);
        let given_back = state.dispatcher.adopt(self.now(), &plan);
        state.give_back(given_back);
        state.standing = standing;
        drop(state);
        self.changed.notify_all();
    }
}

fn tell(plan: &Plan, standing: &crate::admission::Standing) {
    match &plan.refusal {
        Some(refusal) if !plan.holds() => tracing::error!(
            %refusal,
            given_up = ?standing.given_up,
            set_aside = ?standing.set_aside,
            "not all deadlines can be kept any more: streams are given up"
        ),
        _ => tracing::warn!(set_aside = ?standing.set_aside, "the streams are admitted anew"),
    }
}
