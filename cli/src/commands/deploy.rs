//! `leeway deploy`: a module to a device, which verifies it and brings it in.

use std::fs::File;

use anyhow::Context as _;
use clap::Args;
use leeway_control::DeployEvent;

use super::{print, print_json};
use crate::deployment::DeployArguments;
use crate::device::DeviceArguments;
use crate::registry;
use crate::source::{ModuleSource, SourceArguments};

/// Send a module with its signature to a device and have it deployed. Each step is
/// told; what is refused leaves the version that serves as it is.
#[derive(Args)]
pub struct Arguments {
    /// The module: a component, whose signature is beside it as MODEL.wasm.sig; one in a
    /// registry or in a bundle; or the digest of one on a fog host (--from).
    #[arg(value_name = "MODEL.wasm|oci://HOST/NAME:TAG|FILE.tar[#NAME]|sha256:...")]
    module: ModuleSource,
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    deploy: DeployArguments,
    /// Print what was deployed as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let client = arguments.device.client()?;
    let module = arguments.source.fetch(&arguments.module)?;
    let request = arguments.deploy.request(&module)?;
    let mut file = File::open(&module.path).with_context(|| module.path.display().to_string())?;
    let bar = registry::bar(0);
    client.send_from(module.digest, &mut file, &mut |bytes, total| {
        bar.set_length(total);
        bar.set_position(bytes);
    })?;
    bar.finish_and_clear();
    let deployed = client.deploy_signed(&request, &module.signatures(), |event| {
        if let DeployEvent::Progress(progress) = event {
            eprintln!("{:12} {}", progress.step.to_string(), progress.found);
        }
    })?;
    match arguments.json {
        true => print_json(&deployed),
        false => {
            print(&format!("{} {} serves ({})", deployed.model, deployed.version, deployed.digest))
        }
    }
}
