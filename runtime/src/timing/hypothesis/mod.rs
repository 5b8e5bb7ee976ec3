//! Whether measured times look like independent draws from one distribution,
//! which extreme value theory takes for granted: four tests, two of
//! independence and two of identical distribution.
//!
//! All of them go by ranks. Execution times have heavy tails and spikes, which
//! would hide a dependence between ordinary runs from a test of the values.
//! The choice of tests follows R. I. Davis, L. Cucu-Grosjean, "A Survey of
//! Probabilistic Timing Analysis Techniques for Real-Time Systems", LITES 6(1),
//! 2019, section 4.

mod kolmogorov_smirnov;
mod ljung_box;
mod mann_kendall;
mod runs;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The part of good data that a single test may refuse.
pub const SIGNIFICANCE: f64 = 0.01;

/// What was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// Independence: autocorrelation of the ranks up to lag 10.
    LjungBox,
    /// Independence: runs above and below the median.
    Runs,
    /// Identical distribution: the first half of the runs against the second.
    KolmogorovSmirnov,
    /// Identical distribution: a trend over time.
    MannKendall,
    /// Goodness of fit, with weight on the tail.
    AndersonDarling,
    /// Goodness of fit.
    CramerVonMises,
}

impl Test {
    /// Its name, and what it looks for.
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Test::LjungBox => ("Ljung-Box", "runs depend on the runs before them"),
            Test::Runs => ("runs test", "slow and fast runs come in groups"),
            Test::KolmogorovSmirnov => {
                ("Kolmogorov-Smirnov", "the first half of the runs differs from the second")
            }
            Test::MannKendall => ("Mann-Kendall", "the runs become slower or faster over time"),
            Test::AndersonDarling => ("Anderson-Darling", "the tail is not of the fitted form"),
            Test::CramerVonMises => ("Cramer-von Mises", "the tail is not of the fitted form"),
        }
    }
}

/// The outcome of a test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// Which one.
    pub test: Test,
    /// Its statistic.
    pub statistic: f64,
    /// How often data that fulfil the hypothesis give such a statistic or one
    /// that speaks more against it.
    pub p_value: f64,
}

impl TestResult {
    /// Whether the data speak against the hypothesis.
    pub fn rejects(&self) -> bool {
        self.p_value < SIGNIFICANCE
    }
}

impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Smaller ones are no different, and not exact.
        match self.p_value < 1e-99 {
            true => write!(f, "statistic {:.3}, p < 1e-99", self.statistic),
            false => write!(f, "statistic {:.3}, p = {:.2e}", self.statistic, self.p_value),
        }
    }
}

/// The four tests on times in the order in which they were measured. Fewer than
/// 20 times are no data for them: no result.
pub fn independent_and_identical(times: &[f64]) -> Vec<TestResult> {
    if times.len() < 20 {
        return Vec::new();
    }
    let ranks = ranks(times);
    vec![
        ljung_box::test(&ranks),
        runs::test(&ranks),
        kolmogorov_smirnov::test_halves(times),
        mann_kendall::test(times),
    ]
}

/// The rank of each value, from 1; equal values get the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = from as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&index| ranks[index] = mean);
        from += tied.len();
    }
    ranks
}

/// The part of the standard normal distribution that is further from 0 than `z`.
fn two_sided(z: f64) -> f64 {
    statrs::function::erf::erfc(z.abs() / std::f64::consts::SQRT_2).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
