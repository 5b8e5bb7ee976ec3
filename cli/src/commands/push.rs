//! `leeway push`: a module, with its signatures, to an OCI registry.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use leeway_contract::Digest;
use leeway_distribution::{Artifact, ModuleReference, Registry};
use serde::Serialize;

use super::{print, print_json};
use crate::registry::{self, RegistryArguments};

/// Send a module to an OCI registry, in the layout of the CNCF for Wasm artifacts.
#[derive(Args)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// Where it goes.
    #[arg(value_name = "oci://HOST/NAME:TAG")]
    reference: ModuleReference,
    /// A signature to attach; by default MODEL.wasm.sig, if it is there.
    #[arg(long = "signature", value_name = "FILE")]
    signatures: Vec<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Pushed {
    reference: String,
    manifest: Digest,
    component: Digest,
    signatures: usize,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.component;
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let signatures = registry::signatures(path, &arguments.signatures)?;
    let component = Digest::of(&bytes);
    let artifact = Artifact::of_component(bytes).with_context(|| path.display().to_string())?;
    let reference = &arguments.reference;
    let progress = registry::spinner(&format!("sending to {reference}"));
    let manifest = registry::block_on(async {
        let registry = Registry::new(reference, arguments.registry.options()).await?;
        // Signatures first: whoever sees the new tag finds them.
        registry.upload(reference, &artifact).await?;
        for signature in &signatures {
            registry.attach(reference, &artifact.descriptor(), signature.clone()).await?;
        }
        registry.push(reference, &artifact).await
    })??;
    progress.finish_and_clear();
    let pushed = Pushed {
        reference: reference.to_string(),
        manifest,
        component,
        signatures: signatures.len(),
    };
    match arguments.json {
        true => print_json(&pushed),
        false => print(&format!(
            "{reference}\n  manifest    {manifest}\n  component   {component}\n  signatures  {}",
            pushed.signatures
        )),
    }
}
