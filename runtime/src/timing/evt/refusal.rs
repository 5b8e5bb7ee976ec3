//! Why a tail is not extrapolated.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Method;
use crate::timing::hypothesis::{SIGNIFICANCE, TestResult};

/// Why nothing is extrapolated, or one method is left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
#[non_exhaustive]
pub enum Refusal {
    /// Too little is known.
    TooFewRuns {
        /// Undisturbed runs.
        runs: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// The runs are not independent, or not of one distribution.
    NotRandom {
        /// The test that says so.
        result: TestResult,
    },
    /// Too many of the longest runs took equally long.
    TooFewValues {
        /// The method that is left out.
        block_maxima: bool,
    },
    /// The tail has another form.
    NoFit {
        /// The method that is left out.
        method: Method,
        /// The test that says so.
        result: TestResult,
    },
    /// No threshold has a tail of the right form above it.
    NoThreshold {
        /// The test at the highest threshold.
        result: TestResult,
    },
    /// The data do not bound the tail.
    Unbounded {
        /// The exceedance at which the interval has no upper end.
        exceedance: f64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |f: &mut fmt::Formatter<'_>, result: &TestResult| {
            let (name, meaning) = result.test.describe();
            write!(f, "{name}: {meaning} ({result}, refused below {SIGNIFICANCE})")
        };
        match self {
            Refusal::TooFewRuns { runs, wanted } => {
                write!(f, "{runs} undisturbed runs; {wanted} are needed to extrapolate")
            }
            Refusal::NotRandom { result } => because(f, result),
            Refusal::TooFewValues { block_maxima: false } => {
                f.write_str("peaks over threshold: too many of the longest runs took equally long")
            }
            Refusal::TooFewValues { block_maxima: true } => {
                f.write_str("block maxima: too many of the longest runs took equally long")
            }
            Refusal::NoFit { method, result } => {
                f.write_str(match method {
                    Method::PeaksOverThreshold { .. } => "peaks over threshold: ",
                    Method::BlockMaxima { .. } => "block maxima: ",
                })?;
                because(f, result)
            }
            Refusal::NoThreshold { result } => {
                let (name, meaning) = result.test.describe();
                write!(
                    f,
                    "peaks over threshold: {name} in ascending order accepts no threshold: \
                     {meaning} (at the highest, {result})"
                )
            }
            Refusal::Unbounded { exceedance } => {
                write!(f, "the data do not bound the tail at an exceedance of {exceedance:e}")
            }
        }
    }
}
