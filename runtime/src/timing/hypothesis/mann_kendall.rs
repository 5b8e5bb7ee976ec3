//! The test of a trend: H. B. Mann, "Nonparametric tests against trend",
//! Econometrica 13, 1945; M. G. Kendall, "Rank Correlation Methods", 1948 (the
//! variance with ties). Pairs are counted by merging, as in W. R. Knight, JASA
//! 61, 1966.

use super::{Test, TestResult, two_sided};

pub fn test(series: &[f64]) -> TestResult {
    let n = series.len() as f64;
    let mut sorted = series.to_vec();
    let mut scratch = series.to_vec();
    let falling = inversions(&mut sorted, &mut scratch) as f64;
    let ties = || sorted.chunk_by(|a, b| a == b).map(|tied| tied.len() as f64);
    let equal: f64 = ties().map(|t| t * (t - 1.0) / 2.0).sum();
    let rising = n * (n - 1.0) / 2.0 - equal - falling;
    let score = rising - falling;
    let spread = |t: f64| t * (t - 1.0) * (2.0 * t + 5.0);
    let variance = (spread(n) - ties().map(spread).sum::<f64>()) / 18.0;
    // With the correction for continuity.
    let statistic = match variance > 0.0 && score != 0.0 {
        true => (score - score.signum()) / variance.sqrt(),
        false => 0.0,
    };
    TestResult { test: Test::MannKendall, statistic, p_value: two_sided(statistic) }
}

/// Sorts, and counts the pairs of which the earlier was the greater.
fn inversions(values: &mut [f64], scratch: &mut [f64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let middle = values.len() / 2;
    let (left, right) = values.split_at_mut(middle);
    let (scratch_left, scratch_right) = scratch.split_at_mut(middle);
    let mut count = inversions(left, scratch_left) + inversions(right, scratch_right);
    let (mut i, mut j) = (0, 0);
    for slot in &mut *scratch {
        let from_left = j == right.len() || (i < left.len() && left[i] <= right[j]);
        if from_left {
            *slot = left[i];
            i += 1;
        } else {
            *slot = right[j];
            j += 1;
            count += (left.len() - i) as u64;
        }
    }
    values.copy_from_slice(scratch);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_out_of_order_are_counted_with_ties_apart() {
        let mut values = [3.0, 1.0, 2.0, 2.0, 1.0];
        assert_eq!(inversions(&mut values, &mut [0.0; 5]), 6);
        assert_eq!(values, [1.0, 1.0, 2.0, 2.0, 3.0]);
    }

    #[test]
    fn a_small_series_has_the_score_that_is_counted_by_hand() {
        // S = 8 of 10 pairs, no ties: variance 5 * 4 * 15 / 18.
        let result = test(&[1.0, 2.0, 3.0, 5.0, 4.0]);
        assert!((result.statistic - 7.0 / (300.0_f64 / 18.0).sqrt()).abs() < 1e-12);
    }
}
