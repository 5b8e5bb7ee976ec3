//! What is to be done so that a device becomes what it shall be: a machine without
//! clock or thread. It is told the time, what is wanted, what is observed and how
//! attempts end, and says which attempts to begin and which to cancel.
//!
//! Each model has a goal of its own and at most one attempt that counts. What is no
//! longer wanted is cancelled and its successor begins in the same step: nothing waits
//! for an attempt that hangs, and how one model's end tells nothing to the others, but
//! for those that the device had no time for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use leeway_contract::Digest;

use super::kept::{Kept, Want};
use leeway_control::desired::GoalState;

/// When a failed attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// About so long after the first; then twice as long each time.
    pub first: Duration,
    /// Never longer than this.
    pub most: Duration,
    /// Scatters the times of many devices with the same desired state.
    pub seed: u64,
}

impl Default for RetryRule {
    /// From 1 s to 5 min.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(300), seed: 0 }
    }
}

impl RetryRule {
    /// How long to wait after so many attempts: from half of the doubled time to all.
    fn delay(&self, model: &str, attempts: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let most = doubled.min(self.most);
        let mut scatter = DefaultHasher::new();
        (self.seed, model, attempts).hash(&mut scatter);
        let part = (scatter.finish() >> 32) as f64 / f64::from(u32::MAX);
        most.mul_f64(0.5 + 0.5 * part)
    }
}

/// Names an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Something to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Begin an attempt.
    Start {
        /// Names it.
        ticket: Ticket,
        /// The model.
        model: String,
        /// What is wanted of it.
        want: Want,
        /// Since which generation.
        since: u64,
    },
    /// An attempt is not wanted any more. Its end need not be told.
    Cancel(Ticket),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is done, with this module (`None`: the model is gone).
    Reached {
        /// The module.
        digest: Option<Digest>,
        /// Whether it answers only a share of the inputs so far.
        canary: bool,
    },
    /// It failed, and may work later.
    Failed(String),
    /// The module was refused for what it is.
    Refused(String),
    /// The device has no time for it beside the others.
    NotAdmitted(String),
}

/// What is seen of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The module that is active.
    pub active: Option<Digest>,
    /// The one that is verified, or answers a share.
    pub candidate: Option<Digest>,
    /// What happened last, in words.
    pub last: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Waiting { until: Duration },
    Working(Ticket),
    Canary(Option<Digest>),
    Reached(Option<Digest>),
    Refused { for_time: bool },
    Lost,
}

#[derive(Clone, Debug)]
struct Goal {
    want: Want,
    since: u64,
    phase: Phase,
    attempts: u32,
    reason: Option<String>,
}

/// A goal as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing<'a> {
    /// What is wanted.
    pub want: &'a Want,
    /// How far it is.
    pub state: GoalState,
    /// Why it is not further.
    pub reason: Option<&'a str>,
    /// Attempts since it was wanted so.
    pub attempts: u32,
    /// The attempt under way.
    pub ticket: Option<Ticket>,
    /// When it is tried again.
    pub retry_at: Option<Duration>,
}

/// The goals, and how far they are.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    rule: RetryRule,
    goals: BTreeMap<String, Goal>,
    tickets: u64,
}

