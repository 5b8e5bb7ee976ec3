//! Spend the fewest joules of the device, subject to the deadline: the objective of
//! E. Cuervo et al., "MAUI: Making Smartphones Last Longer with Code Offload"
//! (MobiSys 2010, DOI 10.1145/1814433.1814441), and of Neurosurgeon where it
//! minimises mobile energy (Y. Kang et al., ASPLOS 2017, DOI 10.1145/3037697.3037698).
//!
//! There, the program is cut by the mean times of link and server, and a late answer
//! is waited for. Here, an input that is offloaded may be executed on the device as
//! well, and what that takes is expected to be spent with the probability that no
//! answer comes before the device begins: `E_exchange + (1 - P(T <= A)) E_local` is
//! compared with `E_local`. The deadline is kept as by the deadline-aware policy:
//! by admission where there is a promise, and otherwise by offloading only what is
//! likely enough to be in time.

use std::time::Duration;

use super::threshold::reachable;
use super::{Context, Decision, Policy, Reason};

/// Offloads where fewer joules are expected.
#[derive(Clone, Copy, Debug)]
pub struct EnergyAware {
    /// How long ago the last contact with the fog host may be.
    pub freshness: Duration,
    /// The least probability that the fog host meets the deadline, where nothing
    /// compensates.
    pub least_probability_alone: f64,
}

impl Default for EnergyAware {
    /// Contacts count for 30 s, and 99 % of answers are in time.
    fn default() -> Self {
        Self { freshness: Duration::from_secs(30), least_probability_alone: 0.99 }
    }
}

impl Policy for EnergyAware {
    fn name(&self) -> &'static str {
        "energy-aware"
    }

    fn decide(&mut self, context: &Context) -> Decision {
        if let Err(reason) = reachable(context, self.freshness) {
            return Decision::local(reason);
        }
        let Some(energy) = context.energy else {
            return Decision::local(Reason::EnergyUnknown);
        };
        if context.armed == Some(Duration::ZERO) {
            return Decision::local(Reason::NoSlack);
        }
        let Some(offloaded) = context.offloaded else {
            // T_F costs the device nothing; one inference tells it, where T_L alone
            // is worth it and leaves time.
            let limit = context.armed.or(context.deadline).unwrap_or(Duration::MAX);
            let cheap = energy.exchange_joules < energy.local_joules;
            return match context.transfer {
                Some(transfer) if cheap && transfer < limit => Decision::fog(Reason::FogUntried),
                Some(_) => Decision::local(Reason::DeviceIsCheaper),
                None => Decision::local(Reason::LinkUnknown),
            };
        };
        let answered = match (context.armed, context.deadline) {
            (Some(armed), _) => offloaded.within(armed),
            (None, Some(left)) => {
                let probability = offloaded.within(left);
                if probability < self.least_probability_alone {
                    return Decision::local(Reason::UnlikelyInTime);
                }
                probability
            }
            (None, None) => offloaded.answered,
        };
        let expected = energy.exchange_joules + (1.0 - answered) * energy.local_joules;
        match expected < energy.local_joules {
            true => Decision::fog(Reason::FogIsCheaper),
            false => Decision::local(Reason::DeviceIsCheaper),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::super::testing::context;
    use super::*;
    use crate::offload::energy::ChoiceEnergy;
    use crate::offload::estimate::{OffloadedTime, Spread};
    use crate::offload::health::LinkHealth;
    use crate::offload::policy::Placement;

    const MS: Duration = Duration::from_millis(1);

    fn decide(context: Context) -> Decision {
        EnergyAware::default().decide(&context)
    }

    fn with(local_joules: f64, exchange_joules: f64, answered: f64) -> Context {
        Context {
            energy: Some(ChoiceEnergy { local_joules, exchange_joules }),
            offloaded: Some(OffloadedTime {
                transfer: Spread::constant(0.010),
                fog: Spread::constant(0.005),
                answered,
            }),
            armed: Some(40 * MS),
            deadline: Some(100 * MS),
            ..context()
        }
    }

    #[test]
    fn offloads_exactly_where_fewer_joules_are_expected_with_compensation() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1_000 {
            let (local, exchange) = (rng.random_range(0.0..2.0), rng.random_range(0.0..2.0));
            let answered: f64 = rng.random_range(0.0..=1.0);
            let fewer = exchange + (1.0 - answered) * local < local;
            let decision = decide(with(local, exchange, answered));
            assert_eq!(
                decision.placement == Placement::Fog,
                fewer,
                "{local} {exchange} {answered}"
            );
        }
        // A slower answer that takes fewer joules is taken, if it is in time.
        let slow = Context { wcet: 5 * MS, ..with(1.0, 0.2, 1.0) };
        assert_eq!(decide(slow), Decision::fog(Reason::FogIsCheaper));
        let late = Context { armed: Some(14 * MS), ..with(1.0, 0.2, 1.0) };
        assert_eq!(decide(late), Decision::local(Reason::DeviceIsCheaper));
    }

    #[test]
    fn the_deadline_comes_first() {
        let cheap = with(1.0, 0.1, 0.9);
        let none = Context { armed: Some(Duration::ZERO), ..cheap };
        assert_eq!(decide(none), Decision::local(Reason::NoSlack));
        let alone = Context { armed: None, ..cheap };
        assert_eq!(decide(alone), Decision::local(Reason::UnlikelyInTime));
        let likely = Context { armed: None, ..with(1.0, 0.1, 0.999) };
        assert_eq!(decide(likely), Decision::fog(Reason::FogIsCheaper));
        let free = Context { deadline: None, ..alone };
        assert_eq!(decide(free), Decision::fog(Reason::FogIsCheaper));
    }

    #[test]
    fn what_is_not_known_stays_on_the_device_or_is_tried_once() {
        let cheap = with(1.0, 0.1, 1.0);
        let unknown = Context { energy: None, ..cheap };
        assert_eq!(decide(unknown), Decision::local(Reason::EnergyUnknown));
        let down = Context { link: LinkHealth::Down { failures: 2 }, ..cheap };
        assert_eq!(decide(down), Decision::local(Reason::LinkDown));
        let untried = Context { offloaded: None, fog: None, ..cheap };
        assert_eq!(decide(untried), Decision::fog(Reason::FogUntried));
        let far = Context { transfer: Some(41 * MS), ..untried };
        assert_eq!(decide(far), Decision::local(Reason::DeviceIsCheaper));
    }
}
