//! What a run is expected to cost, in time.
//!
//! Of a module that ran before: the mean of its runs and four mean deviations, both
//! with weights that fade (V. Jacobson, "Congestion Avoidance and Control", 1988,
//! appendix A). Of another: its certified fuel, at the nanoseconds per unit of fuel
//! that other modules took here.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Digest, Fuel};

/// The weight of a new run in the mean, and in the deviation.
const GAIN: f64 = 1.0 / 8.0;
const DEVIATION_GAIN: f64 = 1.0 / 4.0;
const DEVIATIONS: f64 = 4.0;
/// The modules' ranges that are remembered. When there are more, all are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Clone, Copy)]
struct Cost {
    mean: f64,
    deviation: f64,
}

/// The costs that were seen, in seconds.
#[derive(Default)]
pub(super) struct Costs {
    runs: HashMap<(Digest, u32, u32), Cost>,
    seconds_per_fuel: Option<f64>,
}

fn key(digest: Digest, range: &RangeInclusive<u32>) -> (Digest, u32, u32) {
    (digest, *range.start(), *range.end())
}

impl Costs {
    /// Takes in a run of stages that are certified for `fuel`.
    pub(super) fn observe(
        &mut self,
        digest: Digest,
        range: &RangeInclusive<u32>,
        fuel: Fuel,
        time: Duration,
    ) {
        let seconds = time.as_secs_f64();
        if fuel.0 > 0 {
            let seen = seconds / fuel.0 as f64;
            let known = self.seconds_per_fuel.get_or_insert(seen);
            *known += (seen - *known) * GAIN;
        }
        if self.runs.len() >= REMEMBERED {
            self.runs.clear();
        }
        match self.runs.get_mut(&key(digest, range)) {
            Some(cost) => {
                let error = seconds - cost.mean;
                cost.mean += error * GAIN;
                cost.deviation += (error.abs() - cost.deviation) * DEVIATION_GAIN;
            }
            None => {
                // The first run has cold caches: nothing is known of the spread.
                let cost = Cost { mean: seconds, deviation: 0.0 };
                self.runs.insert(key(digest, range), cost);
            }
        }
    }

    /// What a run of stages that are certified for `fuel` may take. Nothing where
    /// nothing is known at all: then it is tried.
    pub(super) fn expect(
        &self,
        digest: Digest,
        range: &RangeInclusive<u32>,
        fuel: Fuel,
    ) -> Duration {
        let seconds = match self.runs.get(&key(digest, range)) {
            Some(cost) => cost.mean + DEVIATIONS * cost.deviation,
            None => self.seconds_per_fuel.unwrap_or(0.0) * fuel.0 as f64,
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_steady_module_costs_what_it_took_and_a_changing_one_more() {
        let (digest, range) = (Digest::of(b"a"), 0..=0);
        let mut costs = Costs::default();
        assert_eq!(costs.expect(digest, &range, Fuel(10)), Duration::ZERO);
        for _ in 0..100 {
            costs.observe(digest, &range, Fuel(1_000_000), MS * 10);
        }
        let steady = costs.expect(digest, &range, Fuel(1_000_000));
        assert!(steady.abs_diff(MS * 10) < MS / 100, "{steady:?}");
        for _ in 0..100 {
            costs.observe(digest, &range, Fuel(1_000_000), MS * 10);
            costs.observe(digest, &range, Fuel(1_000_000), MS * 20);
        }
        assert!(costs.expect(digest, &range, Fuel(1_000_000)) > MS * 25);
    }

    #[test]
    fn another_module_costs_by_its_fuel() {
        let mut costs = Costs::default();
        costs.observe(Digest::of(b"a"), &(0..=3), Fuel(1000), MS);
        let other = costs.expect(Digest::of(b"b"), &(0..=0), Fuel(5000));
        assert!(other.abs_diff(MS * 5) < MS / 100, "{other:?}");
        let huge = costs.expect(Digest::of(b"b"), &(0..=0), Fuel(u64::MAX));
        assert!(huge > Duration::from_secs(1 << 30), "{huge:?}");
    }
}
