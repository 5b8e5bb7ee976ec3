//! The threshold policy of D. Saguil, A. Azim, "Time-efficient Offloading for
//! Machine Learning Tasks between Embedded Systems and Fog Nodes" (ISORC 2019,
//! DOI 10.1109/ISORC.2019.00022): offload where WCET > T_L + T_F.
//!
//! What the paper leaves open is how to decide without estimates. Here: an input
//! is never sent into a link of which nothing good is known. Without contact, or
//! after a failure, inputs stay on the device until a probe has succeeded; the
//! offloader's prober sends those, with exponential back-off. Where only T_F is
//! unknown, T_L alone must be below the WCET, and one inference then tells T_F.

use std::time::Duration;

use super::{Context, Decision, Policy, Reason};
use crate::offload::health::{LinkHealth, ModuleHealth};

/// Offloads where WCET > T_L + T_F.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// How long ago the last contact with the fog host may be.
    pub freshness: Duration,
}

impl Default for Threshold {
    /// A contact counts for 30 s.
    fn default() -> Self {
        Self { freshness: Duration::from_secs(30) }
    }
}

impl Policy for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn decide(&mut self, context: &Context) -> Decision {
        if let Err(reason) = reachable(context, self.freshness) {
            return Decision::local(reason);
        }
        let Some(transfer) = context.transfer else {
            return Decision::local(Reason::LinkUnknown);
        };
        let offloaded = transfer.saturating_add(context.fog.unwrap_or_default());
        match context.fog {
            _ if context.wcet <= offloaded => Decision::local(Reason::DeviceIsFaster),
            Some(_) => Decision::fog(Reason::FogIsFaster),
            None => Decision::fog(Reason::FogUntried),
        }
    }
}

/// Whether something good is known of the link and of the module on the fog host;
/// or else why not.
pub(super) fn reachable(context: &Context, freshness: Duration) -> Result<(), Reason> {
    match context.link {
        LinkHealth::Unknown => return Err(Reason::LinkUnknown),
        LinkHealth::Down { .. } => return Err(Reason::LinkDown),
        LinkHealth::Up { age } if age > freshness => return Err(Reason::LinkStale),
        LinkHealth::Up { .. } => {}
    }
    match context.on_fog {
        ModuleHealth::Failing { retry: false, .. } => Err(Reason::FogFailing),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::super::testing::context;
    use super::*;
    use crate::offload::policy::Placement;

    const MS: Duration = Duration::from_millis(1);

    fn decide(context: Context) -> Decision {
        Threshold::default().decide(&context)
    }

    #[test]
    fn offloads_exactly_where_the_wcet_exceeds_the_sum() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1_000 {
            let mut time = || Duration::from_nanos(rng.random_range(0..100));
            let (wcet, transfer, fog) = (time(), time(), time());
            let decision =
                decide(Context { wcet, transfer: Some(transfer), fog: Some(fog), ..context() });
            assert_eq!(decision.placement == Placement::Fog, wcet > transfer + fog);
        }
    }

    #[test]
    fn nothing_is_sent_where_nothing_good_is_known_of_the_link() {
        let wcet = Duration::from_secs(3_600);
        let links = [
            (LinkHealth::Unknown, Reason::LinkUnknown),
            (LinkHealth::Down { failures: 1 }, Reason::LinkDown),
            (LinkHealth::Up { age: 31_000 * MS }, Reason::LinkStale),
        ];
        for (link, reason) in links {
            assert_eq!(decide(Context { wcet, link, ..context() }), Decision::local(reason));
        }
        let decision = decide(Context { wcet, transfer: None, ..context() });
        assert_eq!(decision, Decision::local(Reason::LinkUnknown));
    }

    #[test]
    fn an_untried_fog_is_tried_where_the_link_alone_leaves_time() {
        let untried = Context { fog: None, ..context() };
        assert_eq!(decide(untried), Decision::fog(Reason::FogUntried));
        let slow = Context { transfer: Some(50 * MS), ..untried };
        assert_eq!(decide(slow), Decision::local(Reason::DeviceIsFaster));
    }

    #[test]
    fn a_failing_module_is_tried_again_when_its_wait_is_over() {
        let failing =
            |retry| Context { on_fog: ModuleHealth::Failing { failures: 2, retry }, ..context() };
        assert_eq!(decide(failing(false)), Decision::local(Reason::FogFailing));
        assert_eq!(decide(failing(true)), Decision::fog(Reason::FogIsFaster));
    }
}
