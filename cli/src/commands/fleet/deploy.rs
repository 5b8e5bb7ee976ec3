//! `leeway fleet deploy`: a version to a fleet, wave after wave.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use leeway_contract::Digest;
use leeway_fleet::run::Event;
use leeway_fleet::{Fleet, Journal, Module, Outcome, Phase, Rollout, Stopped};
use serde::Serialize;

use super::super::{print, print_json};
use super::table;
use crate::deployment::DeployArguments;
use crate::source::{ModuleSource, SourceArguments};

/// Bring a version to the devices of a fleet, wave after wave. Where more devices fail
/// than the file allows, no more are begun. Interrupted or stopped, the same command
/// goes on where it was; devices that were not reached are tried again.
#[derive(Args)]
pub struct Arguments {
    /// The fleet's file.
    #[arg(value_name = "FLEET.toml")]
    fleet: PathBuf,
    /// The module, as for `leeway deploy`.
    #[arg(value_name = "MODEL.wasm|oci://HOST/NAME:TAG|FILE.tar[#NAME]|sha256:...")]
    module: ModuleSource,
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    deploy: DeployArguments,
    /// What came of each device is kept here, by default in FLEET.toml.rollout.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Begin anew: devices where the version has failed are tried again.
    #[arg(long)]
    again: bool,
    /// The most devices that may fail, in place of the file's.
    #[arg(long)]
    failures: Option<usize>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Summary<'a> {
    digest: Digest,
    stopped: Option<Stopped>,
    waves: Vec<Counts>,
    devices: Vec<DeviceSummary<'a>>,
}

/// What came of a wave's devices.
#[derive(Default, Serialize)]
struct Counts {
    devices: usize,
    healthy: usize,
    failed: usize,
    unreachable: usize,
    waiting: usize,
}

#[derive(Serialize)]
struct DeviceSummary<'a> {
    device: &'a str,
    wave: usize,
    #[serde(flatten)]
    outcome: Option<&'a Outcome>,
}

/// Whether every device has the version in the end.
pub fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut fleet = Fleet::read(&arguments.fleet)?;
    fleet.rollout.failures = arguments.failures.unwrap_or(fleet.rollout.failures);
    let fetched = arguments.source.fetch(&arguments.module)?;
    let module = Module {
        path: fetched.path.clone(),
        signatures: fetched.signatures(),
        request: arguments.deploy.request(&fetched)?,
        health: fleet.health(),
    };
    let waves = fleet.waves();
    let mut rollout = Rollout::new(waves.clone(), fleet.limits());
    let mut journal = recalled(arguments, &fleet, fetched.digest, &mut rollout)?;
    let shown = Shown::new(&fleet);
    leeway_fleet::run::run(&fleet, &module, &mut rollout, &mut journal, &mut |rollout, event| {
        shown.show(rollout, &event);
    })?;
    shown.bar.finish_and_clear();
    let summary = Summary::new(&fleet, &waves, fetched.digest, &rollout);
    match arguments.json {
        true => print_json(&summary)?,
        false => print(&summary.text())?,
    }
    Ok(summary.waves.iter().all(|wave| wave.healthy == wave.devices))
}

/// Opens the journal and recalls what an earlier run came to.
fn recalled(
    arguments: &Arguments,
    fleet: &Fleet,
    digest: Digest,
    rollout: &mut Rollout,
) -> anyhow::Result<Journal> {
    let path = arguments.journal.clone().unwrap_or_else(|| {
        let mut name = arguments.fleet.clone().into_os_string();
        name.push(".rollout");
        name.into()
    });
    if arguments.again && path.exists() {
        std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    let (journal, entries) = Journal::open(&path, digest)?;
    for entry in entries {
        // A device that has left the fleet since is nobody's concern.
        if let Some(device) = fleet.devices.iter().position(|d| d.name == entry.device) {
            rollout.recall(device, entry.outcome);
        }
    }
    Ok(journal)
}

/// How far it is, on standard error: a bar, and a line for each device that is finished.
struct Shown<'a> {
    fleet: &'a Fleet,
    bar: ProgressBar,
}

