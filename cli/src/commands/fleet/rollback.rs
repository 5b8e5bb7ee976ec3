//! `leeway fleet rollback`: a model to the version before, on every device at once.

use std::path::PathBuf;

use clap::Args;
use leeway_client::{Client, ClientError};
use leeway_contract::Digest;
use leeway_fleet::{Fleet, each};
use serde::Serialize;

use super::super::{print, print_json};
use super::table;

/// Return a model to the version before, on every device of a fleet at once. The exit
/// status is 1 where a device did not.
#[derive(Args)]
pub struct Arguments {
    /// The fleet's file.
    #[arg(value_name = "FLEET.toml")]
    fleet: PathBuf,
    /// The model's name.
    model: String,
    /// Only devices with this label.
    #[arg(long)]
    label: Option<String>,
    /// Only devices on which this module is active; the others keep what they have.
    #[arg(long, value_name = "sha256:...")]
    digest: Option<Digest>,
    /// Why, for the devices' history.
    #[arg(long)]
    reason: Option<String>,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
}

/// What a device did.
#[derive(Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
enum Done {
    RolledBack { to: Digest },
    Kept,
    Error { error: String },
}

#[derive(Serialize)]
struct Row<'a> {
    device: &'a str,
    #[serde(flatten)]
    done: Done,
}

/// Whether all of them did.
pub fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut fleet = Fleet::read(&arguments.fleet)?;
    fleet.select(arguments.label.as_deref())?;
    let done = each::ask(&fleet, |_, client| roll_back(arguments, client))?;
    let error = |error: ClientError| Done::Error { error: error.to_string() };
    let rows: Vec<Row<'_>> = (fleet.devices.iter().zip(done))
        .map(|(device, done)| Row { device: &device.name, done: done.unwrap_or_else(error) })
        .collect();
    match arguments.json {
        true => print_json(&rows)?,
        false => print(&text(&rows))?,
    }
    Ok(!rows.iter().any(|row| matches!(row.done, Done::Error { .. })))
}

fn text(rows: &[Row<'_>]) -> String {
    let mut table = table(&["device", "result"]);
    for Row { device, done } in rows {
        let words = match done {
            Done::RolledBack { to } => format!("rolled back to {}", to.short()),
            Done::Kept => "keeps what it has".into(),
            Done::Error { error } => error.clone(),
        };
        table.add_row([(*device).to_owned(), words]);
    }
    table.to_string()
}

fn roll_back(arguments: &Arguments, client: &Client) -> Result<Done, ClientError> {
    if let Some(wanted) = arguments.digest {
        let status = client.status()?;
        let active = status.models.get(&arguments.model).and_then(|m| m.slots.active.as_ref());
        if active.is_none_or(|active| active.digest != wanted) {
            return Ok(Done::Kept);
        }
    }
    let rolled = client.roll_back(&arguments.model, arguments.reason.clone())?;
    Ok(Done::RolledBack { to: rolled.to })
}
