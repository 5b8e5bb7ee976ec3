//! `leeway lab`: the reference models on a slow device, over emulated links, with
//! a real fog host, under each policy, and a report.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leeway_lab::deadlines;
use leeway_lab::experiment::{self, Config, Progress, Step};
use leeway_lab::link::LinkProfile;
use leeway_lab::prepare::prepare_reference_models;
use leeway_lab::report::{self, Colour};
use leeway_runtime::sandbox::EngineKind;

use super::{print, print_json};
use crate::units;

/// Steps of the progress bar.
const STEPS: u64 = 1000;

/// What is studied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The talk's threshold beside the two fixed policies, on emulated links, with a
    /// real fog host.
    Offloading,
    /// Admitted streams under all policies, on links that change, in simulated time.
    Deadlines,
}

/// Play a slow device, a real link and a fog host on this machine, and report.
#[derive(Args)]
pub struct Arguments {
    /// What is studied.
    #[arg(long, value_enum, default_value = "offloading")]
    study: Which,
    /// What executes the models on the device: pulley, an interpreter, as slow
    /// as a small board; or native.
    #[arg(long, default_value = "pulley", value_name = "pulley|native")]
    device_engine: EngineKind,
    /// Only these links, by name. All by default.
    #[arg(long = "link", value_name = "NAME", value_delimiter = ',')]
    links: Vec<String>,
    /// At most so many inputs of each model over each link.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    inputs: Option<u32>,
    /// About how long the replay may take; slow links get fewer inputs then. Of
    /// deadlines: how long each link is simulated for.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Of deadlines: a recorded bandwidth trace, of which the link is played as well, in
    /// Mahimahi's format or with columns of seconds and Mbit/s. Of a pair, NAME.up and
    /// NAME.down, either file.
    #[arg(long = "trace", value_name = "FILE")]
    traces: Vec<PathBuf>,
    /// Of the link emulator and the sensor's order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the report goes.
    #[arg(long, default_value = "lab-report", value_name = "DIR")]
    output_dir: PathBuf,
    /// Print the whole study as JSON instead of the table.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.study {
        Which::Offloading => offloading(arguments),
        Which::Deadlines => study_deadlines(arguments),
    }
}

fn study_deadlines(arguments: &Arguments) -> anyhow::Result<()> {
    let start = Instant::now();
    let bar = bar();
    bar.set_message("compiling the reference models");
    let mut config = deadlines::Config::new(prepare_reference_models()?);
    config.seed = arguments.seed;
    let traces = arguments.traces.iter().map(|file| deadlines::Trace::read(file));
    config.traces = traces.collect::<Result<_, _>>()?;
    if let Some(seconds) = arguments.seconds {
        config.seconds = u32::try_from(seconds).context("--seconds")?;
    }
    let study = deadlines::run(&config, &mut |step, fraction| {
        bar.set_position((fraction * STEPS as f64) as u64);
        bar.set_message(match step {
            deadlines::Step::Calibrating(model) => format!("calibrating {model}"),
            deadlines::Step::Playing { done, of } => format!("played {done} of {of} links"),
        });
    })?;
    bar.finish_and_clear();
    let index = report::deadlines::write(&study, &arguments.output_dir)?;
    if arguments.json {
        return print_json(&study);
    }
    print(&report::deadlines::terminal(&study))?;
    let index = std::path::absolute(&index).context("the report's path")?;
    print(&format!("{}\nin {}", index.display(), units::duration(start.elapsed())))
}

fn offloading(arguments: &Arguments) -> anyhow::Result<()> {
    let start = Instant::now();
    let links = arguments.links.iter().map(|name| LinkProfile::named(name));
    let links = links.collect::<Result<Vec<_>, _>>()?;
    let bar = bar();
    bar.set_message("compiling the reference models");
    let mut config = Config::new(prepare_reference_models()?);
    if !links.is_empty() {
        config.links = links;
    }
    config.engine = arguments.device_engine;
    if let Some(inputs) = arguments.inputs {
        config.inputs = inputs as usize;
    }
    if let Some(seconds) = arguments.seconds {
        config.time = Duration::from_secs(seconds);
    }
    config.seed = arguments.seed;

    let study = experiment::run(&config, &mut |progress| show(&bar, &progress))?;
    bar.finish_and_clear();

    let files = report::write(&study, &arguments.output_dir)?;
    if arguments.json {
        return print_json(&study);
    }
    let colour = match std::io::stdout().is_terminal() {
        true => Colour::On,
        false => Colour::Off,
    };
    print(&report::terminal_table(&study, colour))?;
    let index = std::path::absolute(&files.index).context("the report's path")?;
    print(&format!("{}\nin {}", index.display(), units::duration(start.elapsed())))
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32.cyan/dim} {percent:>3} %  {elapsed}  {msg}")
        .expect("the template is well-formed");
    let target = ProgressDrawTarget::stderr_with_hz(8);
    ProgressBar::with_draw_target(Some(STEPS), target).with_style(style)
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_position((progress.fraction * STEPS as f64) as u64);
    match &progress.step {
        Step::RealTime(report) => bar.println(format!(
            "device thread: own core {}, real-time priority {}, locked memory {}",
            report.pinned, report.scheduling, report.memory
        )),
        Step::Calibrating(model) => bar.set_message(format!("calibrating {model}")),
        Step::Pushing(link) => bar.set_message(format!("pushing the components over {link}")),
        Step::Replaying { link, inputs } => {
            bar.set_message(format!("replaying over {link}: {inputs} inputs of each model"));
        }
    }
}
