//! The portmanteau test of no autocorrelation: G. M. Ljung, G. E. P. Box, "On a
//! measure of lack of fit in time series models", Biometrika 65, 1978.

use statrs::function::gamma::gamma_ur;

use super::{Test, TestResult};

/// Lags that are looked at.
const LAGS: usize = 10;

pub fn test(series: &[f64]) -> TestResult {
    let n = series.len() as f64;
    let lags = LAGS.min(series.len() / 5).max(1);
    let mean = series.iter().sum::<f64>() / n;
    let centred: Vec<f64> = series.iter().map(|x| x - mean).collect();
    let variance: f64 = centred.iter().map(|x| x * x).sum();
    let autocorrelation = |lag: usize| {
        let products = centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b);
        products.sum::<f64>() / variance
    };
    let sum: f64 = (1..=lags).map(|k| autocorrelation(k).powi(2) / (n - k as f64)).sum();
    // A constant series is as independent as it is boring.
    let statistic = if variance > 0.0 { n * (n + 2.0) * sum } else { 0.0 };
    // Chi-squared, with a degree of freedom for each lag.
    let p_value = if statistic > 0.0 { gamma_ur(lags as f64 / 2.0, statistic / 2.0) } else { 1.0 };
    TestResult { test: Test::LjungBox, statistic, p_value }
}
