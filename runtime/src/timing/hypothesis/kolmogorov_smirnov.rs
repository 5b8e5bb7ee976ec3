//! The two-sample test of Kolmogorov and Smirnov, with Stephens' correction for
//! small samples (M. A. Stephens, "Use of the Kolmogorov-Smirnov,
//! Cramer-Von Mises and related statistics without extensive tables", JRSS B 32,
//! 1970). With ties it refuses less often than it says.

use super::{Test, TestResult};

/// The first half of the series against the second.
pub fn test_halves(series: &[f64]) -> TestResult {
    let (first, second) = series.split_at(series.len() / 2);
    let [first, second] = [first, second].map(|half| {
        let mut half = half.to_vec();
        half.sort_by(f64::total_cmp);
        half
    });
    let statistic = distance(&first, &second);
    let [n, m] = [first.len() as f64, second.len() as f64];
    let root = (n * m / (n + m)).sqrt();
    let p_value = kolmogorov((root + 0.12 + 0.11 / root) * statistic);
    TestResult { test: Test::KolmogorovSmirnov, statistic, p_value }
}

/// The largest difference of the empirical distributions of two sorted samples.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let (mut i, mut j, mut largest) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        while i < a.len() && a[i] == at {
            i += 1;
        }
        while j < b.len() && b[j] == at {
            j += 1;
        }
        largest = largest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    largest
}

/// The part of Kolmogorov's distribution above `x`.
fn kolmogorov(x: f64) -> f64 {
    // Below this the series converges slowly, and the value is 1 to 9 digits.
    if x < 0.27 {
        return 1.0;
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * x * x).exp()
    };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kolmogorovs_distribution_has_its_known_quantiles() {
        for (x, p) in [(1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01), (0.2, 1.0)] {
            assert!((kolmogorov(x) - p).abs() < 1e-4, "{x}: {}", kolmogorov(x));
        }
    }

    #[test]
    fn the_distance_of_samples_with_ties_is_the_largest_step() {
        assert_eq!(distance(&[1.0, 2.0, 2.0, 3.0], &[2.0, 2.0, 4.0, 5.0]), 0.5);
        assert_eq!(distance(&[1.0, 1.0], &[1.0]), 0.0);
        assert_eq!(distance(&[1.0, 2.0], &[3.0]), 1.0);
    }
}
