//! The runs test about the median: A. Wald, J. Wolfowitz, "On a test whether two
//! samples are from the same population", Annals of Mathematical Statistics 11,
//! 1940. Values equal to the median are left out.

use super::{Test, TestResult, two_sided};

pub fn test(ranks: &[f64]) -> TestResult {
    let middle = (ranks.len() as f64 + 1.0) / 2.0;
    let sides: Vec<bool> =
        ranks.iter().filter(|&&rank| rank != middle).map(|&rank| rank > middle).collect();
    let above = sides.iter().filter(|&&side| side).count() as f64;
    let n = sides.len() as f64;
    let below = n - above;
    if above < 1.0 || below < 1.0 || n < 3.0 {
        return TestResult { test: Test::Runs, statistic: 0.0, p_value: 1.0 };
    }
    let runs = sides.chunk_by(|a, b| a == b).count() as f64;
    let product = 2.0 * above * below;
    let mean = product / n + 1.0;
    let variance = product * (product - n) / (n * n * (n - 1.0));
    let statistic = if variance > 0.0 { (runs - mean) / variance.sqrt() } else { 0.0 };
    TestResult { test: Test::Runs, statistic, p_value: two_sided(statistic) }
}
