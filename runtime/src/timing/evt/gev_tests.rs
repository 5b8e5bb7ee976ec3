//! The generalised extreme value distribution on published data and on draws.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Annual maximum sea levels at Port Pirie, in metres, 1923 to 1987: the data of
/// Coles (2001), section 3.4.1.
#[rustfmt::skip]
const PORT_PIRIE: [f64; 65] = [
    4.03, 3.83, 3.65, 3.88, 4.01, 4.08, 4.18, 3.80, 4.36, 3.96, 3.98, 4.69, 3.85, 3.96, 3.85, 3.93,
    3.75, 3.63, 3.57, 4.25, 3.97, 4.05, 4.24, 4.22, 3.73, 4.37, 4.06, 3.71, 3.96, 4.06, 4.55, 3.79,
    3.89, 4.11, 3.85, 3.86, 3.86, 4.21, 4.01, 4.11, 4.24, 3.96, 4.21, 3.74, 3.85, 3.88, 3.66, 4.11,
    3.71, 4.18, 3.90, 3.78, 3.91, 3.72, 4.00, 3.66, 3.62, 4.33, 4.55, 3.75, 4.08, 3.90, 3.88, 3.94,
    4.33,
];

#[test]
fn the_sea_levels_of_coles_are_fitted_as_he_did() {
    let fit = Gev::fit(&PORT_PIRIE);
    assert!((fit.location - 3.87475).abs() < 1e-4, "{fit:?}");
    assert!((fit.scale - 0.19804).abs() < 1e-4, "{fit:?}");
    assert!((fit.shape + 0.05009).abs() < 2e-4, "{fit:?}");
    let likelihood = fit.log_likelihood(&PORT_PIRIE);
    assert!((likelihood - 4.339058).abs() < 1e-5, "{likelihood}");
    // The levels of 10 and 100 years and their profile intervals (pages 60 to 62).
    for (years, estimate, lower, upper) in [(10.0, 4.30, 4.21, 4.45), (100.0, 4.69, 4.50, 5.27)] {
        let intensity = -(-1.0_f64 / years).ln_1p();
        let level = fit.quantile_span(&PORT_PIRIE, intensity).unwrap();
        assert!((level.estimate - estimate).abs() < 0.01, "{level:?}");
        assert!((level.lower - lower).abs() < 0.015, "{level:?}");
        assert!((level.upper - upper).abs() < 0.015, "{level:?}");
    }
}

fn draws(gev: Gev, n: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| gev.quantile_of(-(1.0 - rng.random::<f64>()).ln())).collect()
}

#[test]
fn the_parameters_of_draws_are_found_again() {
    for (seed, shape) in [-0.4, -0.2, 0.0, 0.2, 0.6].into_iter().enumerate() {
        let truth = Gev { location: 1e6, scale: 2e4, shape };
        let fit = Gev::fit(&draws(truth, 20_000, seed as u64));
        assert!((fit.shape - shape).abs() < 0.03, "{truth:?} {fit:?}");
        assert!((fit.scale / truth.scale - 1.0).abs() < 0.03, "{truth:?} {fit:?}");
        assert!((fit.location - truth.location).abs() < 0.05 * truth.scale, "{truth:?} {fit:?}");
    }
}

#[test]
fn no_neighbour_of_the_fit_is_likelier() {
    for seed in 0..20 {
        let maxima = draws(Gev { location: 5.0, scale: 1.0, shape: -0.1 }, 50, seed);
        let fit = Gev::fit(&maxima);
        let best = fit.log_likelihood(&maxima) + 1e-9;
        for [location, scale, shape] in [[0.01, 0.0, 0.0], [0.0, 0.01, 0.0], [0.0, 0.0, 0.01]] {
            for sign in [1.0, -1.0] {
                let other = fit.changed(sign * location, sign * scale, fit.shape + sign * shape);
                assert!(other.log_likelihood(&maxima) <= best, "{seed} {fit:?} {other:?}");
            }
        }
    }
}

#[test]
fn a_gumbel_fit_is_the_best_of_its_shape() {
    let maxima = draws(Gev { location: 100.0, scale: 7.0, shape: 0.0 }, 5000, 3);
    let gumbel = Gev::fit_gumbel(&maxima);
    assert!((gumbel.location - 100.0).abs() < 0.5 && (gumbel.scale - 7.0).abs() < 0.3);
    let best = gumbel.log_likelihood(&maxima);
    for [location, scale] in [[0.01, 0.0], [-0.01, 0.0], [0.0, 0.01], [0.0, -0.01]] {
        assert!(gumbel.changed(location, scale, 0.0).log_likelihood(&maxima) < best);
    }
}

/// As for the generalised Pareto distribution: 4 standard deviations.
#[test]
fn the_profile_intervals_hold_the_truth_as_often_as_they_say() {
    let sets = 300;
    let covered = |truth: Gev, span: fn(&[f64]) -> Span| {
        let level = truth.quantile_of(1e-4);
        let holds = |&seed: &u64| {
            let span = span(&draws(truth, 100, seed));
            (span.lower..=span.upper).contains(&level)
        };
        (0..sets).filter(holds).count() as f64 / sets as f64
    };
    let margin = 4.0 * (0.95 * 0.05 / sets as f64).sqrt();
    let gumbel = covered(Gev { location: 50.0, scale: 2.0, shape: 0.0 }, |maxima| {
        Gev::fit_gumbel(maxima).gumbel_quantile_span(maxima, 1e-4).unwrap()
    });
    assert!((gumbel - 0.95).abs() < margin, "Gumbel {gumbel}");
    let free = covered(Gev { location: 50.0, scale: 2.0, shape: 0.1 }, |maxima| {
        Gev::fit(maxima).quantile_span(maxima, 1e-4).unwrap()
    });
    assert!((free - 0.95).abs() < margin, "GEV {free}");
}
