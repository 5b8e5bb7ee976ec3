//! The analysis as a whole on simulated execution times whose true bounds are
//! known, and on times that must be refused.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const OPTIONS: TailOptions = TailOptions { replicas: 200, seed: 7 };

fn series(n: usize, seed: u64, mut draw: impl FnMut(&mut ChaCha8Rng) -> f64) -> Vec<u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| draw(&mut rng) as u64).collect()
}

fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

fn at(analysis: &TailAnalysis, exceedance: f64) -> Pwcet {
    *analysis.pwcet.iter().find(|p| p.exceedance == exceedance).expect("it was extrapolated")
}

#[test]
fn an_exponential_tail_is_bounded_near_its_true_quantiles() {
    for seed in 0..4 {
        let times = series(4000, seed, |rng| 1e6 + 2e4 * exponential(rng));
        let analysis = analyse(&times, &OPTIONS);
        assert!(analysis.refusals.is_empty(), "{:?}", analysis.refusals);
        for p in [1e-6, 1e-9] {
            let truth = 1e6 - 2e4 * f64::ln(p);
            let bound = at(&analysis, p);
            assert!(bound.lower <= bound.estimate && bound.estimate <= bound.upper);
            let upper = bound.upper.as_nanos() as f64;
            let fits = [&analysis.peaks, &analysis.maxima].into_iter().flatten();
            // One set in a hundred looks heavy by chance.
            let light = fits.clone().all(|fit| fit.tail == Tail::Light);
            assert!(upper > truth * 0.97, "{p}: {truth} and {bound:?}");
            assert!(!light || upper < truth * 1.25, "{p}: {truth} and {bound:?}");
        }
    }
}

#[test]
fn bounds_grow_as_their_exceedance_shrinks() {
    let times = series(3000, 1, |rng| 1e6 + 2e4 * exponential(rng));
    let analysis = analyse(&times, &OPTIONS);
    assert_eq!(analysis.pwcet.len(), EXCEEDANCES.len());
    assert!(analysis.pwcet.is_sorted_by(|a, b| a.exceedance > b.exceedance && a.upper < b.upper));
    assert_eq!(analysis, analyse(&times, &OPTIONS), "the seed is the order");
}

#[test]
fn a_tail_that_ends_is_bounded_beyond_its_end_by_a_light_one() {
    let times = series(4000, 3, |rng| 1e6 + 1e5 * (1.0 - rng.random::<f64>().powf(0.3)));
    let analysis = analyse(&times, &OPTIONS);
    let fit = analysis.peaks.as_ref().unwrap();
    assert!(fit.shape.upper < 0.0 && fit.tail == Tail::Light, "{fit:?}");
    assert!(at(&analysis, 1e-6).upper.as_nanos() > 1_100_000);
}

#[test]
fn a_heavy_tail_is_not_bounded_by_a_light_one() {
    let heavy = |rng: &mut ChaCha8Rng| {
        let u: f64 = 1.0 - rng.random::<f64>();
        1e6 + 1e4 * (u.powf(-0.5) - 1.0) / 0.5
    };
    let analysis = analyse(&series(5000, 2, heavy), &OPTIONS);
    let fit = analysis.peaks.as_ref().unwrap();
    assert_eq!(fit.tail, Tail::Heavy);
    let truth = 1e6 + 1e4 * (1e6_f64.powf(0.5) - 1.0) / 0.5;
    assert!(at(&analysis, 1e-6).upper.as_nanos() as f64 > truth, "{:?}", at(&analysis, 1e-6));
}

#[test]
fn too_few_runs_are_refused_whatever_they_look_like() {
    let analysis = analyse(&series(FEWEST_RUNS - 1, 1, |rng| 1e6 * exponential(rng)), &OPTIONS);
    assert!(analysis.pwcet.is_empty() && analysis.peaks.is_none());
    assert!(matches!(analysis.refusals[..], [Refusal::TooFewRuns { runs: 999, wanted: 1000 }]));
    for few in [0, 1, 5] {
        assert_eq!(analyse(&vec![5; few], &OPTIONS).refusals.len(), 1);
    }
}

#[test]
fn a_trend_is_refused_by_name_with_statistic_and_p_value() {
    let mut i = 0.0;
    let drifting = |rng: &mut ChaCha8Rng| {
        i += 10.0;
        1e6 + i + 1e4 * exponential(rng)
    };
    let analysis = analyse(&series(2000, 1, drifting), &OPTIONS);
    assert!(analysis.pwcet.is_empty());
    let text: Vec<String> = analysis.refusals.iter().map(ToString::to_string).collect();
    let told =
        |t: &String| t.contains("Mann-Kendall") && t.contains("statistic") && t.contains(", p ");
    assert!(text.iter().any(told), "{text:?}");
}

#[test]
fn a_tail_of_two_populations_is_refused() {
    // One run in 40 is hit by something that takes exactly as long each time.
    let mixed = |rng: &mut ChaCha8Rng| {
        let hit = if rng.random::<f64>() < 0.025 { 5e5 } else { 0.0 };
        1e6 + hit + 1e3 * exponential(rng)
    };
    let analysis = analyse(&series(2000, 5, mixed), &OPTIONS);
    assert!(analysis.pwcet.is_empty(), "{:?}", analysis.pwcet);
    assert!(!analysis.refusals.is_empty());
}

#[test]
fn times_of_a_coarse_clock_are_refused_and_not_fitted() {
    let coarse = |rng: &mut ChaCha8Rng| (exponential(rng) * 2.0).floor() * 1e3;
    let analysis = analyse(&series(2000, 5, coarse), &OPTIONS);
    assert!(analysis.pwcet.is_empty());
    assert!(analysis.refusals.contains(&Refusal::TooFewValues { block_maxima: false }));
    assert!(analyse(&[1_000; 2000], &OPTIONS).pwcet.is_empty());
}

#[test]
fn good_data_are_rarely_refused_and_their_bounds_rarely_too_low() {
    let sets = 40;
    let options = TailOptions { replicas: 100, ..OPTIONS };
    let (mut refused, mut low) = (0, 0);
    for seed in 0..sets {
        let analysis =
            analyse(&series(1500, 100 + seed, |rng| 1e6 + 2e4 * exponential(rng)), &options);
        match analysis.pwcet.iter().find(|p| p.exceedance == 1e-9) {
            None => refused += 1,
            Some(p) => low += u32::from((p.upper.as_nanos() as f64) < 1e6 - 2e4 * f64::ln(1e-9)),
        }
    }
    // Four tests at 1 %, and the intervals' 2.5 %, with 4 standard deviations.
    assert!(refused <= 7, "{refused} of {sets} refused");
    assert!(low <= 5, "{low} of {sets} too low");
}

#[test]
fn an_analysis_survives_json_and_holds_no_nan() {
    let analysis = analyse(&series(1500, 1, |rng| 1e6 + 2e4 * exponential(rng)), &OPTIONS);
    let json = serde_json::to_string(&analysis).unwrap();
    // JSON has no number for it: it would be null.
    assert!(!json.contains("null"), "{json}");
    let read: TailAnalysis = serde_json::from_str(&json).unwrap();
    assert_eq!((&read.pwcet, read.runs), (&analysis.pwcet, 1500));
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
    for (a, b) in read.tests.iter().zip(&analysis.tests) {
        assert!(a.test == b.test && close(a.p_value, b.p_value), "{a:?} {b:?}");
    }
}
