//! `leeway status`: what a device has and how it is.

use clap::Args;
use leeway_control::ModelStatus;
use leeway_control::slots::Release;

use super::{print, print_json};
use crate::device::DeviceArguments;

/// Show a device's models: what serves, what is one step away, what happened last.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let status = arguments.device.client()?.status()?;
    if arguments.json {
        return print_json(&status);
    }
    for (name, model) in &status.models {
        print(&text(name, model))?;
    }
    let stored = status.store_bytes.unwrap_or_default();
    print(&format!("store: {stored} of {} bytes", status.quota_bytes))?;
    match status.read_only {
        Some(reason) => print(&format!("nothing can be deployed: {reason}")),
        None => Ok(()),
    }
}

/// Whether and how a model serves, in words.
pub fn state(model: &ModelStatus) -> String {
    match (&model.broken, &model.probation) {
        (Some(reason), _) => format!("does not serve: {reason}"),
        (None, Some(probation)) => format!("on probation, {} inferences", probation.inferences),
        (None, None) if model.slots.pinned => "serves, pinned".to_owned(),
        (None, None) => "serves".to_owned(),
    }
}

fn text(name: &str, model: &ModelStatus) -> String {
    let release = |release: &Option<Release>| match release {
        Some(release) => format!("{} {}", release.version, release.digest.short()),
        None => "none".to_owned(),
    };
    let (slots, state) = (&model.slots, state(model));
    let last = slots.history.last().map(|entry| format!("\n  last       {}", entry.reason));
    format!(
        "{name}: {state}\n  active     {}\n  previous   {}\n  candidate  {}{}",
        release(&slots.active),
        release(&slots.previous),
        release(&slots.candidate),
        last.unwrap_or_default()
    )
}
