//! A calibration: what is known of a model's execution time on one device, and
//! what it holds for.

use std::time::Duration;

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use super::bound::{Basis, Bound, BoundRule};
use super::device::Device;
use super::run::RunSample;
use super::summary::{Timing, times};
use crate::power::PerInference;
use crate::realtime::RealTimeReport;
use crate::sandbox::EngineKind;
use crate::thermal::SpeedSeen;

/// The version of the format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// What a calibration holds for. It says nothing of another module, engine or
/// device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The component.
    pub module: Digest,
    /// What executes its code.
    pub engine: EngineKind,
    /// The settings and the version of the engine, as a hash.
    pub engine_hash: String,
    /// The device.
    pub device: Device,
}

impl Claims {
    /// The first claim in which the two differ: its name, and both values.
    pub fn difference(&self, other: &Claims) -> Option<(&'static str, String, String)> {
        if self.module != other.module {
            return Some(("module", self.module.to_string(), other.module.to_string()));
        }
        if self.engine != other.engine {
            return Some(("engine", self.engine.to_string(), other.engine.to_string()));
        }
        if self.engine_hash != other.engine_hash {
            return Some(("engine hash", self.engine_hash.clone(), other.engine_hash.clone()));
        }
        self.device.difference(&other.device)
    }
}

/// Whole and by stages, under one condition of the caches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// All stages in one call.
    pub whole: Timing,
    /// Each stage in a call of its own, in order.
    pub stages: Vec<Timing>,
}

/// What was seen after calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Runs.
    pub runs: u64,
    /// Of them, those that took longer than what was promised then.
    pub exceeded: u64,
    /// The longest of those; zero if there was none.
    #[serde(rename = "highest_ns", with = "crate::nanos")]
    pub highest: Duration,
}

/// How long a model takes on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The version of this format: [`FORMAT`].
    pub format: u32,
    /// What it holds for.
    pub claims: Claims,
    /// What the kernel granted to the measuring thread.
    pub real_time: RealTimeReport,
    /// Of the order of the runs and of the bootstraps.
    pub seed: u64,
    /// How many inputs ran.
    pub inputs: usize,
    /// Right after another run.
    pub warm: Condition,
    /// With nothing of the model in the caches, where that was measured.
    pub cold: Option<Condition>,
    /// The whole model after calibration.
    pub seen: Seen,
    /// Every warm run of the whole model, in order.
    pub samples: Vec<RunSample>,
    /// The processor's clock meanwhile, where the kernel tells it.
    #[serde(default)]
    pub speed: Option<SpeedSeen>,
    /// The joules of one inference, where they were asked for.
    #[serde(default)]
    pub energy: Option<PerInference>,
}

impl Calibration {
    /// Checks what a file may have lost.
    ///
    /// # Errors
    /// What contradicts itself, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let stages = self.warm.stages.len();
        for condition in [Some(&self.warm), self.cold.as_ref()].into_iter().flatten() {
            if condition.stages.len() != stages || stages == 0 {
                let seen = condition.stages.len();
                return Err(format!("it has {stages} stages when warm and {seen} otherwise"));
            }
            for timing in condition.stages.iter().chain([&condition.whole]) {
                timing.check()?;
            }
        }
        Ok(())
    }

    /// What is promised of the whole model, whatever the caches hold.
    pub fn bound(&self, rule: &BoundRule) -> Bound {
        let calibrated = self.over_conditions(rule, |condition| &condition.whole);
        if self.seen.highest <= calibrated.time {
            return calibrated;
        }
        let basis = Basis::Raised { margin: rule.margin };
        Bound { time: rule.with_margin(self.seen.highest), basis }
    }

    /// What is promised of each stage in a call of its own. Their sum bounds the
    /// model; where each is exceeded with probability `p`, the sum is with `n p`
    /// at most, however they depend on each other. A bound of the model that was
    /// raised above their sum is shared out in proportion.
    pub fn stage_bounds(&self, rule: &BoundRule) -> Vec<Bound> {
        let stage = |i: usize| self.over_conditions(rule, |condition| &condition.stages[i]);
        let bounds: Vec<Bound> = (0..self.warm.stages.len()).map(stage).collect();
        let whole = self.bound(rule);
        let sum: Duration = bounds.iter().map(|bound| bound.time).sum();
        if !matches!(whole.basis, Basis::Raised { .. }) || whole.time <= sum {
            return bounds;
        }
        let factor = whole.time.as_secs_f64() / sum.as_secs_f64().max(1e-9);
        let raise = |bound: Bound| Bound { time: times(bound.time, factor), basis: whole.basis };
        bounds.into_iter().map(raise).collect()
    }

    fn over_conditions(&self, rule: &BoundRule, of: impl Fn(&Condition) -> &Timing) -> Bound {
        let warm = of(&self.warm).bound(rule);
        self.cold.as_ref().map_or(warm, |cold| warm.max(of(cold).bound(rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::testing::{LONGEST, calibration};

    const RULE: BoundRule = BoundRule { exceedance: 1e-9, margin: 0.1 };

    #[test]
    fn the_worse_of_warm_and_cold_caches_is_promised() {
        let mut one = calibration();
        let warm = one.bound(&RULE).time;
        let mut cold = one.warm.clone();
        cold.whole.highest_observed = 3 * LONGEST;
        cold.stages[1].highest_observed = 2 * LONGEST;
        one.cold = Some(cold);
        assert_eq!(one.bound(&RULE).time, RULE.with_margin(3 * LONGEST));
        let stages: Vec<Duration> = one.stage_bounds(&RULE).iter().map(|b| b.time).collect();
        assert_eq!(stages, [warm, RULE.with_margin(2 * LONGEST)]);
    }

    #[test]
    fn a_raised_bound_is_shared_out_over_the_stages() {
        let mut one = calibration();
        // Over the model's bound, and under the sum of the stages'.
        one.seen.highest = LONGEST * 3 / 2;
        let before = one.stage_bounds(&RULE);
        assert_eq!(before, calibration().stage_bounds(&RULE));
        one.seen.highest = 10 * LONGEST;
        let raised = one.stage_bounds(&RULE);
        let sum: Duration = raised.iter().map(|bound| bound.time).sum();
        assert!(sum >= one.bound(&RULE).time && raised[0].time == raised[1].time);
        assert!(raised.iter().all(|bound| bound.basis == Basis::Raised { margin: 0.1 }));
    }
}
