//! Prefer the fog host while the device is hot, whatever the policy: an inference
//! that runs elsewhere heats nothing. What the policy decides stands where the fog
//! host is not likely to answer in time, or is not known to be there.

use std::time::Duration;

use super::threshold::reachable;
use super::{Context, Decision, Placement, Policy, Reason};
use crate::offload::record::DecisionRecord;
use crate::thermal::Level;

/// Another policy, and the fog host above the soft limit of temperature.
#[derive(Debug)]
pub struct Cooling {
    policy: Box<dyn Policy>,
    /// How long ago the last contact with the fog host may be.
    pub freshness: Duration,
    /// The least probability that the fog host answers before the device begins, or
    /// else by the deadline.
    pub least_probability: f64,
}

impl Cooling {
    /// This policy, with contacts that count for 30 s and answers of which nine of
    /// ten are in time.
    pub fn new(policy: Box<dyn Policy>) -> Self {
        Self { policy, freshness: Duration::from_secs(30), least_probability: 0.9 }
    }

    fn prefers_fog(&self, context: &Context) -> bool {
        let known = context.heat >= Level::Warm && reachable(context, self.freshness).is_ok();
        let (true, Some(offloaded)) = (known, context.offloaded) else { return false };
        let probability = match context.armed.or(context.deadline) {
            Some(limit) => offloaded.within(limit),
            None => offloaded.answered,
        };
        probability >= self.least_probability
    }
}

impl Policy for Cooling {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn decide(&mut self, context: &Context) -> Decision {
        // It is asked in any case, as it may count its decisions.
        let decision = self.policy.decide(context);
        match decision.placement {
            Placement::Local if self.prefers_fog(context) => Decision::fog(Reason::DeviceIsHot),
            _ => decision,
        }
    }

    fn observe(&mut self, record: &DecisionRecord) {
        self.policy.observe(record);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::context;
    use super::*;
    use crate::offload::health::LinkHealth;
    use crate::offload::policy::{AllLocal, Threshold};

    const MS: Duration = Duration::from_millis(1);

    fn decide(context: Context) -> Decision {
        Cooling::new(Box::new(AllLocal)).decide(&context)
    }

    #[test]
    fn above_the_soft_limit_what_would_run_here_runs_on_the_fog() {
        assert_eq!(decide(context()), Decision::local(Reason::Always));
        for heat in [Level::Warm, Level::Hot] {
            assert_eq!(decide(Context { heat, ..context() }), Decision::fog(Reason::DeviceIsHot));
        }
        let mut threshold = Cooling::new(Box::new(Threshold::default()));
        assert_eq!(threshold.name(), "threshold");
        // What the policy sends there keeps its reason.
        let warm = Context { heat: Level::Warm, ..context() };
        assert_eq!(threshold.decide(&warm), Decision::fog(Reason::FogIsFaster));
    }

    #[test]
    fn not_where_the_answer_is_unlikely_in_time_or_nobody_is_there() {
        let warm = Context { heat: Level::Warm, ..context() };
        let here = Decision::local(Reason::Always);
        assert_eq!(decide(Context { armed: Some(14 * MS), ..warm }), here);
        assert_eq!(decide(Context { deadline: Some(14 * MS), ..warm }), here);
        assert_eq!(decide(Context { link: LinkHealth::Down { failures: 1 }, ..warm }), here);
        assert_eq!(decide(Context { offloaded: None, ..warm }), here);
    }
}
