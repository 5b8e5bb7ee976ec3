//! `leeway admit`: whether a device keeps every deadline of a set of streams.

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets};
use leeway_runtime::admission::{Admission, Plan, Scheduling, Standing, Stream, admit, plan};
use leeway_runtime::sandbox::{Sandbox, SandboxConfig};
use leeway_runtime::sysfs::Root;
use leeway_runtime::thermal::{Frequency, Validity};
use leeway_runtime::timing::{Claims, Device};
use serde::Serialize;

use super::{print, print_json};
use crate::streams::{self, Asked, Hot};
use crate::units;

/// Test whether a device keeps every deadline of a set of streams, whatever the
/// network does.
#[derive(Args)]
pub struct Arguments {
    /// The streams and the executor.
    #[arg(value_name = "STREAMS.toml")]
    streams: PathBuf,
    /// The tree that has `proc` and `sys` in it, of the device that calibrations are
    /// compared with.
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysfs_root: PathBuf,
    /// Print the promise, or the refusal, as JSON.
    #[arg(long)]
    json: bool,
}

/// A calibration, beside this machine.
#[derive(Serialize)]
struct Compared {
    stream: String,
    /// Whether it is of this device and engine.
    holds_here: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<Difference>,
    /// How many times slower the clock is here than it was then: what its times are
    /// multiplied by.
    slower: f64,
}

/// The first claim that differs.
#[derive(Serialize)]
struct Difference {
    claim: &'static str,
    here: String,
    calibrated: String,
}

#[derive(Serialize)]
struct Promised<'a> {
    #[serde(flatten)]
    admission: &'a Admission,
    calibrations: &'a [Compared],
    /// While the device is hot, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    hot: Option<Standing>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Asked { mut streams, executor, claims, hot } = streams::read(&arguments.streams)?;
    let root = &arguments.sysfs_root;
    let compared = claims.into_iter().map(|claims| compare(claims, root));
    let calibrations = compared.collect::<anyhow::Result<Vec<Compared>>>()?;
    for stream in &mut streams {
        let of_stream = calibrations.iter().find(|compared| compared.stream == stream.name);
        let slower = of_stream.map_or(1.0, |compared| compared.slower);
        stream.stages.iter_mut().for_each(|stage| *stage = stage.mul_f64(slower));
    }
    let hot = hot.map(|Hot { rules, streams }| {
        let plan = plan(&streams, &executor, &rules.degrade, 0);
        (plan.standing(&streams), plan)
    });
    match admit(&streams, &executor) {
        Ok(admission) if arguments.json => {
            let standing = hot.as_ref().map(|(standing, _)| standing.clone());
            print_json(&Promised {
                admission: &admission,
                calibrations: &calibrations,
                hot: standing,
            })?;
            kept_when_hot(hot).map(drop)
        }
        Ok(admission) => {
            print(&text(&streams, &admission, executor.scheduling))?;
            print(&foreign(&calibrations))?;
            match kept_when_hot(hot)? {
                Some(text) => print(&text),
                None => Ok(()),
            }
        }
        Err(refusal) => {
            if arguments.json {
                print_json(&refusal)?;
            }
            Err(anyhow::Error::new(refusal).context("not admitted"))
        }
    }
}

/// What is kept while the device is hot, in words.
fn kept_when_hot(hot: Option<(Standing, Plan)>) -> anyhow::Result<Option<String>> {
    let Some((standing, plan)) = hot else { return Ok(None) };
    match plan.refusal.filter(|_| !plan.given_up.is_empty()) {
        Some(refusal) => {
            Err(anyhow::Error::new(refusal).context("not admitted while the device is hot"))
        }
        None if standing.set_aside.is_empty() => {
            Ok(Some("while the device is hot: admitted as well".into()))
        }
        None => Ok(Some(format!(
            "while the device is hot: admitted, with {} by their smaller models",
            standing.set_aside.join(", ")
        ))),
    }
}

/// Whether a calibration is of this machine, as that is set up now.
fn compare((stream, claims): (String, Claims), root: &Path) -> anyhow::Result<Compared> {
    let core = claims.device.core;
    let present = Frequency::read(&Root::new(root), core.unwrap_or(0));
    let slower = Validity::of(&claims.device, &present, false).factor();
    let sandbox = Sandbox::new(SandboxConfig::with_engine(claims.engine))?;
    let here = Claims {
        engine_hash: sandbox.engine_hash(),
        device: Device::read(root, core),
        ..claims.clone()
    };
    let differs = here.difference(&claims).map(|(claim, here, calibrated)| Difference {
        claim,
        here,
        calibrated,
    });
    Ok(Compared { stream, holds_here: differs.is_none(), differs, slower })
}

/// Which calibrations are of another device or engine.
fn foreign(calibrations: &[Compared]) -> String {
    let foreign = |compared: &Compared| {
        let Difference { claim, here, calibrated } = compared.differs.as_ref()?;
        let at_clock = match compared.slower {
            slower if slower > 1.0 => format!(
                "; the clock is {slower:.2} times slower here, and its times were multiplied by that"
            ),
            _ => String::new(),
        };
        Some(format!(
            "stream {:?} was calibrated on another device: its {claim} is {calibrated:?}, here it \
             is {here:?}; the promise holds there, for one here run `leeway calibrate` here{at_clock}",
            compared.stream
        ))
    };
    let lines: Vec<String> = calibrations.iter().filter_map(foreign).collect();
    match (calibrations.len(), lines.len()) {
        (0, _) => "no stream is calibrated: the times are those of the file".into(),
        (_, 0) => "the calibrations are of this device and engine".into(),
        _ => lines.join("\n"),
    }
}

fn text(streams: &[Stream], admission: &Admission, scheduling: Scheduling) -> String {
    let header = [
        "stream",
        "core",
        "load",
        "period",
        "deadline",
        "response",
        "slack",
        "held up by",
        "runs in",
        "waits for the fog",
    ];
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    for (stream, admitted) in streams.iter().zip(&admission.streams) {
        let held_up = admitted
            .blocked_by
            .as_ref()
            .map_or("-".into(), |by| format!("{by}, {}", units::duration(admitted.blocking)));
        let segments = match admitted.segments.len() {
            1 => "one piece".to_owned(),
            count => format!("{count} pieces"),
        };
        table.add_row([
            Cell::new(&stream.name),
            Cell::new(admitted.core),
            Cell::new(format!("{:.1} %", 100.0 * admitted.utilisation)),
            Cell::new(units::duration(stream.period)),
            Cell::new(units::duration(stream.deadline)),
            Cell::new(units::duration(admitted.response)),
            Cell::new(units::duration(admitted.slack)),
            Cell::new(held_up),
            Cell::new(segments),
            Cell::new(admitted.arm_after.map_or("-".into(), units::duration)),
        ]);
    }
    for column in [1, 2, 3, 4, 5, 6, 9] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let rule = match scheduling {
        Scheduling::EarliestDeadlineFirst => "earliest deadline first",
        Scheduling::FixedPriority => "fixed priorities",
    };
    format!("admitted: every deadline is kept, by {rule}\n{table}")
}
