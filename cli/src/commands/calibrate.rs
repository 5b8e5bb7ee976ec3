//! `leeway calibrate`: how long a component takes on this device, over its
//! validation set.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use leeway_runtime::calibrate::{Calibration, CalibrationOptions, calibrate};
use leeway_runtime::realtime::{RealTime, RealTimeReport};
use leeway_runtime::sandbox::{EngineKind, Sandbox, SandboxConfig};
use serde::Serialize;

use super::{print, print_json};
use crate::golden::samples;
use crate::{npy, units};

/// Measure how long a component takes on this device.
#[derive(Args)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// The validation set: an array for each input, by its name, with one sample
    /// or many.
    #[arg(long, value_name = "FILE.npz")]
    validation: PathBuf,
    /// What executes it.
    #[arg(long, default_value = "native", value_name = "native|pulley")]
    engine: EngineKind,
    /// Runs of each input.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Run on this CPU only.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Ask for SCHED_FIFO with this priority.
    #[arg(long, value_name = "1..99", value_parser = clap::value_parser!(u8).range(1..=99))]
    priority: Option<u8>,
    /// Ask for memory that is never paged out.
    #[arg(long)]
    lock_memory: bool,
    /// Of the order of the runs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the result, with every run, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Calibrated {
    engine: EngineKind,
    real_time: RealTimeReport,
    calibration: Calibration,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(SandboxConfig::with_engine(arguments.engine))?;
    let path = &arguments.component;
    let module =
        sandbox.load_file(path).with_context(|| format!("cannot run {}", path.display()))?;
    let arrays = npy::read_npz(&arguments.validation)?;
    let inputs = samples(module.certificate().inputs(), &arrays, usize::MAX)
        .with_context(|| format!("{}", arguments.validation.display()))?;
    let options = CalibrationOptions {
        repetitions: arguments.repetitions as usize,
        seed: arguments.seed,
        ..CalibrationOptions::default()
    };
    let wanted = RealTime {
        cpu: arguments.cpu,
        priority: arguments.priority,
        lock_memory: arguments.lock_memory,
    };
    // A thread of its own, as its set-up is not undone.
    let measure = || {
        let report = wanted.apply();
        let mut instance = module.instantiate()?;
        anyhow::Ok((report, calibrate(&mut instance, &inputs, &options)?))
    };
    let measured = std::thread::scope(|scope| scope.spawn(measure).join());
    let (real_time, calibration) =
        measured.map_err(|_| anyhow!("the calibration's thread panicked"))??;
    let calibrated = Calibrated { engine: arguments.engine, real_time, calibration };
    match arguments.json {
        true => print_json(&calibrated),
        false => print(&text(&calibrated)),
    }
}

fn text(calibrated: &Calibrated) -> String {
    let Calibrated { engine, real_time, calibration } = calibrated;
    let mut text = format!(
        "{}\n{} runs of {} inputs on {engine}, {} of them disturbed\n\
         own core {}, real-time priority {}, locked memory {}\n",
        calibration.module,
        calibration.samples.len(),
        calibration.inputs,
        calibration.disturbed,
        real_time.pinned,
        real_time.scheduling,
        real_time.memory,
    );
    let mut line = |name: &str, time: Duration, about: &str| {
        text += &format!("{name:<20} {:>10}  {about}\n", units::duration(time));
    };
    for quantile in &calibration.quantiles {
        line(&format!("{} %", 100.0 * quantile.quantile), quantile.time, "of undisturbed runs");
    }
    line("WCET", calibration.wcet, "the worst input's median");
    line("highest undisturbed", calibration.highest_undisturbed, "");
    line("highest observed", calibration.highest_observed, "the machine's noise included");
    text += &format!(
        "{:<20} {:>10.4}  ns, of {} units an inference",
        "time per fuel", calibration.ns_per_fuel, calibration.fuel
    );
    text
}
