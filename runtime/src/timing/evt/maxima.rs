//! The bounds by block maxima.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::fitness::{self, Family};
use super::gev::Gev;
use super::{
    EXCEEDANCES, FEWEST_DISTINCT, Method, Pwcet, Refusal, Tail, TailFit, TailOptions, light_p_value,
};
use crate::timing::hypothesis::SIGNIFICANCE;

/// Runs in a block at least: the longest of fewer is not extreme.
const SMALLEST_BLOCK: usize = 20;

/// Blocks at most; more runs make longer blocks.
const MOST_BLOCKS: usize = 200;

impl Family for Gev {
    fn fit(data: &[f64]) -> Self {
        Gev::fit(data)
    }

    fn cumulative(&self, x: f64) -> f64 {
        (-self.intensity(x)).exp()
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        self.quantile_of(-(1.0 - rng.random::<f64>()).ln())
    }
}

/// Fits the maxima of equal blocks; what is left of the last block is not used.
pub fn fit(times: &[f64], options: &TailOptions) -> Result<TailFit, Refusal> {
    let block = SMALLEST_BLOCK.max(times.len().div_ceil(MOST_BLOCKS));
    let longest = |runs: &[f64]| runs.iter().copied().fold(0.0, f64::max);
    let maxima: Vec<f64> = times.chunks_exact(block).map(longest).collect();
    let mut sorted = maxima.clone();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    if sorted.len() < FEWEST_DISTINCT {
        return Err(Refusal::TooFewValues { block_maxima: true });
    }
    let fit = Gev::fit(&maxima);
    let fitness = fitness::test(&maxima, &fit, options.replicas, options.seed);
    let gumbel = Gev::fit_gumbel(&maxima);
    let [free, light] = [fit, gumbel].map(|gev| gev.log_likelihood(&maxima));
    let light_p_value = light_p_value(fit.shape, free, light);
    let tail = if light_p_value < SIGNIFICANCE { Tail::Heavy } else { Tail::Light };

    let mut pwcet = Vec::new();
    for exceedance in EXCEEDANCES {
        // No run of a block exceeds with probability (1 - p)^block, which is
        // exp(-intensity).
        let intensity = -(block as f64) * (-exceedance).ln_1p();
        let span = match tail {
            Tail::Light => gumbel.gumbel_quantile_span(&maxima, intensity),
            Tail::Heavy => fit.quantile_span(&maxima, intensity),
        };
        pwcet.push(Pwcet::new(exceedance, span.ok_or(Refusal::Unbounded { exceedance })?));
    }
    Ok(TailFit {
        method: Method::BlockMaxima { block },
        count: maxima.len(),
        location_ns: fit.location,
        scale_ns: fit.scale,
        shape: fit.shape_span(&maxima),
        fitness,
        light_p_value,
        tail,
        pwcet,
    })
}
