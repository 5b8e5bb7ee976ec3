//! Probabilistic worst-case execution time by measurement-based probabilistic
//! timing analysis: extreme value theory on measured times.
//!
//! It follows L. Cucu-Grosjean et al., "Measurement-Based Probabilistic Timing
//! Analysis for Multi-path Programs" (ECRTS 2012), and the surveys of R. I.
//! Davis and L. Cucu-Grosjean (LITES 6(1), 2019); the statistics are those of S.
//! Coles, "An Introduction to Statistical Modeling of Extreme Values" (2001).
//!
//! Two methods look at the same runs. *Peaks over threshold* fits a generalised
//! Pareto distribution to the longest runs ([`gpd`], [`threshold`]). *Block
//! maxima* fits a generalised extreme value distribution to the longest of each
//! block of consecutive runs ([`gev`]). Either is used only where its goodness of
//! fit ([`fitness`]) and the tests of independence and identical distribution
//! ([`super::hypothesis`]) do not speak against it, and the higher of the two
//! bounds counts.
//!
//! **The tail is bounded from above by a light one.** A certified model executes
//! a constant number of instructions, so that its time has an end, and a fitted
//! shape above 0 is most often an accident of few data that blows bounds up by
//! orders of magnitude. Following MBPTA practice (J. Abella et al.,
//! "Measurement-Based Worst-Case Execution Time Estimation Using the Coefficient
//! of Variation", ACM TODAES 22(4), 2017), the bound is by an exponential tail (a
//! Gumbel one for maxima): shape 0, which is longer than any with a negative
//! shape. Where a likelihood-ratio test refuses shape 0 in favour of a heavy tail,
//! the exponential tail would be no bound: then the fitted shape is used, and its
//! profile likelihood gives the bound's interval. [`Tail`] says which.

mod fitness;
mod gev;
mod gpd;
mod lmoments;
mod maxima;
mod peaks;
mod refusal;
mod search;
mod threshold;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use refusal::Refusal;

use super::hypothesis::{TestResult, independent_and_identical};

/// The shapes that are considered.
const LOWEST_SHAPE: f64 = -0.5;
const HIGHEST_SHAPE: f64 = 2.0;

/// Runs below which nothing is extrapolated.
pub const FEWEST_RUNS: usize = 1000;

/// Different values that a tail must have: a clock that ticks once a microsecond
/// gives a sub-microsecond model no tail.
const FEWEST_DISTINCT: usize = 20;

/// The exceedance probabilities, per run, that are told: every power of ten from
/// a hundredth.
pub const EXCEEDANCES: [f64; 8] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9];

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The estimate.
    pub estimate: f64,
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// The execution time that a run exceeds with a given probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pwcet {
    /// The probability, per run.
    pub exceedance: f64,
    /// The estimate.
    #[serde(rename = "estimate_ns", with = "crate::nanos")]
    pub estimate: Duration,
    /// The lower end of its 95 % interval.
    #[serde(rename = "lower_ns", with = "crate::nanos")]
    pub lower: Duration,
    /// The upper end of its 95 % interval: what is promised.
    #[serde(rename = "upper_ns", with = "crate::nanos")]
    pub upper: Duration,
}

impl Pwcet {
    fn new(exceedance: f64, span: Span) -> Self {
        // A cast saturates. The next nanosecond: a bound is never rounded down.
        let ns = |x: f64| Duration::from_nanos(x.max(0.0).ceil() as u64);
        let Span { estimate, lower, upper } = span;
        Self { exceedance, estimate: ns(estimate), lower: ns(lower), upper: ns(upper) }
    }
}

/// How a tail was bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tail {
    /// By an exponential or Gumbel tail, shape 0.
    Light,
    /// By the fitted shape, as shape 0 was refused.
    Heavy,
}

/// Which of the longest runs were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "method")]
pub enum Method {
    /// Those above a threshold.
    PeaksOverThreshold {
        /// The threshold in nanoseconds.
        threshold_ns: f64,
        /// The part of the runs above it.
        share: f64,
    },
    /// The longest of each block.
    BlockMaxima {
        /// Runs in a block.
        block: usize,
    },
}