impl Machine {
    /// Nothing is wanted yet.
    pub fn new(rule: RetryRule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// A desired state holds from now on, with what is `active`.
    pub fn want(
        &mut self,
        now: Duration,
        kept: &Kept,
        active: &BTreeMap<String, Digest>,
    ) -> Vec<Action> {
        let mut before = std::mem::take(&mut self.goals);
        for (name, want) in kept.wants() {
            let mark = &kept.goals[&name];
            let old = before.remove(&name);
            let (going_on, old) = match old {
                Some(old) if old.since == mark.since && old.is_on_its_way() => (Some(old), None),
                old => (None, old),
            };
            let goal = going_on.unwrap_or_else(|| {
                let here = active.get(&name).copied();
                let phase = match mark.settled {
                    true if mark.tried == here => Phase::Reached(here),
                    true => Phase::Lost,
                    false => Phase::Waiting { until: now },
                };
                let reason = (phase == Phase::Lost).then(|| lost(None));
                Goal { want, since: mark.since, phase, attempts: 0, reason }
            });
            self.goals.insert(name.clone(), goal);
            if let Some(old) = old {
                before.insert(name, old);
            }
        }
        let cancelled = before.values().filter_map(|goal| match goal.phase {
            Phase::Working(ticket) => Some(Action::Cancel(ticket)),
            _ => None,
        });
        let mut actions: Vec<Action> = cancelled.collect();
        actions.extend(self.due(now));
        actions
    }

    /// Begins what is due.
    pub fn due(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        for (name, goal) in &mut self.goals {
            if matches!(goal.phase, Phase::Waiting { until } if until <= now) {
                self.tickets += 1;
                let ticket = Ticket(self.tickets);
                goal.phase = Phase::Working(ticket);
                goal.attempts = goal.attempts.saturating_add(1);
                let (model, want, since) = (name.clone(), goal.want.clone(), goal.since);
                actions.push(Action::Start { ticket, model, want, since });
            }
        }
        actions
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Duration> {
        let until = |goal: &Goal| match goal.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        };
        self.goals.values().filter_map(until).min()
    }

    /// An attempt has ended. One that was cancelled tells nothing.
    pub fn ended(&mut self, now: Duration, ticket: Ticket, end: End) {
        let goal = self.goals.iter_mut().find(|(_, goal)| goal.phase == Phase::Working(ticket));
        let Some((name, goal)) = goal else { return };
        let (phase, reason) = match end {
            End::Reached { digest, canary: true } => (Phase::Canary(digest), None),
            End::Reached { digest, canary: false } => (Phase::Reached(digest), None),
            End::Failed(reason) => {
                let until = now.saturating_add(self.rule.delay(name, goal.attempts));
                (Phase::Waiting { until }, Some(reason))
            }
            End::Refused(reason) => (Phase::Refused { for_time: false }, Some(reason)),
            End::NotAdmitted(reason) => (Phase::Refused { for_time: true }, Some(reason)),
        };
        (goal.phase, goal.reason) = (phase, reason);
        if matches!(phase, Phase::Reached(_)) {
            self.time_has_changed(now);
        }
    }

    /// What the device's time is spent on has changed: what it had no time for is tried
    /// again.
    fn time_has_changed(&mut self, now: Duration) {
        for goal in self.goals.values_mut() {
            if goal.phase == (Phase::Refused { for_time: true }) {
                goal.phase = Phase::Waiting { until: now };
            }
        }
    }

    /// What a model is now.
    pub fn observe(&mut self, now: Duration, model: &str, observed: &Observed) {
        let Some(goal) = self.goals.get_mut(model) else { return };
        let phase = match goal.phase {
            Phase::Reached(digest) if digest != observed.active => Phase::Lost,
            Phase::Canary(digest) if digest == observed.active => Phase::Reached(digest),
            Phase::Canary(digest) if digest != observed.candidate => Phase::Lost,
            _ => return,
        };
        goal.phase = phase;
        goal.reason = (phase == Phase::Lost).then(|| lost(observed.last.as_deref()));
        self.time_has_changed(now);
    }

    /// What was refused or waits is tried again now, as when the device's configuration
    /// has changed.
    pub fn retry(&mut self, now: Duration) {
        for goal in self.goals.values_mut() {
            if matches!(goal.phase, Phase::Waiting { .. } | Phase::Refused { .. }) {
                goal.phase = Phase::Waiting { until: now };
            }
        }
    }

    /// How far each goal is.
    pub fn standing(&self) -> impl Iterator<Item = (&str, Standing<'_>)> {
        self.goals.iter().map(|(name, goal)| (name.as_str(), goal.standing()))
    }
}

fn lost(last: Option<&str>) -> String {
    match last {
        Some(last) => format!("it was reached, and then: {last}"),
        None => "it was reached, and is no more".into(),
    }
}

impl Goal {
    /// Whether it needs nothing from a desired state that wants the same.
    fn is_on_its_way(&self) -> bool {
        matches!(self.phase, Phase::Working(_) | Phase::Canary(_) | Phase::Reached(_))
    }

    fn standing(&self) -> Standing<'_> {
        let state = match self.phase {
            Phase::Waiting { .. } => GoalState::Waiting,
            Phase::Working(_) => GoalState::Working,
            Phase::Canary(_) => GoalState::Canary,
            Phase::Reached(_) => GoalState::Reached,
            Phase::Refused { .. } => GoalState::Refused,
            Phase::Lost => GoalState::Lost,
        };
        let ticket = match self.phase {
            Phase::Working(ticket) => Some(ticket),
            _ => None,
        };
        let retry_at = match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        };
        let reason = self.reason.as_deref();
        Standing { want: &self.want, state, reason, attempts: self.attempts, ticket, retry_at }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
