//! Goodness of fit of a distribution whose parameters come from the same data:
//! the statistics of Anderson and Darling and of Cramer and von Mises (M. A.
//! Stephens, "EDF statistics for goodness of fit and some comparisons", JASA 69,
//! 1974), with p-values by parametric bootstrap.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::timing::hypothesis::{Test, TestResult};

/// The two statistics of values that were put through their distribution
/// function, in ascending order: `[Anderson-Darling, Cramer-von Mises]`.
fn statistics(uniforms: &[f64]) -> [f64; 2] {
    let n = uniforms.len() as f64;
    // A value at the end of the support is as far out as numbers go.
    let inside = |u: f64| u.clamp(1e-300, 1.0 - f64::EPSILON / 2.0);
    let mut tails = 0.0;
    let mut squares = 1.0 / (12.0 * n);
    for (i, (&u, &v)) in uniforms.iter().zip(uniforms.iter().rev()).enumerate() {
        let odd = 2.0 * i as f64 + 1.0;
        tails += odd * (inside(u).ln() + (-inside(v)).ln_1p());
        squares += (odd / (2.0 * n) - u).powi(2);
    }
    [-n - tails / n, squares]
}

/// A family of distributions, as the bootstrap needs it.
pub trait Family: Copy {
    /// The member that fits best.
    fn fit(data: &[f64]) -> Self;
    /// The part of the distribution up to `x`.
    fn cumulative(&self, x: f64) -> f64;
    /// A draw.
    fn draw(&self, rng: &mut ChaCha8Rng) -> f64;
}

/// Tests whether `data` are draws from `fitted`, which was fitted to them.
pub fn test<F: Family>(data: &[f64], fitted: &F, replicas: usize, seed: u64) -> [TestResult; 2] {
    let measured = of(data, fitted);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut above = [0.5; 2];
    let mut replica = vec![0.0; data.len()];
    for _ in 0..replicas {
        replica.iter_mut().for_each(|x| *x = fitted.draw(&mut rng));
        let drawn = of(&replica, &F::fit(&replica));
        for k in 0..2 {
            above[k] += f64::from(u8::from(drawn[k] >= measured[k]));
        }
    }
    let result = |k: usize, test| TestResult {
        test,
        statistic: measured[k],
        p_value: above[k] / (replicas as f64 + 1.0),
    };
    [result(0, Test::AndersonDarling), result(1, Test::CramerVonMises)]
}

fn of<F: Family>(data: &[f64], fitted: &F) -> [f64; 2] {
    let mut uniforms: Vec<f64> = data.iter().map(|&x| fitted.cumulative(x)).collect();
    uniforms.sort_by(f64::total_cmp);
    statistics(&uniforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_spread_values_fit_best() {
        // The smallest values that the statistics can have, by their formulas.
        let even: Vec<f64> = (0..100).map(|i| (f64::from(i) + 0.5) / 100.0).collect();
        let [anderson, cramer] = statistics(&even);
        assert!((cramer - 1.0 / 1200.0).abs() < 1e-12, "{cramer}");
        assert!((0.0..0.05).contains(&anderson), "{anderson}");
        let low: Vec<f64> = even.iter().map(|u| u * u).collect();
        let [worse, also] = statistics(&low);
        assert!(worse > 5.0 && also > 1.0, "{worse} {also}");
        assert!(statistics(&[0.0, 0.5, 1.0]).iter().all(|s| s.is_finite()));
    }
}
