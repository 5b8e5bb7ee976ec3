//! The generalised Pareto distribution of excesses over a threshold, by maximum
//! likelihood.
//!
//! The likelihood depends, for a given `theta = shape / scale`, on one number
//! only, so that the fit is a search in one dimension (S. D. Grimshaw,
//! "Computing maximum likelihood estimates for the generalized Pareto
//! distribution", Technometrics 35, 1993). Shapes below -0.5, where maximum
//! likelihood is not regular (R. L. Smith, Biometrika 72, 1985), are not
//! considered: such a tail is fitted with the shape -0.5, which is longer.

use statrs::function::gamma::gamma_lr;

use super::search::{DROP_95, end_of_interval, maximise};
use super::{HIGHEST_SHAPE, LOWEST_SHAPE, Span};

/// `P(X > x) = (1 + shape x / scale)^(-1 / shape)`; exponential for shape 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpd {
    /// In the unit of the excesses.
    pub scale: f64,
    /// Negative: a tail that ends; positive: a heavy one.
    pub shape: f64,
}

/// Below this a shape is taken for zero: the formulas lose their digits.
const SMALL: f64 = 1e-8;

/// `(a^shape - 1) / shape`.
pub(super) fn box_cox(log_a: f64, shape: f64) -> f64 {
    if shape.abs() < SMALL { log_a } else { (shape * log_a).exp_m1() / shape }
}

impl Gpd {
    /// The part of the excesses above `x`.
    pub fn survival(&self, x: f64) -> f64 {
        let z = x.max(0.0) / self.scale;
        match self.shape.abs() < SMALL {
            true => (-z).exp(),
            false => {
                let base = 1.0 + self.shape * z;
                if base > 0.0 { base.powf(-1.0 / self.shape) } else { 0.0 }
            }
        }
    }

    /// The excess above which the part `survival` of them lies.
    pub fn quantile(&self, survival: f64) -> f64 {
        self.scale * box_cox(-survival.ln(), self.shape)
    }

    /// Minus infinity for excesses that cannot be.
    pub fn log_likelihood(&self, excesses: &[f64]) -> f64 {
        let n = excesses.len() as f64;
        if self.scale <= 0.0 {
            return f64::NEG_INFINITY;
        }
        if self.shape.abs() < SMALL {
            return -n * self.scale.ln() - excesses.iter().sum::<f64>() / self.scale;
        }
        let logs = sum_of_logs(excesses, self.shape / self.scale);
        if logs.is_nan() {
            return f64::NEG_INFINITY;
        }
        -n * self.scale.ln() - (1.0 + 1.0 / self.shape) * logs
    }

    /// The exponential distribution that fits best.
    pub fn fit_exponential(excesses: &[f64]) -> Self {
        Self { scale: mean(excesses), shape: 0.0 }
    }

    /// The best fit. The excesses must be positive, and not all the same.
    pub fn fit(excesses: &[f64]) -> Self {
        let (n, mean) = (excesses.len() as f64, mean(excesses));
        let largest = excesses.iter().copied().fold(0.0, f64::max);
        // In `t = ln(1 + theta * largest)` everything is smooth.
        let theta = |t: f64| t.exp_m1() / largest;
        let shape = |t: f64| sum_of_logs(excesses, theta(t)) / n;
        let profile = |t: f64| {
            if t.abs() < 1e-6 {
                return -n * (mean.ln() + 1.0);
            }
            let shape = shape(t);
            -n * ((shape / theta(t)).ln() + shape + 1.0)
        };
        let low = where_shape_is(shape, LOWEST_SHAPE);
        let high = where_shape_is(shape, HIGHEST_SHAPE);
        let (t, _) = maximise(profile, low, high, 16);
        if t.abs() < 1e-6 {
            return Self::fit_exponential(excesses);
        }
        let shape = shape(t);
        Self { scale: shape / theta(t), shape }
    }

    /// The 95 % interval of the shape by its profile likelihood.
    pub fn shape_span(&self, excesses: &[f64]) -> Span {
        let best = self.log_likelihood(excesses);
        let profile = |shape: f64| {
            let of_scale = |log: f64| Gpd { scale: log.exp(), shape }.log_likelihood(excesses);
            let centre = self.scale.ln();
            maximise(of_scale, centre - 2.0, centre + 2.0, 16).1
        };
        let excess = |shape: f64| best - profile(shape) - DROP_95;
        let end = |step| end_of_interval(self.shape, step, excess).unwrap_or(self.shape);
        Span { estimate: self.shape, lower: end(-0.02), upper: end(0.02) }
    }

    /// The excess above which the part `survival` of them lies, with its 95 %
    /// interval by the profile likelihood; `None` where that has no end.
    pub fn quantile_span(&self, excesses: &[f64], survival: f64) -> Option<Span> {
        let best = self.log_likelihood(excesses);
        let estimate = self.quantile(survival);
        let log_a = -survival.ln();
        let profile = |level: f64| {
            let of_shape = |shape: f64| {
                Gpd { scale: level / box_cox(log_a, shape), shape }.log_likelihood(excesses)
            };
            maximise(of_shape, LOWEST_SHAPE, HIGHEST_SHAPE, 50).1
        };
        let excess = |level: f64| {
            if level <= 0.0 { 1.0 } else { best - profile(level) - DROP_95 }
        };
        let lower = end_of_interval(estimate, -estimate / 64.0, excess)?;
        let upper = end_of_interval(estimate, estimate / 64.0, excess)?;
        Some(Span { estimate, lower: lower.max(0.0), upper })
    }

    /// The same for the exponential distribution, whose scale has an exact
    /// interval: `2 n mean / scale` is chi-squared with `2 n` degrees of freedom.
    pub fn exponential_quantile_span(excesses: &[f64], survival: f64) -> Span {
        let (n, mean) = (excesses.len() as f64, mean(excesses));
        let level = -survival.ln();
        let at = |p: f64| mean * n / gamma_quantile(n, p) * level;
        Span { estimate: mean * level, lower: at(0.975), upper: at(0.025) }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sum of `ln(1 + theta x)`; not a number where that is not defined.
fn sum_of_logs(excesses: &[f64], theta: f64) -> f64 {
    // The product of a few factors needs one logarithm.
    excesses.chunks(4).map(|xs| xs.iter().map(|x| 1.0 + theta * x)).fold(0.0, |sum, mut factors| {
        let product = factors.try_fold(1.0, |p, f| if f > 0.0 { Some(p * f) } else { None });
        sum + product.map_or(f64::NAN, f64::ln)
    })
}

/// Where the increasing function `shape` takes the value `wanted`.
fn where_shape_is(shape: impl Fn(f64) -> f64, wanted: f64) -> f64 {
    let (mut low, mut high) = if wanted < 0.0 { (-36.0, 0.0) } else { (0.0, 200.0) };
    for _ in 0..22 {
        let middle = (low + high) / 2.0;
        // Not a number lies below everything.
        if shape(middle) > wanted { high = middle } else { low = middle }
    }
    high
}

/// The quantile of the gamma distribution with scale 1, by bisection.
fn gamma_quantile(shape: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0, shape + 12.0 * shape.sqrt() + 12.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if gamma_lr(shape, middle) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
#[path = "gpd_tests.rs"]
mod tests;