impl<'a> Shown<'a> {
    fn new(fleet: &'a Fleet) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
        let bar = ProgressBar::new(fleet.devices.len() as u64);
        Self { fleet, bar: bar.with_style(style.expect("the template is valid")) }
    }

    fn show(&self, rollout: &Rollout, event: &Event<'_>) {
        let name = |device: usize| &self.fleet.devices[device].name;
        match event {
            Event::Began(device) => self.tell(rollout, &format!("{}: begun", name(*device))),
            Event::Phase(device, phase) => {
                let phase = match phase {
                    Phase::Sent(bytes, total) => format!("{bytes} of {total} bytes"),
                    Phase::Done(step) => step.to_string(),
                    Phase::Probation(inferences) => {
                        format!("on probation, {inferences} inferences")
                    }
                };
                self.tell(rollout, &format!("{}: {phase}", name(*device)));
            }
            Event::Finished(device, outcome) => {
                let line = format!("{:20} {}", name(*device), words(Some(*outcome)));
                self.bar.suspend(|| eprintln!("{line}"));
                self.tell(rollout, "");
            }
            Event::Pause(time) => self.tell(rollout, &format!("pause of {time:.0?}")),
        }
    }

    fn tell(&self, rollout: &Rollout, text: &str) {
        let done = rollout.outcomes().iter().flatten().count();
        let (wave, waves) = rollout.wave();
        self.bar.set_position(done as u64);
        self.bar.set_message(format!("wave {} of {waves}, {text}", wave + 1));
    }
}

/// An outcome in words.
fn words(outcome: Option<&Outcome>) -> String {
    match outcome {
        Some(Outcome::Healthy) => "healthy".into(),
        Some(Outcome::Failed { reason }) => format!("failed: {reason}"),
        Some(Outcome::Unreachable { reason }) => format!("not reached: {reason}"),
        None => "not begun".into(),
    }
}

impl<'a> Summary<'a> {
    fn new(fleet: &'a Fleet, waves: &[Vec<usize>], digest: Digest, rollout: &'a Rollout) -> Self {
        let outcome = |device: usize| rollout.outcomes()[device].as_ref();
        let counts = |wave: &Vec<usize>| {
            let mut counts = Counts { devices: wave.len(), ..Counts::default() };
            for &device in wave {
                *match outcome(device) {
                    Some(Outcome::Healthy) => &mut counts.healthy,
                    Some(Outcome::Failed { .. }) => &mut counts.failed,
                    Some(Outcome::Unreachable { .. }) => &mut counts.unreachable,
                    None => &mut counts.waiting,
                } += 1;
            }
            counts
        };
        let mut devices = Vec::with_capacity(fleet.devices.len());
        for (number, wave) in waves.iter().enumerate() {
            devices.extend(wave.iter().map(|&device| DeviceSummary {
                device: &fleet.devices[device].name,
                wave: number + 1,
                outcome: outcome(device),
            }));
        }
        let waves = waves.iter().map(counts).collect();
        Self { digest, stopped: rollout.stopped(), waves, devices }
    }

    /// A row for each wave, and one for each device that does not have it.
    fn text(&self) -> String {
        let mut waves =
            table(&["wave", "devices", "healthy", "failed", "not reached", "not begun"]);
        for (number, wave) in self.waves.iter().enumerate() {
            let Counts { devices, healthy, failed, unreachable, waiting } = wave;
            waves.add_row([&(number + 1), devices, healthy, failed, unreachable, waiting]);
        }
        let mut text = waves.to_string();
        let mut others = table(&["device", "wave", "outcome"]);
        for device in &self.devices {
            if !matches!(device.outcome, Some(Outcome::Healthy)) {
                let wave = device.wave.to_string();
                others.add_row([device.device.to_owned(), wave, words(device.outcome)]);
            }
        }
        if others.row_count() > 0 {
            text += &format!("\n\n{others}");
        }
        if let Some(stopped) = &self.stopped {
            text += &format!("\n\nstopped: {stopped}");
        }
        text
    }
}
