//! `leeway calibrate`: how long a component takes on this device, over its
//! validation set, and what of that can be promised.

mod table;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leeway_contract::Tensor;
use leeway_runtime::power::PerInference;
use leeway_runtime::realtime::{RealTime, allowed_cpus};
use leeway_runtime::sandbox::{EngineKind, Limits, Module, Sandbox, SandboxConfig};
use leeway_runtime::timing::measure::{MeasureOptions, Phase, Progress};
use leeway_runtime::timing::{Bound, BoundRule, Calibration, Claims, Device, Store, calibrate};
use serde::Serialize;

use super::{default_store, print, print_json};
use crate::energy::EnergyArguments;
use crate::golden::samples;
use crate::npy;

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
    /// Runs with warm caches, at least: each input runs equally often. Fewer than
    /// 1000 are not extrapolated.
    #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Runs with cold caches.
    #[arg(long, default_value_t = 100)]
    cold_runs: u32,
    /// Run on this CPU only; by default the last one.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// The priority of SCHED_FIFO that is asked for.
    #[arg(long, value_name = "1..99", default_value_t = 10,
          value_parser = clap::value_parser!(u8).range(1..=99))]
    priority: u8,
    /// Ask for no CPU, no priority and no locked memory.
    #[arg(long, conflicts_with_all = ["cpu", "priority"])]
    no_real_time: bool,
    /// What may be promised: the probability, per run, that it is exceeded.
    #[arg(long, default_value_t = 1e-9, value_name = "P", value_parser = probability)]
    exceedance: f64,
    /// Where nothing may be extrapolated: what is added to the longest run, in
    /// percent of it.
    #[arg(long, default_value_t = 20, value_name = "PERCENT")]
    margin: u32,
    /// Of the order of the runs and of the bootstraps.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the calibration is kept, for the runtime to load; by default with
    /// the user's data.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Write it to this file as well, for `leeway admit`.
    #[arg(short, long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Draw the distribution with its tail and bounds.
    #[arg(long, value_name = "FILE.svg")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    energy: EnergyArguments,
    /// Print the result, with every run, as JSON.
    #[arg(long)]
    json: bool,
}

fn probability(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (1e-9..=1e-2).contains(&value) {
        true => Ok(value),
        false => Err("wanted a probability from 1e-9 to 1e-2".into()),
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Calibrated<'a> {
    bound: Bound,
    stage_bounds: Vec<Bound>,
    file: String,
    calibration: &'a Calibration,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(SandboxConfig::with_engine(arguments.engine))?;
    let path = &arguments.component;
    let module =
        sandbox.load_file(path).with_context(|| format!("cannot run {}", path.display()))?;
    let arrays = npy::read_npz(&arguments.validation)?;
    let inputs = samples(module.certificate().inputs(), &arrays, usize::MAX)
        .with_context(|| format!("{}", arguments.validation.display()))?;
    let store = Store::new(match &arguments.store {
        Some(directory) => directory.clone(),
        None => default_store()?,
    })?;

    let mut calibration = measure(arguments, &sandbox, &module, &inputs)?;
    calibration.energy = energy(arguments, &module, &inputs)?;
    let file = store.save(&calibration)?;
    if let Some(output) = &arguments.output {
        let json = serde_json::to_vec(&calibration)?;
        std::fs::write(output, json).with_context(|| format!("{}", output.display()))?;
    }
    if let Some(picture) = &arguments.picture {
        let svg =
            leeway_lab::report::timing_picture(&calibration, &module.certificate().model.name);
        std::fs::write(picture, svg).with_context(|| format!("{}", picture.display()))?;
    }
    let rule =
        BoundRule { exceedance: arguments.exceedance, margin: f64::from(arguments.margin) / 100.0 };
    let calibrated = Calibrated {
        bound: calibration.bound(&rule),
        stage_bounds: calibration.stage_bounds(&rule),
        file: file.display().to_string(),
        calibration: &calibration,
    };
    match arguments.json {
        true => print_json(&calibrated),
        false => {
            let mut text = table::text(&calibration, module.certificate(), &rule);
            text += &format!("\nkept in {}", calibrated.file);
            if let Some(picture) = &arguments.picture {
                text += &format!("\ndrawn in {}", picture.display());
            }
            print(&text)
        }
    }
}

/// Measures on a thread of its own, as its real-time set-up is not undone.
fn measure(
    arguments: &Arguments,
    sandbox: &Sandbox,
    module: &Module,
    inputs: &[Vec<Tensor>],
) -> anyhow::Result<Calibration> {
    let wanted = match arguments.no_real_time {
        true => RealTime::default(),
        false => RealTime {
            cpu: arguments.cpu.or_else(|| allowed_cpus().last().copied()),
            priority: Some(arguments.priority),
            lock_memory: true,
        },
    };
    let options = MeasureOptions {
        repetitions: (arguments.runs as usize).div_ceil(inputs.len().max(1)),
        cold_runs: arguments.cold_runs as usize,
        seed: arguments.seed,
        ..MeasureOptions::default()
    };
    let bar = bar();
    let on_thread = || {
        let real_time = wanted.apply();
        let claims = Claims {
            module: module.digest(),
            engine: sandbox.engine_kind(),
            engine_hash: sandbox.engine_hash(),
            device: Device::of_this_machine(wanted.cpu.filter(|_| real_time.pinned.is_granted())),
        };
        let mut instance = module.instantiate()?;
        let progress = &mut |progress| show(&bar, progress);
        anyhow::Ok(calibrate(&mut instance, inputs, claims, real_time, &options, progress)?)
    };
    let measured = std::thread::scope(|scope| scope.spawn(on_thread).join());
    bar.finish_and_clear();
    measured.map_err(|_| anyhow!("the calibration's thread panicked"))?
}

/// On the calling thread, without its own real-time set-up: what samples the sensors
/// would have it as well, and never get the core.
fn energy(
    arguments: &Arguments,
    module: &Module,
    inputs: &[Vec<Tensor>],
) -> anyhow::Result<Option<PerInference>> {
    let mut instance = module.instantiate()?;
    let stages = 0..=module.certificate().last_stage();
    let mut turn = inputs.iter().cycle();
    arguments.energy.measure(&mut || {
        let inputs = turn.next().map_or(&[][..], Vec::as_slice);
        instance.run(stages.clone(), inputs, &Limits::default()).map(|run| run.elapsed)
    })
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32.cyan/dim} {percent:>3} %  {elapsed}  {msg}")
        .expect("the template is well-formed");
    // Drawing is rare: it must not disturb what is measured.
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(2)).with_style(style)
}

fn show(bar: &ProgressBar, progress: Progress) {
    let message = match progress.phase {
        Phase::Warm => "warm runs",
        Phase::Cold => "cold runs",
        Phase::Analysing => "fitting the tails",
    };
    if progress.done == 1 {
        bar.set_length(progress.total as u64);
        bar.set_message(message);
    }
    bar.set_position(progress.done as u64);
}
