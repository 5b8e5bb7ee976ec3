//! `leeway deploy`: a module to a device, which verifies it and brings it in.

use clap::Args;
use indicatif::ProgressBar;
use leeway_control::Progress;

use super::{print, print_json};
use crate::deployment::{self, DeployArguments, Listener};
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
    let mut told = Told { bar: None };
    let deployed = deployment::deploy(&client, &module, &request, &mut told)?;
    match arguments.json {
        true => print_json(&deployed),
        false => {
            print(&format!("{} {} serves ({})", deployed.model, deployed.version, deployed.digest))
        }
    }
}

/// A bar while the module is sent, a line for each step.
struct Told {
    bar: Option<ProgressBar>,
}

impl Listener for Told {
    fn sent(&mut self, bytes: u64, total: u64) {
        self.bar.get_or_insert_with(|| registry::bar(total)).set_position(bytes);
    }

    fn done(&mut self, progress: &Progress) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        eprintln!("{:12} {}", progress.step.to_string(), progress.found);
    }
}
