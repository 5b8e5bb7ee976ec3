//! Calibration: how long a model takes on this device, over its validation set.
//!
//! The worst case is measured, as in D. Saguil, A. Azim (ISORC 2019, DOI
//! 10.1109/ISORC.2019.00022). What a measurement sees of a model is three
//! things: the model's own time, which depends on the input only through the
//! operands (control flow and fuel do not depend on data); the state of caches,
//! predictors and clock frequency; and whatever else the machine does at that
//! moment. Only the first two are the model's. Therefore:
//!
//! - Every input runs several times, in an order that mixes inputs, after a
//!   warm-up, and each time after a short rest: a device that waits for its
//!   sensor or its network runs the next input on a core that has just been
//!   idle, which on the machine this was written on takes 12 % longer than a
//!   run right after another one.
//! - A run during which the thread was preempted, waited for a page from disk,
//!   or was off its CPU for a noticeable time is *disturbed*. It is counted and
//!   kept in the samples, and used only for [`Calibration::highest_observed`].
//! - Three worst cases are kept apart. [`Calibration::highest_observed`] is over
//!   everything, the machine's noise included: what a deadline must survive.
//!   [`Calibration::highest_undisturbed`] is over undisturbed runs; a hypervisor
//!   that takes the CPU away without telling is still in it.
//!   [`Calibration::wcet`] is the highest, over the inputs, of an input's median
//!   over its undisturbed runs: the execution time of the worst input, which a
//!   hiccup that hits less than half of its runs cannot raise. It is what the
//!   offloading threshold compares with T_L + T_F, for a threshold that a
//!   single hiccup had raised for good would offload what the device does
//!   faster.

use std::time::Duration;

use hdrhistogram::Histogram;
use leeway_contract::{Digest, Fuel, Tensor};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::nanos;
use crate::offload::local::{Local, LocalError};
use crate::realtime::ThreadUsage;
use crate::timing::Cause;

/// How to calibrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrationOptions {
    /// Runs before anything is measured.
    pub warm_up: usize,
    /// Runs of each input.
    pub repetitions: usize,
    /// Idle time before each run.
    pub rest: Duration,
    /// Roughly the longest that the whole may take: where the inputs are too
    /// many for it, evenly spaced ones are taken, and at least eight.
    pub budget: Option<Duration>,
    /// Of the order.
    pub seed: u64,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        let rest = Duration::from_millis(2);
        Self { warm_up: 5, repetitions: 5, rest, budget: None, seed: 1 }
    }
}

const FEWEST_INPUTS: usize = 8;

/// The quantiles that are reported.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// Nothing to run.
    #[error("calibration needs at least one input and one repetition")]
    NoInputs,
    /// The model failed on one input.
    #[error("input {input}: {source}")]
    Run {
        /// Which input.
        input: usize,
        /// Why.
        source: LocalError,
    },
}

/// One measured run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSample {
    /// Index of the input in the validation set.
    pub input: usize,
    /// Execution time in nanoseconds.
    pub ns: u64,
    /// Whether something other than the model took part of that time.
    pub disturbed: bool,
}

/// A quantile of the undisturbed runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// From 0 to 1.
    pub quantile: f64,
    /// The execution time that this part of the runs did not exceed.
    #[serde(rename = "time_ns", with = "crate::nanos")]
    pub time: Duration,
}

/// How long a model takes on this device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The module.
    pub module: Digest,
    /// The highest of the inputs' medians, over undisturbed runs.
    #[serde(rename = "wcet_ns", with = "crate::nanos")]
    pub wcet: Duration,
    /// The longest run of all.
    #[serde(rename = "highest_observed_ns", with = "crate::nanos")]
    pub highest_observed: Duration,
    /// The longest undisturbed run.
    #[serde(rename = "highest_undisturbed_ns", with = "crate::nanos")]
    pub highest_undisturbed: Duration,
    /// The median of the undisturbed runs.
    #[serde(rename = "median_ns", with = "crate::nanos")]
    pub median: Duration,
    /// Quantiles of the undisturbed runs, to three digits.
    pub quantiles: Vec<Quantile>,
    /// The fuel of one run.
    pub fuel: Fuel,
    /// Median nanoseconds per unit of fuel; 0 where no fuel is counted.
    pub ns_per_fuel: f64,
    /// How many inputs ran.
    pub inputs: usize,
    /// How many runs were disturbed.
    pub disturbed: usize,
    /// Every run, in the order in which they were made.
    pub samples: Vec<RunSample>,
}

