//! What is promised of an execution time, and what for.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::summary::times;

/// How a bound is taken from a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundRule {
    /// The probability, per run, with which the bound may be exceeded, where the
    /// tail may be extrapolated so far.
    pub exceedance: f64,
    /// Where it may not: what is added to the longest run, as a part of it.
    pub margin: f64,
}

impl Default for BoundRule {
    /// One run in a billion; otherwise the longest run and 20 % of it, the
    /// engineering margin of industrial practice (F. Wartel et al., SIES 2013).
    fn default() -> Self {
        Self { exceedance: 1e-9, margin: 0.2 }
    }
}

impl BoundRule {
    /// The time and the margin.
    pub fn with_margin(&self, time: Duration) -> Duration {
        times(time, 1.0 + self.margin.max(0.0))
    }
}

/// What a bound rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "basis")]
pub enum Basis {
    /// The upper end of the 95 % interval of a probabilistic worst case.
    Probabilistic {
        /// The probability, per run, with which it is exceeded.
        exceedance: f64,
    },
    /// The longest run.
    Observed {
        /// What was added, as a part of it.
        margin: f64,
    },
    /// A run after calibration that exceeded what had been promised.
    Raised {
        /// What was added, as a part of it.
        margin: f64,
    },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Basis::Probabilistic { exceedance } => {
                write!(f, "exceeded by one run in {:.0e}", 1.0 / exceedance)
            }
            Basis::Observed { margin } => {
                write!(f, "the longest run, and {:.0} % of it", 100.0 * margin)
            }
            Basis::Raised { margin } => {
                write!(f, "a run that exceeded the bound before, and {:.0} % of it", 100.0 * margin)
            }
        }
    }
}

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The execution time that is not exceeded.
    #[serde(rename = "time_ns", with = "crate::nanos")]
    pub time: Duration,
    /// What it rests on.
    #[serde(flatten)]
    pub basis: Basis,
}

impl Bound {
    /// The weaker promise of the two: the longer time.
    pub fn max(self, other: Bound) -> Bound {
        if other.time > self.time { other } else { self }
    }
}
