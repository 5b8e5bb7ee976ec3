//! The generalised extreme value distribution of block maxima, by maximum
//! likelihood that starts from the L-moments. Shapes below -0.5 are fitted with
//! the shape -0.5, as for [`super::gpd`].

use super::search::{DROP_95, climb, end_of_interval, maximise};
use super::{HIGHEST_SHAPE, LOWEST_SHAPE, Span, gpd::box_cox, lmoments};

/// `P(X <= x) = exp(-(1 + shape (x - location) / scale)^(-1 / shape))`; Gumbel
/// for shape 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gev {
    /// In the unit of the maxima.
    pub location: f64,
    /// In the unit of the maxima.
    pub scale: f64,
    /// Negative: a tail that ends; positive: a heavy one.
    pub shape: f64,
}

impl Gev {
    /// `-ln P(X <= x)`: for small values, the part of the maxima above `x`.
    /// Infinite below the distribution, 0 above it.
    pub fn intensity(&self, x: f64) -> f64 {
        let z = (x - self.location) / self.scale;
        if self.shape.abs() < 1e-8 {
            return (-z).exp();
        }
        let base = 1.0 + self.shape * z;
        match base > 0.0 {
            true => base.powf(-1.0 / self.shape),
            false if self.shape > 0.0 => f64::INFINITY,
            false => 0.0,
        }
    }

    /// The maximum whose [`Gev::intensity`] is the given one.
    pub fn quantile_of(&self, intensity: f64) -> f64 {
        self.location + self.scale * box_cox(-intensity.ln(), self.shape)
    }

    /// Minus infinity for maxima that cannot be.
    pub fn log_likelihood(&self, maxima: &[f64]) -> f64 {
        if self.scale <= 0.0 || !(LOWEST_SHAPE..=HIGHEST_SHAPE).contains(&self.shape) {
            return f64::NEG_INFINITY;
        }
        let n = maxima.len() as f64;
        let (mut logs, mut sum) = (0.0, 0.0);
        for &x in maxima {
            let z = (x - self.location) / self.scale;
            let log = match self.shape.abs() < 1e-8 {
                true => z,
                false => {
                    let base = 1.0 + self.shape * z;
                    if base <= 0.0 {
                        return f64::NEG_INFINITY;
                    }
                    base.ln() / self.shape
                }
            };
            logs += log;
            sum += (-log).exp();
        }
        -n * self.scale.ln() - (1.0 + self.shape) * logs - sum
    }

    /// The best fit. The maxima must not be all the same.
    pub fn fit(maxima: &[f64]) -> Self {
        let start = Self::start(maxima);
        let objective = |[location, log_scale, shape]: &[f64; 3]| {
            start.changed(*location, *log_scale, *shape).log_likelihood(maxima)
        };
        let shape = start.shape.clamp(-0.3, 0.8);
        let ([location, log_scale, shape], best) = climb(objective, [0.0, 0.0, shape], 0.1);
        // A start outside of the support is climbed from nowhere.
        let gumbel = Self::fit_gumbel(maxima);
        match best >= gumbel.log_likelihood(maxima) {
            true => start.changed(location, log_scale, shape),
            false => {
                let objective = |[location, log_scale, shape]: &[f64; 3]| {
                    gumbel.changed(*location, *log_scale, *shape).log_likelihood(maxima)
                };
                let ([location, log_scale, shape], _) = climb(objective, [0.0; 3], 0.05);
                gumbel.changed(location, log_scale, shape)
            }
        }
    }

    /// The Gumbel distribution that fits best: a search for the scale, as the
    /// location follows from it.
    pub fn fit_gumbel(maxima: &[f64]) -> Self {
        let start = Self::start(maxima);
        let of_scale = |log: f64| {
            let scale = start.scale * log.exp();
            Self { location: gumbel_location(maxima, scale), scale, shape: 0.0 }
        };
        let (log, _) = maximise(|log| of_scale(log).log_likelihood(maxima), -3.0, 3.0, 24);
        of_scale(log)
    }

    fn start(maxima: &[f64]) -> Self {
        let mut sorted = maxima.to_vec();
        sorted.sort_by(f64::total_cmp);
        lmoments::gev(lmoments::of_sorted(&sorted))
    }

    /// Parameters relative to these: locations in scales, scales as logarithms of
    /// a factor.
    fn changed(&self, location: f64, log_scale: f64, shape: f64) -> Self {
        Self {
            location: self.location + self.scale * location,
            scale: self.scale * log_scale.exp(),
            shape,
        }
    }

    /// The 95 % interval of the shape by its profile likelihood.
    pub fn shape_span(&self, maxima: &[f64]) -> Span {
        let best = self.log_likelihood(maxima);
        let excess = |shape: f64| {
            let of_rest = |x: &[f64; 2]| self.changed(x[0], x[1], shape).log_likelihood(maxima);
            best - climb(of_rest, [0.0, 0.0], 0.1).1 - DROP_95
        };
        let end = |step| end_of_interval(self.shape, step, excess).unwrap_or(self.shape);
        Span { estimate: self.shape, lower: end(-0.02), upper: end(0.02) }
    }

    /// The maximum with this intensity, with its 95 % interval by the profile
    /// likelihood; `None` where that has no end.
    pub fn quantile_span(&self, maxima: &[f64], intensity: f64) -> Option<Span> {
        let log_a = -intensity.ln();
        self.span(maxima, intensity, |level| {
            let of_rest = |x: &[f64; 2]| {
                let (scale, shape) = (self.scale * x[0].exp(), x[1]);
                let location = level - scale * box_cox(log_a, shape);
                Self { location, scale, shape }.log_likelihood(maxima)
            };
            // From where the location is kept and the scale gives the level.
            let shape = self.shape;
            let scale = (level - self.location) / box_cox(log_a, shape) / self.scale;
            let start = [scale.max(1e-3).ln(), shape];
            let other = [0.0, shape];
            climb(of_rest, start, 0.05).1.max(climb(of_rest, other, 0.05).1)
        })
    }

    /// The same for a Gumbel distribution.
    pub fn gumbel_quantile_span(&self, maxima: &[f64], intensity: f64) -> Option<Span> {
        let log_a = -intensity.ln();
        self.span(maxima, intensity, |level| {
            let of_scale = |log: f64| {
                let scale = self.scale * log.exp();
                Self { location: level - scale * log_a, scale, shape: 0.0 }.log_likelihood(maxima)
            };
            maximise(of_scale, -3.0, 3.0, 40).1
        })
    }

    fn span(&self, maxima: &[f64], intensity: f64, profile: impl Fn(f64) -> f64) -> Option<Span> {
        let best = self.log_likelihood(maxima);
        let estimate = self.quantile_of(intensity);
        let step = (estimate - self.location).abs().max(self.scale) / 64.0;
        let excess = |level: f64| best - profile(level) - DROP_95;
        let lower = end_of_interval(estimate, -step, excess)?;
        let upper = end_of_interval(estimate, step, excess)?;
        Some(Span { estimate, lower, upper })
    }
}

/// The location that fits best for a scale.
fn gumbel_location(maxima: &[f64], scale: f64) -> f64 {
    // Relative to the smallest, so that nothing underflows.
    let smallest = maxima.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = maxima.iter().map(|x| ((smallest - x) / scale).exp()).sum();
    smallest - scale * (sum / maxima.len() as f64).ln()
}

#[cfg(test)]
#[path = "gev_tests.rs"]
mod tests;