/// Calibrates a model on the calling thread, under whatever real-time set-up it
/// has ([`crate::realtime::RealTime::apply`]).
pub fn calibrate(
    local: &mut dyn Local,
    inputs: &[Vec<Tensor>],
    options: &CalibrationOptions,
) -> Result<Calibration, CalibrationError> {
    if inputs.is_empty() || options.repetitions == 0 {
        return Err(CalibrationError::NoInputs);
    }
    let stages = local.certificate().last_stage();
    let mut bench = Bench { local, stages, rest: options.rest };
    let mut last = bench.run(0, &inputs[0])?;
    for i in 0..options.warm_up {
        let input = i % inputs.len();
        last = bench.run(input, &inputs[input])?;
    }
    let chosen = choose(inputs.len(), Duration::from_nanos(last.sample.ns), options);
    let mut samples = Vec::with_capacity(chosen.len() * options.repetitions);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut order = chosen.clone();
    for _ in 0..options.repetitions {
        order.shuffle(&mut rng);
        for &input in &order {
            samples.push(bench.run(input, &inputs[input])?.sample);
        }
    }
    Ok(summarise(bench.local.digest(), last.fuel, &chosen, samples))
}

/// Evenly spaced inputs, as many as the budget allows.
fn choose(inputs: usize, each: Duration, options: &CalibrationOptions) -> Vec<usize> {
    let affordable = options.budget.map_or(inputs, |budget| {
        let run = nanos::of(each.saturating_add(options.rest));
        let one = run.saturating_mul(options.repetitions as u64).max(1);
        (nanos::of(budget) / one) as usize
    });
    let count = affordable.max(FEWEST_INPUTS).min(inputs);
    (0..count).map(|i| i * inputs / count).collect()
}

struct Bench<'a> {
    local: &'a mut dyn Local,
    stages: u32,
    rest: Duration,
}

struct Measured {
    sample: RunSample,
    fuel: Fuel,
}

impl Bench<'_> {
    fn run(&mut self, input: usize, tensors: &[Tensor]) -> Result<Measured, CalibrationError> {
        std::thread::sleep(self.rest);
        let before = ThreadUsage::now();
        let start = std::time::Instant::now();
        let run = self.local.run(0..=self.stages, tensors);
        let wall_ns = nanos::of(start.elapsed());
        let after = ThreadUsage::now();
        let run = run.map_err(|source| CalibrationError::Run { input, source })?;
        let sample = RunSample {
            input,
            ns: nanos::of(run.elapsed),
            disturbed: !Cause::between(before, after, wall_ns).is_empty(),
        };
        Ok(Measured { sample, fuel: run.fuel })
    }
}

fn summarise(module: Digest, fuel: Fuel, chosen: &[usize], samples: Vec<RunSample>) -> Calibration {
    let disturbed = samples.iter().filter(|s| s.disturbed).count();
    // Where all runs were disturbed there is nothing better to go by.
    let all_disturbed = disturbed == samples.len();
    let counts = |s: &&RunSample| all_disturbed || !s.disturbed;

    let typical = |&input: &usize| {
        let mut of_input: Vec<u64> =
            samples.iter().filter(counts).filter(|s| s.input == input).map(|s| s.ns).collect();
        of_input.sort_unstable();
        // An input none of whose runs was undisturbed says nothing.
        of_input.get(of_input.len().saturating_sub(1) / 2).copied()
    };
    let wcet_ns = chosen.iter().filter_map(typical).max().unwrap_or_default();

    let highest_ns = samples.iter().filter(counts).map(|s| s.ns).max().unwrap_or_default();
    let mut histogram = Histogram::<u64>::new_with_max(highest_ns.max(2), 3)
        .expect("a maximum of at least 2 and three digits are what the crate takes");
    for sample in samples.iter().filter(counts) {
        histogram.saturating_record(sample.ns);
    }
    let at = |quantile: f64| Duration::from_nanos(histogram.value_at_quantile(quantile));
    let median = at(0.5);
    let ns_per_fuel = if fuel.0 == 0 { 0.0 } else { nanos::of(median) as f64 / fuel.0 as f64 };
    Calibration {
        module,
        wcet: Duration::from_nanos(wcet_ns),
        highest_observed: Duration::from_nanos(
            samples.iter().map(|s| s.ns).max().unwrap_or_default(),
        ),
        highest_undisturbed: Duration::from_nanos(highest_ns),
        median,
        quantiles: QUANTILES
            .iter()
            .map(|&quantile| Quantile { quantile, time: at(quantile) })
            .collect(),
        fuel,
        ns_per_fuel,
        inputs: chosen.len(),
        disturbed,
        samples,
    }
}

#[cfg(test)]
#[path = "calibrate_tests.rs"]
mod tests;
