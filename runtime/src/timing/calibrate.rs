//! Calibration: measures a model and summarises what was seen, for the device
//! and the engine that it ran on.

use leeway_contract::Tensor;

use super::calibration::{Calibration, Claims, Condition, FORMAT, Seen};
use super::evt::TailOptions;
use super::measure::{
    MeasureError, MeasureOptions, Measured, Phase, Progress, Runs, Series, measure,
};
use super::summary::Timing;
use crate::offload::local::Local;
use crate::realtime::RealTimeReport;
use crate::sysfs::Root;
use crate::thermal::Frequency;
use crate::thermal::frequency::SpeedWatch;

/// How often the clock is looked at in each phase: reading it takes long enough to
/// disturb what the caches hold.
const SPEED_SAMPLES: usize = 8;

/// Measures a model on the calling thread, whose real-time set-up is `real_time`,
/// and analyses the runs. `options.stages` is taken as true.
pub fn calibrate(
    local: &mut dyn Local,
    inputs: &[Vec<Tensor>],
    claims: Claims,
    real_time: RealTimeReport,
    options: &MeasureOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Calibration, MeasureError> {
    let options = MeasureOptions { stages: true, ..*options };
    let mut speed = SpeedWatch::default();
    let (root, core) = (Root::default(), claims.device.core.unwrap_or(0));
    let mut look = |now: Progress| {
        if now.done.is_multiple_of(now.total.div_ceil(SPEED_SAMPLES)) {
            speed.see(&Frequency::read(&root, core));
        }
        progress(now);
    };
    let measured = measure(local, inputs, &options, &mut look)?;
    let calibration = of_measured(measured, claims, real_time, options.seed, progress);
    Ok(Calibration { speed: speed.seen(), ..calibration })
}

fn of_measured(
    measured: Measured,
    claims: Claims,
    real_time: RealTimeReport,
    seed: u64,
    progress: &mut dyn FnMut(Progress),
) -> Calibration {
    let Measured { inputs, warm, cold } = measured;
    let series = |runs: &Runs| 1 + runs.stages.len();
    let total = series(&warm) + cold.as_ref().map_or(0, series);
    let options = TailOptions { seed, ..TailOptions::default() };
    let mut done = 0;
    let mut timing = |series: &Series| {
        // There is at least one input and one repetition.
        let timing = Timing::of(&series.samples, series.fuel, &options).expect("there are runs");
        done += 1;
        progress(Progress { phase: Phase::Analysing, done, total });
        timing
    };
    let mut condition = |runs: &Runs| Condition {
        whole: timing(&runs.whole),
        stages: runs.stages.iter().map(&mut timing).collect(),
    };
    Calibration {
        format: FORMAT,
        claims,
        real_time,
        seed,
        inputs,
        warm: condition(&warm),
        cold: cold.as_ref().map(condition),
        seen: Seen::default(),
        samples: warm.whole.samples,
        speed: None,
        energy: None,
    }
}
