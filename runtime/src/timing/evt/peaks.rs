//! The bounds by peaks over threshold.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::fitness::Family;
use super::gpd::Gpd;
use super::threshold::{self, Peaks};
use super::{EXCEEDANCES, Method, Pwcet, Refusal, Span, Tail, TailFit, TailOptions, light_p_value};
use crate::timing::hypothesis::SIGNIFICANCE;

/// Excesses below which no tail is fitted, and above which a lower threshold
/// would tell of the bulk rather than of the tail.
const COUNTS: [usize; 2] = [60, 1000];

/// The part of the runs that may lie above a threshold.
const LARGEST_PART: usize = 4;

impl Family for Gpd {
    fn fit(data: &[f64]) -> Self {
        Gpd::fit(data)
    }

    fn cumulative(&self, x: f64) -> f64 {
        1.0 - self.survival(x)
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        self.quantile(1.0 - rng.random::<f64>())
    }
}

/// Fits the tail above the threshold that is chosen by [`threshold::select`].
/// The share of the runs above it is taken as it is: its uncertainty is small
/// beside the tail's (Coles, section 4.3.3).
pub fn fit(times: &[f64], options: &TailOptions) -> Result<TailFit, Refusal> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let most = COUNTS[1].min(times.len() / LARGEST_PART);
    let Peaks { threshold, excesses, fit, fitness } =
        threshold::select(&sorted, [COUNTS[0], most], options.replicas, options.seed).map_err(
            |result| match result {
                Some(result) => Refusal::NoThreshold { result },
                None => Refusal::TooFewValues { block_maxima: false },
            },
        )?;
    let share = excesses.len() as f64 / times.len() as f64;
    let exponential = Gpd::fit_exponential(&excesses).log_likelihood(&excesses);
    let light_p_value = light_p_value(fit.shape, fit.log_likelihood(&excesses), exponential);
    let tail = if light_p_value < SIGNIFICANCE { Tail::Heavy } else { Tail::Light };

    let mut pwcet = Vec::new();
    for exceedance in EXCEEDANCES.into_iter().filter(|&p| p < share) {
        let survival = exceedance / share;
        let span = match tail {
            Tail::Light => Some(Gpd::exponential_quantile_span(&excesses, survival)),
            Tail::Heavy => fit.quantile_span(&excesses, survival),
        };
        let Span { estimate, lower, upper } = span.ok_or(Refusal::Unbounded { exceedance })?;
        let [estimate, lower, upper] = [estimate, lower, upper].map(|x| threshold + x);
        pwcet.push(Pwcet::new(exceedance, Span { estimate, lower, upper }));
    }
    Ok(TailFit {
        method: Method::PeaksOverThreshold { threshold_ns: threshold, share },
        count: excesses.len(),
        location_ns: 0.0,
        scale_ns: fit.scale,
        shape: fit.shape_span(&excesses),
        fitness,
        light_p_value,
        tail,
        pwcet,
    })
}
