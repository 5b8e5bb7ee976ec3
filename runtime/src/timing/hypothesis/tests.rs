//! The tests on data whose answer is known: how often they refuse good data, and
//! how often they see through bad data.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const SETS: u64 = 2000;

fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// Of `SETS` series made by `make`, the part that each test refuses at `level`.
fn refused(level: f64, make: impl Fn(&mut ChaCha8Rng) -> Vec<f64>) -> [f64; 4] {
    let mut counts = [0.0; 4];
    for seed in 0..SETS {
        let series = make(&mut ChaCha8Rng::seed_from_u64(seed));
        for (count, result) in counts.iter_mut().zip(independent_and_identical(&series)) {
            assert!((0.0..=1.0).contains(&result.p_value), "{result:?}");
            *count += f64::from(u8::from(result.p_value < level));
        }
    }
    counts.map(|count| count / SETS as f64)
}

#[test]
fn independent_data_are_refused_as_rarely_as_promised() {
    for level in [0.05, SIGNIFICANCE] {
        let refused = refused(level, |rng| (0..400).map(|_| exponential(rng)).collect());
        // 4 standard deviations of a binomial count.
        let margin = 4.0 * (level * (1.0 - level) / SETS as f64).sqrt();
        for (test, part) in ["Ljung-Box", "runs", "KS", "Mann-Kendall"].iter().zip(refused) {
            assert!((part - level).abs() < margin, "{test}: {part}, wanted {level} +- {margin}");
        }
    }
}

#[test]
fn ties_make_no_test_refuse_more() {
    // Times of a clock that ticks coarsely.
    let refused =
        refused(0.05, |rng| (0..400).map(|_| exponential(rng).mul_add(4.0, 0.0).floor()).collect());
    assert!(refused.iter().all(|&part| part < 0.07), "{refused:?}");
}

#[test]
fn autocorrelated_data_are_seen_through() {
    let [ljung_box, runs, ..] = refused(SIGNIFICANCE, |rng| {
        let mut state = 0.0;
        let step = |_| {
            state = 0.4 * state + exponential(rng);
            state
        };
        (0..400).map(step).collect()
    });
    assert!(ljung_box > 0.95 && runs > 0.8, "{ljung_box} {runs}");
}

#[test]
fn a_trend_is_seen_through() {
    let [.., halves, trend] = refused(SIGNIFICANCE, |rng| {
        (0..400).map(|i| exponential(rng) + f64::from(i) / 400.0).collect()
    });
    assert!(trend > 0.95 && halves > 0.9, "{halves} {trend}");
}

#[test]
fn a_change_half_way_is_seen_through() {
    let [.., halves, _] = refused(SIGNIFICANCE, |rng| {
        (0..400).map(|i| exponential(rng) * if i < 200 { 1.0 } else { 1.8 }).collect()
    });
    assert!(halves > 0.9, "{halves}");
}

#[test]
fn a_mixture_that_comes_in_bursts_is_seen_through() {
    let [ljung_box, runs, ..] = refused(SIGNIFICANCE, |rng| {
        let mut slow = false;
        let step = |_| {
            if rng.random::<f64>() < 0.1 {
                slow = !slow;
            }
            exponential(rng) + if slow { 1.5 } else { 0.0 }
        };
        (0..400).map(step).collect()
    });
    assert!(ljung_box > 0.95 && runs > 0.95, "{ljung_box} {runs}");
}

#[test]
fn degenerate_data_give_no_nonsense() {
    assert!(independent_and_identical(&[1.0; 19]).is_empty());
    for series in [vec![5.0; 50], (0..50).map(f64::from).collect(), vec![0.0; 1000]] {
        for result in independent_and_identical(&series) {
            assert!(result.statistic.is_finite() && result.p_value.is_finite(), "{result:?}");
        }
    }
}
