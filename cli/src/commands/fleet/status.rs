//! `leeway fleet status`: what serves on each device.

use std::path::PathBuf;

use clap::Args;
use leeway_control::Status;
use leeway_fleet::{Fleet, each};
use serde::Serialize;

use super::super::status::state;
use super::super::{print, print_json};
use super::table;

/// Show what serves on each device of a fleet. The exit status is 1 where a device does
/// not answer or a model does not serve.
#[derive(Args)]
pub struct Arguments {
    /// The fleet's file.
    #[arg(value_name = "FLEET.toml")]
    fleet: PathBuf,
    /// Only this model.
    model: Option<String>,
    /// Only devices with this label.
    #[arg(long)]
    label: Option<String>,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DeviceStatus<'a> {
    device: &'a str,
    status: Option<Status>,
    error: Option<String>,
}

/// Whether all answer and serve.
pub fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut fleet = Fleet::read(&arguments.fleet)?;
    fleet.select(arguments.label.as_deref())?;
    let mut seen = each::ask(&fleet, |_, client| client.status())?;
    if let Some(model) = &arguments.model {
        for status in seen.iter_mut().flatten() {
            status.models.retain(|name, _| name == model);
        }
    }
    let rows: Vec<DeviceStatus<'_>> = (fleet.devices.iter().zip(seen))
        .map(|(device, seen)| {
            let error = seen.as_ref().err().map(ToString::to_string);
            DeviceStatus { device: &device.name, status: seen.ok(), error }
        })
        .collect();
    match arguments.json {
        true => print_json(&rows)?,
        false => print(&text(&rows))?,
    }
    let serves = |status: &Status| status.models.values().all(|model| model.broken.is_none());
    Ok(rows.iter().all(|row| row.status.as_ref().is_some_and(serves)))
}

fn text(rows: &[DeviceStatus<'_>]) -> String {
    let mut table = table(&["device", "model", "version", "module", "state"]);
    for DeviceStatus { device, status, error } in rows {
        let Some(status) = status else {
            let error = error.as_deref().unwrap_or_default();
            table.add_row([device, "", "", "", error]);
            continue;
        };
        if status.models.is_empty() {
            table.add_row([device, "", "", "", "no model"]);
        }
        for (name, model) in &status.models {
            let active = model.slots.active.as_ref();
            let (version, digest) = active.map_or_else(Default::default, |release| {
                (release.version.clone(), release.digest.short())
            });
            let (device, name) = ((*device).to_owned(), name.clone());
            table.add_row([device, name, version, digest, state(model)]);
        }
    }
    table.to_string()
}
