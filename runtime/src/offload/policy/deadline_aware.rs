//! Offload where a benefit is expected, with the deadline kept by local
//! compensation: W. Liu, J.-J. Chen, A. Toma, T.-W. Kuo, Q. Deng, "Computation
//! Offloading by Using Timing Unreliable Components in Real-Time Systems" (DAC 2014,
//! DOI 10.1145/2593069.2593109), after A. Toma, J.-J. Chen, "Computation Offloading
//! for Frame-Based Real-Time Tasks with Resource Reservation Servers" (ECRTS 2013).
//!
//! There, each task's benefit is a function of how long the device waits for the
//! fog host, and one choice is made for all tasks and all time. Here the choice is
//! made for each input, as link and fog host change, and the benefit is the time
//! that the answer is expected to come earlier. If the device begins by itself after
//! A, and takes L, an offloaded input is answered after `min(T, A + L)`, where T is
//! T_L + T_F, a distribution. The benefit is `L - E min(T, A + L)`.
//!
//! Deadlines are not this policy's to keep: admission has found A such that they
//! are kept if no answer ever comes. Without a promise there is no A; then an input
//! is offloaded only where the fog host alone is likely enough to meet the
//! deadline.

use std::time::Duration;

use super::threshold::reachable;
use super::{Context, Decision, Policy, Reason};

/// Offloads where the answer is expected earlier.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineAware {
    /// How long ago the last contact with the fog host may be.
    pub freshness: Duration,
    /// The least benefit, as a part of the device's own time: what is gained must
    /// be worth the second execution that it may cost.
    pub least_benefit: f64,
    /// The least probability that the fog host answers before the device begins.
    pub least_probability: f64,
    /// The same for the deadline itself, where nothing compensates.
    pub least_probability_alone: f64,
}

impl Default for DeadlineAware {
    /// A twentieth of the time, answers that are more likely than not, and 99 %
    /// where nothing compensates.
    fn default() -> Self {
        Self {
            freshness: Duration::from_secs(30),
            least_benefit: 0.05,
            least_probability: 0.5,
            least_probability_alone: 0.99,
        }
    }
}

impl Policy for DeadlineAware {
    fn name(&self) -> &'static str {
        "deadline-aware"
    }

    fn decide(&mut self, context: &Context) -> Decision {
        if let Err(reason) = reachable(context, self.freshness) {
            return Decision::local(reason);
        }
        if context.armed == Some(Duration::ZERO) {
            return Decision::local(Reason::NoSlack);
        }
        let local = context.local();
        let Some(offloaded) = context.offloaded else {
            // T_F is not known: one inference finds out, where T_L leaves time.
            return match context.transfer {
                Some(transfer) if transfer < local => Decision::fog(Reason::FogUntried),
                Some(_) => Decision::local(Reason::DeviceIsFaster),
                None => Decision::local(Reason::LinkUnknown),
            };
        };
        let (probability, wanted) = match (context.armed, context.deadline) {
            (Some(armed), _) => (offloaded.within(armed), self.least_probability),
            (None, Some(left)) => (offloaded.within(left), self.least_probability_alone),
            (None, None) => (1.0, 0.0),
        };
        if probability < wanted {
            return Decision::local(Reason::UnlikelyInTime);
        }
        let compensated = context.armed.map_or(Duration::MAX, |armed| armed.saturating_add(local));
        let expected = offloaded.mean_up_to(compensated);
        match expected < local.mul_f64(1.0 - self.least_benefit) {
            true => Decision::fog(Reason::BenefitExpected),
            false => Decision::local(Reason::NoBenefit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::context;
    use super::*;
    use crate::offload::estimate::{OffloadedTime, Spread};

    const MS: Duration = Duration::from_millis(1);

    fn decide(context: Context) -> Decision {
        DeadlineAware::default().decide(&context)
    }

    /// The device takes 50 ms, the fog host 15 ms, and may be waited for 40 ms.
    fn usual() -> Context {
        Context { armed: Some(40 * MS), deadline: Some(100 * MS), ..context() }
    }

    fn offloaded(transfer_s: f64, answered: f64) -> Option<OffloadedTime> {
        Some(OffloadedTime {
            transfer: Spread::constant(transfer_s),
            fog: Spread::constant(0.005),
            answered,
        })
    }

    #[test]
    fn what_is_answered_earlier_is_offloaded() {
        assert_eq!(decide(usual()), Decision::fog(Reason::BenefitExpected));
        let slow = Context { wcet: 14 * MS, ..usual() };
        assert_eq!(decide(slow), Decision::local(Reason::NoBenefit));
        // What waits on the device counts as its time.
        let queued = Context { backlog: 30 * MS, ..slow };
        assert_eq!(decide(queued), Decision::fog(Reason::BenefitExpected));
    }

    #[test]
    fn an_answer_that_is_unlikely_in_time_is_not_waited_for() {
        let late = Context { offloaded: offloaded(0.036, 1.0), ..usual() };
        assert_eq!(decide(late), Decision::local(Reason::UnlikelyInTime));
        let unreliable = Context { offloaded: offloaded(0.01, 0.4), ..usual() };
        assert_eq!(decide(unreliable), Decision::local(Reason::UnlikelyInTime));
        // 60 % of 15 ms and 40 % of 90 ms are no 10 % less than 50 ms.
        let costly = Context { offloaded: offloaded(0.01, 0.6), ..usual() };
        assert_eq!(decide(costly).placement, crate::offload::policy::Placement::Fog);
        let costlier = Context { wcet: 40 * MS, ..costly };
        assert_eq!(decide(costlier), Decision::local(Reason::NoBenefit));
    }

    #[test]
    fn nothing_is_waited_for_without_slack_or_contact() {
        let none = Context { armed: Some(Duration::ZERO), ..usual() };
        assert_eq!(decide(none), Decision::local(Reason::NoSlack));
        let down =
            Context { link: crate::offload::health::LinkHealth::Down { failures: 1 }, ..usual() };
        assert_eq!(decide(down), Decision::local(Reason::LinkDown));
    }

    #[test]
    fn without_compensation_the_fog_host_alone_must_meet_the_deadline() {
        let alone = Context { armed: None, ..usual() };
        assert_eq!(decide(alone), Decision::fog(Reason::BenefitExpected));
        let doubtful = Context { offloaded: offloaded(0.01, 0.98), ..alone };
        assert_eq!(decide(doubtful), Decision::local(Reason::UnlikelyInTime));
        let free = Context { deadline: None, ..doubtful };
        assert_eq!(decide(free).reason, Reason::NoBenefit, "no answer would be waited for forever");
    }
}
