//! The candidate runs for the first time: on its golden vectors, to the bit and
//! with exact fuel, and again and again to see how long it takes here.

use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Bound, Certificate, Digest, Tensor};
use leeway_runtime::golden;
use leeway_runtime::offload::local::{Local, LocalError, LocalRun};
use leeway_runtime::realtime::RealTime;
use leeway_runtime::sandbox::{Instance, Limits, Module};
use leeway_runtime::timing::measure::MeasureOptions;
use leeway_runtime::timing::{Calibration, Claims, Device, Store, calibrate};

use super::{Cancel, Cause};
use crate::serving::zeros;

/// How candidates are tried.
#[derive(Clone, Copy, Debug)]
pub struct TrialOptions {
    /// The longest that one inference may take while it is tried.
    pub limit: Duration,
    /// How it is measured.
    pub measure: MeasureOptions,
}

impl Default for TrialOptions {
    /// 10 s for an inference, 3 warm runs of each golden input within about 2 s.
    fn default() -> Self {
        let budget = Some(Duration::from_secs(2));
        let measure = MeasureOptions { repetitions: 3, budget, ..MeasureOptions::default() };
        Self { limit: Duration::from_secs(10), measure }
    }
}

/// Replays the golden vectors; without any, the model must at least burn the fuel
/// that it is certified for. Returns what was found, in words.
pub(crate) fn replay(
    module: &Module,
    options: &TrialOptions,
    cancel: &Cancel,
) -> Result<String, Cause> {
    let limits = Limits::within(options.limit);
    let vectors = module.golden().len();
    if vectors > 0 {
        if !golden::replay_while(module, &limits, &|| !cancel.is_cancelled())? {
            return Err(Cause::Cancelled);
        }
        return Ok(format!("{vectors} golden vectors are equal to the bit"));
    }
    let certificate = module.certificate();
    let stages = 0..=certificate.last_stage();
    let mut instance = module.instantiate().map_err(Cause::Run)?;
    let run = instance.run(stages, &zeros(module), &limits).map_err(Cause::Run)?;
    let wanted = certificate.total_fuel();
    if module.metered() && certificate.bound() == Bound::Static && run.fuel != wanted {
        return Err(Cause::Fuel { wanted, seen: run.fuel });
    }
    Ok(format!("it has no golden vectors; {} units of fuel on zeros", run.fuel))
}

/// A new calibration of a module on this device, which is kept. Not quietly: what is
/// promised is the time of a model that nothing keeps waiting.
pub(crate) fn measured(
    module: &Module,
    claims: Claims,
    kept: &Store,
    options: &TrialOptions,
    cancel: &Cancel,
) -> Result<(Calibration, String), Cause> {
    let mut inputs: Vec<Vec<Tensor>> =
        module.golden().iter().map(|golden| golden.inputs.clone()).collect();
    if inputs.is_empty() {
        inputs.push(zeros(module));
    }
    let instance = module.instantiate().map_err(Cause::Run)?;
    let mut tried = Tried { instance, limit: options.limit, cancel };
    // On a thread of its own: what it is granted ends with it.
    let calibration = std::thread::scope(|scope| {
        let measuring = || {
            let real_time = RealTime::default().apply();
            calibrate(&mut tried, &inputs, claims, real_time, &options.measure, &mut |_| {})
        };
        let thread = std::thread::Builder::new().name("calibrate".into());
        let thread = thread.spawn_scoped(scope, measuring).map_err(Cause::Thread)?;
        let calibration = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if cancel.is_cancelled() { Err(Cause::Cancelled) } else { Ok(calibration?) }
    })?;
    if let Err(error) = kept.save(&calibration) {
        tracing::warn!(%error, "the calibration is not kept");
    }
    let runs = calibration.samples.len();
    Ok((calibration, format!("{runs} runs")))
}

/// What a calibration of a module here must hold for.
pub(crate) fn claims(module: &Module, engine_hash: String) -> Claims {
    Claims {
        module: module.digest(),
        engine: module.engine_kind(),
        engine_hash,
        device: Device::of_this_machine(None),
    }
}

/// A candidate that is measured: no run takes longer than the limit, and none begins
/// after the transaction was cancelled.
struct Tried<'a> {
    instance: Instance,
    limit: Duration,
    cancel: &'a Cancel,
}

impl Local for Tried<'_> {
    fn digest(&self) -> Digest {
        Local::digest(&self.instance)
    }

    fn certificate(&self) -> &Certificate {
        Local::certificate(&self.instance)
    }

    fn run(
        &mut self,
        stages: RangeInclusive<u32>,
        inputs: &[Tensor],
    ) -> Result<LocalRun, LocalError> {
        if self.cancel.is_cancelled() {
            return Err(LocalError(Box::new(Cause::Cancelled)));
        }
        let run = self.instance.run(stages, inputs, &Limits::within(self.limit));
        let run = run.map_err(|error| LocalError(Box::new(error)))?;
        Ok(LocalRun { outputs: run.outputs, fuel: run.fuel, elapsed: run.elapsed })
    }
}
