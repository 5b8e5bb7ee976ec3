//! `leeway deploy`: a module to a device, which verifies it and brings it in.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use leeway_control::{DeployEvent, DeployRequest};

use super::print;
use crate::device::DeviceArguments;
use crate::registry;

/// Send a module to a device and have it deployed. Each step is told; what is refused
/// leaves the version that serves as it is.
#[derive(Args)]
pub struct Arguments {
    /// The component; its signature is beside it, as MODEL.wasm.sig.
    component: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// The model that it must be.
    #[arg(long)]
    model: Option<String>,
    /// Whether its counter may be lower than that of a release that was active.
    #[arg(long)]
    allow_older: bool,
    /// Why, for the device's history.
    #[arg(long)]
    reason: Option<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.component;
    let module = std::fs::read(path).with_context(|| path.display().to_string())?;
    let signature = registry::signatures(path, &[])?.pop();
    let signature = signature.map(String::from_utf8).transpose();
    let signature = signature.context("the signature beside the module is no text")?;
    let client = arguments.device.client()?;
    let digest = client.send(&module)?;
    let request = DeployRequest {
        digest,
        model: arguments.model.clone(),
        signature,
        allow_older: arguments.allow_older,
        settings: None,
        reason: arguments.reason.clone(),
    };
    let deployed = client.deploy(&request, |event| {
        if let DeployEvent::Progress(progress) = event {
            eprintln!("{:12} {}", progress.step.to_string(), progress.found);
        }
    })?;
    print(&format!("{} {} serves ({})", deployed.model, deployed.version, deployed.digest))
}
