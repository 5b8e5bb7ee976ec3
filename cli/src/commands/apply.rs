//! `leeway apply`: what a device shall be.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use leeway_control::desired::{DesiredState, DesiredStatus, GoalState};

use super::{print, print_json, status};
use crate::device::DeviceArguments;

/// Tell a device what it shall be: models, where they come from, their streams. It
/// supersedes at once what the device was told before, and whatever of that is under
/// way; one model's trouble holds no other one up.
#[derive(Args)]
pub struct Arguments {
    /// The desired state, TOML; described in docs/devices.md.
    desired: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// Take it also where its generation is not higher than that of the one that holds.
    #[arg(long)]
    force: bool,
    /// Wait at most so long until the device is what it shall be.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Print how far the device is as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.desired;
    let named = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(named)?;
    DesiredState::parse(text.as_bytes()).with_context(named)?;
    let client = arguments.device.client()?;
    let mut desired = client.apply(&text, arguments.force)?;
    if let Some(seconds) = arguments.wait {
        let begin = Instant::now();
        while !is_decided(&desired) && begin.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_millis(100));
            desired = client.desired()?;
        }
    }
    match arguments.json {
        true => print_json(&desired)?,
        false => print(&status::desired_text(&desired))?,
    }
    match arguments.wait {
        Some(_) if !desired.is_reached() => anyhow::bail!("the device is not what it shall be"),
        _ => Ok(()),
    }
}

/// Whether waiting does not help.
fn is_decided(desired: &DesiredStatus) -> bool {
    let decided = [GoalState::Reached, GoalState::Refused, GoalState::Lost];
    desired.models.values().all(|goal| decided.contains(&goal.state))
}