/// A tail that was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TailFit {
    /// How.
    #[serde(flatten)]
    pub method: Method,
    /// Excesses or maxima.
    pub count: usize,
    /// Location of the maxima in nanoseconds; 0 for excesses.
    pub location_ns: f64,
    /// Scale in nanoseconds.
    pub scale_ns: f64,
    /// Shape.
    pub shape: Span,
    /// Goodness of fit: Anderson-Darling, Cramer-von Mises.
    pub fitness: [TestResult; 2],
    /// How often a tail of shape 0 gives data that look as heavy as these.
    pub light_p_value: f64,
    /// What bounds it.
    pub tail: Tail,
    /// The bounds, by descending exceedance.
    pub pwcet: Vec<Pwcet>,
}

/// What extreme value theory says of some runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TailAnalysis {
    /// Runs that were looked at.
    pub runs: usize,
    /// Tests of independence and identical distribution.
    pub tests: Vec<TestResult>,
    /// Peaks over threshold, where it could be fitted.
    pub peaks: Option<TailFit>,
    /// Block maxima, where it could be fitted.
    pub maxima: Option<TailFit>,
    /// The bounds, by descending exceedance; empty where nothing is extrapolated.
    pub pwcet: Vec<Pwcet>,
    /// Why nothing is, or why a method is left out.
    pub refusals: Vec<Refusal>,
}

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailOptions {
    /// Replicas of the bootstrap.
    pub replicas: usize,
    /// Of the bootstrap.
    pub seed: u64,
}

impl Default for TailOptions {
    fn default() -> Self {
        Self { replicas: 400, seed: 1 }
    }
}

/// Analyses times in nanoseconds, in the order in which they were measured.
pub fn analyse(times: &[u64], options: &TailOptions) -> TailAnalysis {
    let times: Vec<f64> = times.iter().map(|&ns| ns as f64).collect();
    let mut analysis = TailAnalysis {
        runs: times.len(),
        tests: independent_and_identical(&times),
        peaks: None,
        maxima: None,
        pwcet: Vec::new(),
        refusals: Vec::new(),
    };
    if times.len() < FEWEST_RUNS {
        let refusal = Refusal::TooFewRuns { runs: times.len(), wanted: FEWEST_RUNS };
        analysis.refusals.push(refusal);
        return analysis;
    }
    let failed = analysis.tests.iter().filter(|result| result.rejects());
    analysis.refusals.extend(failed.map(|&result| Refusal::NotRandom { result }));
    let accepted = analysis.refusals.is_empty();
    // A tail is fitted even where it may not be extrapolated, to be looked at.
    let mut fits = Vec::new();
    for (fit, slot) in [
        (peaks::fit(&times, options), &mut analysis.peaks),
        (maxima::fit(&times, options), &mut analysis.maxima),
    ] {
        match fit {
            Ok(fit) => {
                let bad = fit.fitness.iter().find(|result| result.rejects());
                match bad {
                    None => fits.push(fit.pwcet.clone()),
                    Some(&result) => {
                        analysis.refusals.push(Refusal::NoFit { method: fit.method, result })
                    }
                }
                *slot = Some(fit);
            }
            Err(refusal) => analysis.refusals.push(refusal),
        }
    }
    if accepted {
        analysis.pwcet = highest(&fits);
    }
    analysis
}

/// At every exceedance the bound with the highest upper end.
fn highest(fits: &[Vec<Pwcet>]) -> Vec<Pwcet> {
    let at = |exceedance: f64| {
        let all = fits.iter().flatten().filter(|p| p.exceedance == exceedance);
        all.max_by_key(|p| p.upper).copied()
    };
    EXCEEDANCES.into_iter().filter_map(at).collect()
}

/// The part of chi-squared with one degree of freedom, half of which is at 0,
/// above twice the gain of log-likelihood: the test of shape 0 against a heavier
/// tail, at the boundary (S. G. Self, K.-Y. Liang, JASA 82, 1987).
fn light_p_value(shape: f64, free: f64, light: f64) -> f64 {
    match shape > 0.0 {
        true => 0.5 * statrs::function::erf::erfc((free - light).max(0.0).sqrt()),
        false => 1.0,
    }
}

#[cfg(test)]
mod tests;
