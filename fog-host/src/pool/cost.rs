//! What a run is expected to cost, in time.
//!
//! Of a module that ran before: the mean of its runs and four mean deviations, both
//! with weights that fade (V. Jacobson, "Congestion Avoidance and Control", 1988,
//! appendix A). Of another: its certified fuel, at the seconds per unit of fuel that
//! other modules took here.
//!
//! An expectation that no run renews fades. So a module that is refused because it
//! was slow once, with cold caches or on a busy machine, is soon tried again.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use leeway_contract::{Digest, Fuel};

/// The weight of a new run in the mean, and in the deviation.
const GAIN: f64 = 1.0 / 8.0;
const DEVIATION_GAIN: f64 = 1.0 / 4.0;
const DEVIATIONS: f64 = 4.0;
/// An expectation without a new run is half of what it was after so long.
const HALF_LIFE: Duration = Duration::from_secs(1);
/// The modules' ranges that are remembered. When there are more, all are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Clone, Copy)]
struct Cost {
    mean: f64,
    deviation: f64,
    seen: Instant,
}

impl Cost {
    fn expected(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.seen).as_secs_f64();
        let faded = (-age / HALF_LIFE.as_secs_f64()).exp2();
        (self.mean + DEVIATIONS * self.deviation) * faded
    }
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
    /// Takes in a run that burned `fuel`.
    pub(super) fn observe(
        &mut self,
        now: Instant,
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
        // The first run has cold caches: nothing is known of the spread.
        let fresh = Cost { mean: seconds, deviation: 0.0, seen: now };
        let cost = self.runs.entry(key(digest, range)).or_insert(fresh);
        let error = seconds - cost.mean;
        cost.mean += error * GAIN;
        cost.deviation += (error.abs() - cost.deviation) * DEVIATION_GAIN;
        cost.seen = now;
    }

    /// Takes in a run that was interrupted after this time.
    pub(super) fn observe_longer(
        &mut self,
        now: Instant,
        digest: Digest,
        range: &RangeInclusive<u32>,
        time: Duration,
    ) {
        let seconds = time.as_secs_f64();
        let longer = self.runs.get(&key(digest, range)).is_none_or(|cost| cost.mean < seconds);
        if longer {
            self.observe(now, digest, range, Fuel(0), time);
        }
    }

    /// What a run of stages may take, which are certified for `fuel` where that is
    /// what they burn. Nothing where nothing is known at all: then it is tried.
    pub(super) fn expect(
        &self,
        now: Instant,
        digest: Digest,
        range: &RangeInclusive<u32>,
        fuel: Option<Fuel>,
    ) -> Duration {
        let seconds = match (self.runs.get(&key(digest, range)), fuel) {
            (Some(cost), _) => cost.expected(now),
            (None, Some(fuel)) => self.seconds_per_fuel.unwrap_or(0.0) * fuel.0 as f64,
            (None, None) => 0.0,
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const FUEL: Fuel = Fuel(1_000_000);

    #[test]
    fn a_steady_module_costs_what_it_took_and_a_changing_one_more() {
        let (digest, range, now) = (Digest::of(b"a"), 0..=0, Instant::now());
        let mut costs = Costs::default();
        assert_eq!(costs.expect(now, digest, &range, Some(Fuel(10))), Duration::ZERO);
        for _ in 0..100 {
            costs.observe(now, digest, &range, FUEL, MS * 10);
        }
        let steady = costs.expect(now, digest, &range, Some(FUEL));
        assert!(steady.abs_diff(MS * 10) < MS / 100, "{steady:?}");
        for _ in 0..100 {
            costs.observe(now, digest, &range, FUEL, MS * 10);
            costs.observe(now, digest, &range, FUEL, MS * 20);
        }
        assert!(costs.expect(now, digest, &range, Some(FUEL)) > MS * 25);
    }

    #[test]
    fn another_module_costs_by_its_fuel_where_it_burns_what_is_certified() {
        let (mut costs, now) = (Costs::default(), Instant::now());
        costs.observe(now, Digest::of(b"a"), &(0..=3), Fuel(1000), MS);
        let expect = |fuel| costs.expect(now, Digest::of(b"b"), &(0..=0), fuel);
        let other = expect(Some(Fuel(5000)));
        assert!(other.abs_diff(MS * 5) < MS / 100, "{other:?}");
        let huge = expect(Some(Fuel(u64::MAX)));
        assert!(huge > Duration::from_secs(1 << 30), "{huge:?}");
        assert_eq!(expect(None), Duration::ZERO);
    }

    #[test]
    fn an_interrupted_run_raises_the_cost_and_never_lowers_it() {
        let (digest, range, now) = (Digest::of(b"a"), 0..=0, Instant::now());
        let mut costs = Costs::default();
        costs.observe_longer(now, digest, &range, MS * 10);
        costs.observe_longer(now, digest, &range, MS);
        assert_eq!(costs.expect(now, digest, &range, None), MS * 10);
    }

    #[test]
    fn a_module_that_was_slow_once_is_tried_again() {
        let (digest, range, now) = (Digest::of(b"a"), 0..=0, Instant::now());
        let mut costs = Costs::default();
        costs.observe(now, digest, &range, FUEL, MS * 800);
        assert_eq!(costs.expect(now, digest, &range, None), MS * 800);
        assert_eq!(costs.expect(now + HALF_LIFE * 3, digest, &range, None), MS * 100);
    }
}
