//! How long a model takes, on the device and on the fog host: measured here, on the
//! engines that play them.

use std::time::Duration;

use leeway_contract::{Certificate, Digest};
use leeway_runtime::offload::local::Local as _;
use leeway_runtime::sandbox::{EngineKind, Sandbox, SandboxConfig};
use leeway_runtime::timing::evt::TailOptions;
use leeway_runtime::timing::measure::{MeasureError, MeasureOptions, Runs, Series, measure};
use leeway_runtime::timing::{BoundRule, Timing};

use crate::experiment::{ExperimentError, Model, Refused};

/// What measuring one model on one engine may take.
const BUDGET: Duration = Duration::from_millis(1_500);

/// Runs that take so many times the median are left out.
const LONGEST_OVER_MEDIAN: u64 = 3;

/// A model with its times.
#[derive(Clone, Debug)]
pub struct Timed {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Its certificate.
    pub certificate: Certificate,
    /// Undisturbed execution times on the device, in nanoseconds.
    pub device_ns: Vec<u64>,
    /// The same on the fog host.
    pub fog_ns: Vec<u64>,
    /// On the device, of the worst input.
    pub wcet: Duration,
    /// The part of that of each stage.
    pub shares: Vec<f64>,
}

impl Timed {
    /// What is promised of its time on the device: no time that is drawn exceeds it.
    pub fn bound(&self, rule: &BoundRule) -> Duration {
        let longest = self.device_ns.iter().copied().max().unwrap_or(0);
        rule.with_margin(Duration::from_nanos(longest))
    }

    /// The same of each stage.
    pub fn stage_bounds(&self, rule: &BoundRule) -> Vec<Duration> {
        let whole = self.bound(rule);
        self.shares.iter().map(|&share| whole.mul_f64(share)).collect()
    }
}

/// Measures a model on the slow engine and on the fast one.
pub(super) fn time(model: &Model, seed: u64) -> Result<Timed, ExperimentError> {
    let device = on(EngineKind::Pulley, model, seed)?;
    let fog_ns = on(EngineKind::Native, model, seed)?.device_ns;
    Ok(Timed { fog_ns, ..device })
}

/// Measures it on one engine, as that of a device.
fn on(engine: EngineKind, model: &Model, seed: u64) -> Result<Timed, ExperimentError> {
    let name = || model.name.clone();
    let sandbox = Sandbox::new(SandboxConfig::with_engine(engine))?;
    let module =
        sandbox.load(&model.component).map_err(|source| Refused { model: name(), source })?;
    let mut instance = module
        .instantiate()
        .map_err(|source| ExperimentError::Instantiate { model: name(), source })?;
    let budget = Some(BUDGET);
    let options = MeasureOptions { stages: true, budget, seed, ..MeasureOptions::default() };
    let failed = |source| ExperimentError::Calibrate { model: name(), source };
    let measured = measure(&mut instance, &model.validation, &options, &mut |_| ());
    let Runs { whole: Series { fuel, samples }, stages } = measured.map_err(failed)?.warm;
    let timing = Timing::of(&samples, fuel, &TailOptions::default())
        .ok_or_else(|| failed(MeasureError::NoInputs))?;
    // What else this machine did is not the model's; where nothing was undisturbed,
    // all there is.
    let undisturbed = samples.iter().filter(|sample| !sample.disturbed());
    let mut device_ns: Vec<u64> = undisturbed.map(|sample| sample.ns).collect();
    if device_ns.is_empty() {
        device_ns = samples.iter().map(|sample| sample.ns).collect();
    }
    // And what a hypervisor did is not told: a certified model burns the same fuel each
    // time, and does not take that much longer by itself.
    let longest = LONGEST_OVER_MEDIAN * of_middle(&device_ns);
    device_ns.retain(|&ns| ns <= longest);
    let medians: Vec<f64> = stages.iter().map(median).collect();
    let sum: f64 = medians.iter().sum();
    Ok(Timed {
        name: name(),
        digest: instance.digest(),
        certificate: module.certificate().clone(),
        device_ns,
        fog_ns: Vec::new(),
        wcet: timing.worst_input,
        shares: medians.iter().map(|median| median / sum).collect(),
    })
}

fn median(series: &Series) -> f64 {
    let times: Vec<u64> = series.samples.iter().map(|sample| sample.ns).collect();
    of_middle(&times) as f64
}

/// The median, at least 1.
fn of_middle(times: &[u64]) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(1).max(1)
}
