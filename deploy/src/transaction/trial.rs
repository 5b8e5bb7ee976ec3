//! The candidate runs for the first time: on its golden vectors, to the bit and
//! with exact fuel, and again and again to see how long it takes here.

use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Bound, Certificate, Digest, Tensor};
use leeway_runtime::golden;
use leeway_runtime::offload::local::{Local, LocalError, LocalRun};
use leeway_runtime::power::{self, MeasureRule, PerInference, PowerModel};
use leeway_runtime::realtime::{RealTime, RealTimeReport};
use leeway_runtime::sandbox::{Instance, Limits, Module};
use leeway_runtime::sysfs::Root;
use leeway_runtime::timing::measure::MeasureOptions;
use leeway_runtime::timing::{Calibration, Claims, Device, Store, calibrate};

use super::{Cancel, Cause};
use crate::serving::zeros;

/// How candidates are tried.
#[derive(Clone, Debug)]
pub struct TrialOptions {
    /// The longest that one inference may take while it is tried.
    pub limit: Duration,
    /// How it is measured.
    pub measure: MeasureOptions,
    /// What the thread that measures asks the kernel for: what the threads of the streams
    /// do, but for a lower priority, as they must not wait for it.
    pub real_time: RealTime,
    /// The tree that has the device's `proc` and `sys` in it.
    pub root: Root,
    /// How the joules of an inference are found, where they are to be.
    pub energy: Option<Metering>,
}

impl Default for TrialOptions {
    /// 10 s for an inference, 3 warm runs of each golden input within about 2 s; no right
    /// is asked for, and no energy is measured.
    fn default() -> Self {
        let budget = Some(Duration::from_secs(2));
        let measure = MeasureOptions { repetitions: 3, budget, ..MeasureOptions::default() };
        let (real_time, root) = (RealTime::default(), Root::default());
        Self { limit: Duration::from_secs(10), measure, real_time, root, energy: None }
    }
}

/// How the joules of an inference are found.
#[derive(Clone, Debug, Default)]
pub struct Metering {
    /// The sensors' names; the best that there are, where none is given.
    pub sensors: Vec<String>,
    /// What is declared of the device, for where its sensors do not tell.
    pub model: Option<PowerModel>,
    /// For how long it is measured.
    pub rule: MeasureRule,
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
    let mut calibration = under(options.real_time, cancel, |real_time| {
        calibrate(&mut tried, &inputs, claims, real_time, &options.measure, &mut |_| {})
    })??;
    let mut found = format!("{} runs, {}", calibration.samples.len(), calibration.real_time);
    if let Some(metering) = &options.energy {
        // Runs follow each other for seconds, for which nobody need have a priority.
        let same_cpu = RealTime { cpu: options.real_time.cpu, ..RealTime::default() };
        let energy = under(same_cpu, cancel, |_| joules(&mut tried, &inputs, options, metering))?;
        match energy {
            Ok(energy) => {
                found.push_str(&format!("; {:.3} mJ, {}", 1e3 * energy.joules, energy.basis));
                calibration.energy = Some(energy);
            }
            Err(error) => found.push_str(&format!("; its joules are not known: {error}")),
        }
    }
    if let Err(error) = kept.save(&calibration) {
        tracing::warn!(%error, "the calibration is not kept");
    }
    Ok((calibration, found))
}

/// Does something on a thread with this set-up, which ends with it.
fn under<T: Send>(
    real_time: RealTime,
    cancel: &Cancel,
    work: impl FnOnce(RealTimeReport) -> T + Send,
) -> Result<T, Cause> {
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("calibrate".into());
        let work = || work(real_time.apply());
        let thread = thread.spawn_scoped(scope, work).map_err(Cause::Thread)?;
        Ok::<_, Cause>(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    if cancel.is_cancelled() { Err(Cause::Cancelled) } else { Ok(done) }
}

/// The joules of one inference, over the inputs in turn.
fn joules(
    tried: &mut Tried<'_>,
    inputs: &[Vec<Tensor>],
    options: &TrialOptions,
    metering: &Metering,
) -> Result<PerInference, power::MeasureError<LocalError>> {
    let Metering { sensors, model, rule } = metering;
    let stages = 0..=tried.certificate().last_stage();
    let mut inputs = inputs.iter().cycle();
    let mut run = || {
        let input = inputs.next().map_or(&[][..], Vec::as_slice);
        tried.run(stages.clone(), input).map(|run| run.elapsed)
    };
    power::joules(&options.root, sensors, model.as_ref(), rule, &mut run)
}

/// What a calibration of a module here must hold for.
pub(crate) fn claims(module: &Module, engine_hash: String, options: &TrialOptions) -> Claims {
    Claims {
        module: module.digest(),
        engine: module.engine_kind(),
        engine_hash,
        device: Device::read(&options.root.path(""), options.real_time.cpu),
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
