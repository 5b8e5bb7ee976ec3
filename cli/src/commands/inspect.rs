//! `leeway inspect`: what a component's certificate says, as a table and as JSON.
//! Nothing of the component is run, unless a profile is asked for.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use leeway_contract::{Certificate, Digest, section};
use leeway_runtime::sandbox::EngineKind;
use serde::Serialize;

use super::{print, print_json};

mod measured;
mod table;

use measured::Measured;

/// Show what a component's certificate says of it, layer by layer.
#[derive(Args)]
#[command(after_long_help = JSON)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// Run the layers one by one, and show where the time goes.
    #[arg(long)]
    profile: bool,
    /// What executes them then.
    #[arg(long, default_value = "native", value_name = "native|pulley", requires = "profile")]
    engine: EngineKind,
    /// Print the certificate, and the profile if wanted, as JSON.
    #[arg(long)]
    json: bool,
}

/// The form of the JSON. Fields may be added, but none of these goes.
const JSON: &str = "\
The JSON has these fields:
  digest                  the component's name: sha256:...
  component_bytes         the size of the file
  code_bytes              of that, WebAssembly code, without weights
  certified_fuel          of one inference, all stages
  least_activation_bytes  what the fullest layer needs: no plan needs less
  live_bytes              the most tensors of a layer: its inputs, its outputs, and
                          what later layers read
  certificate             as it is in the component; in stages[].layers[]:
    name, operator, kernel, shape (of the first output), macs, fuel,
    weight_bytes, live_bytes, activation_bytes (with scratch space)
  profile                 with --profile:
    engine, rounds        what ran, and how often each layer did
    compile_ns            from the component to machine code
    machine_code_bytes    the size of that, in whole pages
    instantiate_ns        the least time to a ready instance
    whole_ns              the least time of a whole run, copies in and out too
    layers_ns             the sum of all layers' times
    layers                stage, name, ns (the least time), share (of layers_ns)";

#[derive(Serialize)]
struct Inspected {
    digest: Digest,
    component_bytes: usize,
    code_bytes: usize,
    certified_fuel: u64,
    least_activation_bytes: u64,
    live_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Measured>,
    certificate: Certificate,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = arguments.component.display();
    let bytes =
        std::fs::read(&arguments.component).with_context(|| format!("cannot read {path}"))?;
    let certificate = section::read_certificate(&bytes).with_context(|| path.to_string())?;
    section::read_golden(&bytes, &certificate).with_context(|| path.to_string())?;
    let measure = || measured::measure(&bytes, arguments.engine);
    let inspected = Inspected {
        digest: Digest::of(&bytes),
        component_bytes: bytes.len(),
        code_bytes: section::code_bytes(&bytes)?,
        certified_fuel: certificate.total_fuel().0,
        least_activation_bytes: certificate.least_activation_bytes(),
        live_bytes: certificate.live_bytes(),
        profile: arguments.profile.then(measure).transpose()?,
        certificate,
    };
    match arguments.json {
        true => print_json(&inspected),
        false => print(&table::text(&inspected)),
    }
}
