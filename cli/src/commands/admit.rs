//! `leeway admit`: whether a device keeps every deadline of a set of streams.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets};
use leeway_runtime::admission::{Admission, Scheduling, Stream, admit};

use super::{print, print_json};
use crate::{streams, units};

/// Test whether a device keeps every deadline of a set of streams, whatever the
/// network does.
#[derive(Args)]
pub struct Arguments {
    /// The streams and the executor.
    #[arg(value_name = "STREAMS.toml")]
    streams: PathBuf,
    /// Print the promise, or the refusal, as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (streams, executor) = streams::read(&arguments.streams)?;
    match admit(&streams, &executor) {
        Ok(admission) if arguments.json => print_json(&admission),
        Ok(admission) => print(&text(&streams, &admission, executor.scheduling)),
        Err(refusal) => {
            if arguments.json {
                print_json(&refusal)?;
            }
            Err(anyhow::Error::new(refusal).context("not admitted"))
        }
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
