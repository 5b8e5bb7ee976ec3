//! `leeway rollback` and `leeway pin`: which of a device's versions serves.

use clap::Args;

use super::print;
use crate::device::DeviceArguments;

/// Return a model to the version before, at once.
#[derive(Args)]
pub struct RollbackArguments {
    /// The model.
    model: String,
    #[command(flatten)]
    device: DeviceArguments,
    /// Why, for the device's history.
    #[arg(long)]
    reason: Option<String>,
}

/// Keep the version that serves: deployments of the model are refused.
#[derive(Args)]
pub struct PinArguments {
    /// The model.
    model: String,
    #[command(flatten)]
    device: DeviceArguments,
    /// Allow deployments again.
    #[arg(long)]
    undo: bool,
    /// Why, for the device's history.
    #[arg(long)]
    reason: Option<String>,
}

pub fn roll_back(arguments: &RollbackArguments) -> anyhow::Result<()> {
    let client = arguments.device.client()?;
    client.roll_back(&arguments.model, arguments.reason.clone())?;
    let status = client.status()?;
    let active = status.models.get(&arguments.model).and_then(|model| model.slots.active.as_ref());
    match active {
        Some(release) => print(&format!("{} {} serves", arguments.model, release.version)),
        None => print(&format!("{} does not serve", arguments.model)),
    }
}

pub fn pin(arguments: &PinArguments) -> anyhow::Result<()> {
    let client = arguments.device.client()?;
    client.pin(&arguments.model, !arguments.undo, arguments.reason.clone())?;
    let verb = if arguments.undo { "is no longer pinned" } else { "is pinned" };
    print(&format!("{} {verb}", arguments.model))
}
