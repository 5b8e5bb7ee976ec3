//! The generalised Pareto distribution on published data and on draws.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Daily rainfall above 30 mm, in mm, south-west England, 1914 to 1962: the data
/// of Coles (2001), section 4.4.1.
const RAIN: [f64; 152] = [
    31.8, 32.5, 31.8, 44.5, 30.5, 43.2, 35.6, 38.1, 32.0, 31.8, 33.0, 39.1, 30.5, 31.8, 32.3, 33.0,
    30.5, 32.5, 48.5, 35.3, 40.6, 30.5, 34.3, 32.8, 30.5, 45.7, 31.8, 33.5, 33.5, 31.8, 34.8, 35.3,
    37.8, 76.7, 32.3, 34.0, 33.8, 36.6, 30.5, 45.7, 86.6, 35.6, 47.8, 47.5, 34.3, 48.5, 30.7, 43.4,
    59.4, 35.1, 53.3, 33.5, 30.5, 30.2, 40.9, 42.7, 83.3, 54.9, 59.2, 31.8, 37.3, 32.5, 34.0, 67.3,
    31.2, 30.2, 36.1, 36.8, 38.4, 31.0, 33.3, 47.0, 32.0, 33.0, 38.1, 30.5, 72.4, 34.3, 37.1, 33.0,
    40.9, 39.9, 47.0, 36.3, 30.5, 30.5, 55.9, 31.8, 51.3, 85.3, 41.9, 30.5, 33.0, 35.6, 55.9, 44.2,
    38.1, 34.3, 31.8, 32.0, 31.8, 35.6, 45.2, 30.5, 39.4, 30.2, 44.5, 31.8, 33.8, 51.6, 35.3, 59.4,
    33.5, 35.3, 30.5, 36.8, 47.8, 42.9, 37.6, 55.4, 35.3, 42.4, 33.0, 33.0, 40.1, 34.8, 38.1, 39.4,
    34.0, 35.6, 34.3, 33.5, 31.0, 36.6, 36.3, 38.4, 38.1, 47.0, 31.0, 30.5, 31.2, 35.6, 48.8, 41.9,
    31.7, 31.2, 51.3, 33.5, 37.6, 39.4, 39.4, 45.7,
];

fn rain() -> Vec<f64> {
    RAIN.iter().map(|x| x - 30.0).collect()
}

#[test]
fn the_rainfall_of_coles_is_fitted_as_he_did() {
    let excesses = rain();
    let fit = Gpd::fit(&excesses);
    assert!((fit.scale - 7.44).abs() < 0.005, "{fit:?}");
    assert!((fit.shape - 0.184).abs() < 0.0005, "{fit:?}");
    let likelihood = fit.log_likelihood(&excesses);
    assert!((likelihood + 485.1).abs() < 0.05, "{likelihood}");
    // The 100-year level: 106.3 mm, profile interval [81.6, 185.7], read off a
    // figure (page 86).
    let survival = 1.0 / (36_525.0 * 152.0 / 17_531.0);
    let level = fit.quantile_span(&excesses, survival).unwrap();
    assert!((level.estimate + 30.0 - 106.3).abs() < 0.1, "{level:?}");
    assert!((level.lower + 30.0 - 81.6).abs() < 1.0, "{level:?}");
    assert!((level.upper + 30.0 - 185.7).abs() < 1.0, "{level:?}");
}

fn draws(gpd: Gpd, n: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| gpd.quantile(1.0 - rng.random::<f64>())).collect()
}

#[test]
fn the_parameters_of_draws_are_found_again() {
    for (seed, shape) in [-0.4, -0.2, 0.0, 0.2, 0.5, 1.0].into_iter().enumerate() {
        let truth = Gpd { scale: 250.0, shape };
        let fit = Gpd::fit(&draws(truth, 20_000, seed as u64));
        assert!((fit.shape - shape).abs() < 0.03, "{truth:?} {fit:?}");
        assert!((fit.scale / truth.scale - 1.0).abs() < 0.03, "{truth:?} {fit:?}");
    }
}

#[test]
fn no_neighbour_of_the_fit_is_likelier() {
    for seed in 0..20 {
        let excesses = draws(Gpd { scale: 3.0, shape: 0.1 }, 100, seed);
        let fit = Gpd::fit(&excesses);
        let best = fit.log_likelihood(&excesses);
        for (scale, shape) in [(1.01, 0.0), (0.99, 0.0), (1.0, 0.01), (1.0, -0.01), (1.01, -0.01)] {
            let other = Gpd { scale: fit.scale * scale, shape: fit.shape + shape };
            assert!(other.log_likelihood(&excesses) < best, "{seed} {scale} {shape}");
        }
    }
}

#[test]
fn survival_and_quantile_are_inverse_and_end_where_the_tail_ends() {
    for shape in [-0.5, -1e-12, 0.0, 0.7] {
        let gpd = Gpd { scale: 2.0, shape };
        for p in [0.9, 0.1, 1e-9] {
            assert!((gpd.survival(gpd.quantile(p)) / p - 1.0).abs() < 1e-6, "{shape} {p}");
        }
    }
    let bounded = Gpd { scale: 2.0, shape: -0.5 };
    assert_eq!(bounded.survival(4.1), 0.0);
    assert_eq!(bounded.log_likelihood(&[1.0, 4.1]), f64::NEG_INFINITY);
}

/// How often the 95 % interval holds the truth, of so many data sets.
fn coverage(sets: u64, holds: impl Fn(u64) -> bool) -> u64 {
    (0..sets).filter(|&seed| holds(seed)).count() as u64
}

/// 4 standard deviations of a binomial count around 95 %: a right interval fails
/// once in 16,000.
fn assert_is_95_percent(covered: u64, sets: u64) {
    let (n, p) = (sets as f64, 0.95);
    let margin = 4.0 * (n * p * (1.0 - p)).sqrt() / n;
    let seen = covered as f64 / n;
    assert!((seen - p).abs() < margin, "{seen}, wanted {p} within {margin}");
}

#[test]
fn the_exponential_interval_holds_the_truth_as_often_as_it_says() {
    let truth = Gpd { scale: 10.0, shape: 0.0 };
    let covered = coverage(2000, |seed| {
        let span = Gpd::exponential_quantile_span(&draws(truth, 60, seed), 1e-8);
        (span.lower..=span.upper).contains(&truth.quantile(1e-8))
    });
    assert_is_95_percent(covered, 2000);
}

#[test]
fn the_profile_interval_holds_the_truth_as_often_as_it_says() {
    let truth = Gpd { scale: 10.0, shape: 0.15 };
    let covered = coverage(400, |seed| {
        let excesses = draws(truth, 300, seed);
        let span = Gpd::fit(&excesses).quantile_span(&excesses, 1e-4).unwrap();
        (span.lower..=span.upper).contains(&truth.quantile(1e-4))
    });
    assert_is_95_percent(covered, 400);
    let covered = coverage(400, |seed| {
        let excesses = draws(truth, 300, seed);
        let span = Gpd::fit(&excesses).shape_span(&excesses);
        (span.lower..=span.upper).contains(&truth.shape)
    });
    assert_is_95_percent(covered, 400);
}
