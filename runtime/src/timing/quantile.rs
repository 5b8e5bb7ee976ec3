//! Quantiles with intervals that assume no distribution: the interval's ends are
//! order statistics, whose ranks are binomial (H. A. David, H. N. Nagaraja,
//! "Order Statistics", 2003, section 7.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

/// The quantiles that are told.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Of the interval, what may lie to either side.
const SIDE: f64 = 0.025;

/// A quantile, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// From 0 to 1.
    pub quantile: f64,
    /// The shortest time that this part of the runs did not exceed.
    #[serde(rename = "time_ns", with = "crate::nanos")]
    pub time: Duration,
    /// The lower end; `None` where the runs are too few to tell.
    #[serde(rename = "lower_ns", with = "crate::nanos::option")]
    pub lower: Option<Duration>,
    /// The upper end; `None` where the runs are too few to tell.
    #[serde(rename = "upper_ns", with = "crate::nanos::option")]
    pub upper: Option<Duration>,
}

/// The quantiles of sorted times; none of no times.
pub fn quantiles(sorted: &[u64]) -> Vec<Quantile> {
    let n = sorted.len();
    if n == 0 {
        return Vec::new();
    }
    let at = |rank: usize| Duration::from_nanos(sorted[rank - 1]);
    QUANTILES
        .into_iter()
        .map(|quantile| {
            let rank = ((quantile * n as f64).ceil() as usize).clamp(1, n);
            let (lower, upper) = ranks(n, quantile);
            let [lower, upper] = [lower, upper].map(|rank| rank.map(at));
            Quantile { quantile, time: at(rank), lower, upper }
        })
        .collect()
}

/// The ranks, from 1, of the ends of the interval.
fn ranks(n: usize, quantile: f64) -> (Option<usize>, Option<usize>) {
    // The quantile lies below the value of rank r where fewer than r values lie
    // below the quantile.
    let below = |rank: usize| at_most(n, quantile, rank - 1);
    let first = |wanted: &dyn Fn(usize) -> bool| {
        let (mut low, mut high) = (1, n + 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if wanted(middle) { high = middle } else { low = middle + 1 }
        }
        low
    };
    let upper = first(&|rank| below(rank) >= 1.0 - SIDE);
    let lower = first(&|rank| below(rank) > SIDE) - 1;
    ((lower >= 1).then_some(lower), (upper <= n).then_some(upper))
}

/// The probability that at most `k` of `n` values lie below the quantile.
fn at_most(n: usize, quantile: f64, k: usize) -> f64 {
    if k >= n { 1.0 } else { beta_reg((n - k) as f64, k as f64 + 1.0, 1.0 - quantile) }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_ranks_are_those_of_the_tables() {
        // David and Nagaraja's example, the median of few: 95 % need 6 values.
        assert_eq!(ranks(5, 0.5), (None, None));
        assert_eq!(ranks(6, 0.5), (Some(1), Some(6)));
        assert_eq!(ranks(100, 0.5), (Some(40), Some(61)));
        // An upper end for 99.9 % needs ln 0.025 / ln 0.999 values.
        assert_eq!(ranks(3_687, 0.999).1, None);
        assert_eq!(ranks(3_688, 0.999).1, Some(3_688));
    }

    #[test]
    fn binomial_probabilities_are_exact() {
        assert!((at_most(4, 0.5, 1) - 5.0 / 16.0).abs() < 1e-12);
        assert!((at_most(3, 0.9, 2) - (1.0 - 0.729)).abs() < 1e-12);
        assert_eq!(at_most(3, 0.9, 3), 1.0);
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let sets = 1000;
        for (n, quantile) in [(200, 0.5), (200, 0.9), (1000, 0.99)] {
            let index = QUANTILES.iter().position(|&q| q == quantile).unwrap();
            let holds = |&seed: &u64| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut times: Vec<u64> = (0..n).map(|_| rng.random_range(0..1_000_000)).collect();
                times.sort_unstable();
                let q = quantiles(&times)[index];
                let truth = Duration::from_nanos((quantile * 1e6) as u64);
                q.lower.unwrap() <= truth && truth <= q.upper.unwrap()
            };
            let part = (0..sets).filter(holds).count() as f64 / sets as f64;
            // At least 95 %, as ranks are whole; 4 standard deviations.
            let margin = 4.0 * (0.95 * 0.05 / sets as f64).sqrt();
            assert!((0.95 - margin..0.99).contains(&part), "{n} {quantile}: {part}");
        }
    }

    #[test]
    fn one_time_is_all_quantiles_and_none_has_none() {
        assert!(quantiles(&[]).is_empty());
        let all = quantiles(&[7]);
        assert!(all.iter().all(|q| q.time == Duration::from_nanos(7) && q.upper.is_none()));
    }
}
