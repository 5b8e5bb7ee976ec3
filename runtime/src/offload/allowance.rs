//! What probing may take, of bytes and of energy: a token bucket for each (the
//! idea of RFC 2697: tokens come at a rate, up to a burst).

use std::time::Duration;

/// What all probes together may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeBudget {
    /// Both directions, on average.
    pub bytes_per_s: u32,
    /// Of the device's energy, on average, where there is a model of it.
    pub milliwatts: u32,
    /// What is not used may be used later, for at most so long.
    pub burst: Duration,
}

impl Default for ProbeBudget {
    /// 2 KiB/s and 50 mW over a minute: a probe every second, and the throughput
    /// after each change of the link.
    fn default() -> Self {
        Self { bytes_per_s: 2048, milliwatts: 50, burst: Duration::from_secs(60) }
    }
}

/// What is left of a budget. What was spent beyond it is owed.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// When the tokens were last counted; `None` before the first time, when the
    /// buckets are full.
    counted: Option<Duration>,
    bytes: f64,
    joules: f64,
}

impl Allowance {
    /// The bytes that may be spent at the time `now`; `None` where bytes or energy
    /// are used up.
    pub fn at(&mut self, now: Duration, budget: &ProbeBudget) -> Option<u64> {
        let passed = self.counted.map_or(budget.burst, |counted| now.saturating_sub(counted));
        self.counted = Some(now);
        let fill = |level: &mut f64, per_s: f64| {
            let full = per_s * budget.burst.as_secs_f64();
            *level = (*level + per_s * passed.as_secs_f64()).min(full);
            *level > 0.0
        };
        let bytes = fill(&mut self.bytes, f64::from(budget.bytes_per_s));
        let energy = fill(&mut self.joules, f64::from(budget.milliwatts) / 1e3);
        (bytes && energy).then_some(self.bytes as u64)
    }

    /// Takes what an exchange has cost.
    pub fn spend(&mut self, bytes: u64, joules: f64) {
        self.bytes -= bytes as f64;
        self.joules -= joules;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn on_average_no_more_is_spent_than_the_budget() {
        let budget = ProbeBudget { bytes_per_s: 100, milliwatts: 10, burst: 10 * S };
        for (bytes, joules) in [(70, 0.0), (1, 0.003)] {
            let mut allowance = Allowance::default();
            let mut spent = (0, 0.0);
            for step in 0..1_000u32 {
                if allowance.at(S / 10 * step, &budget).is_some() {
                    allowance.spend(bytes, joules);
                    spent = (spent.0 + bytes, spent.1 + joules);
                }
            }
            // 100 s and the burst, and one probe that it may run over by.
            assert!(spent.0 <= 11_000 + bytes, "{spent:?}");
            assert!(spent.1 <= 1.1 + joules, "{spent:?}");
            assert!(spent.0 > 10_900 || spent.1 > 1.09, "{spent:?}");
        }
    }

    #[test]
    fn what_is_not_used_lasts_for_the_burst_only() {
        let budget = ProbeBudget { bytes_per_s: 100, milliwatts: 10, burst: 10 * S };
        let mut allowance = Allowance::default();
        assert_eq!(allowance.at(Duration::ZERO, &budget), Some(1_000));
        assert_eq!(allowance.at(1_000 * S, &budget), Some(1_000));
        allowance.spend(1_050, 0.0);
        assert_eq!(allowance.at(1_000 * S, &budget), None);
        assert_eq!(allowance.at(1_001 * S, &budget), Some(50));
    }
}
