//! `leeway pull`: a module, with its signatures, from an OCI registry.

use std::path::PathBuf;

use clap::Args;
use leeway_contract::Digest;
use leeway_distribution::{ModuleReference, Registry};
use serde::Serialize;

use super::{print, print_json};
use crate::registry::{self, RegistryArguments};

/// Fetch a module from an OCI registry. What an interrupted transfer left is used.
#[derive(Args)]
pub struct Arguments {
    /// What to fetch: by tag, or for good by the digest of its manifest.
    #[arg(value_name = "oci://HOST/NAME:TAG|@sha256:...")]
    reference: ModuleReference,
    /// Where the component goes. Its signatures go beside it, as FILE.sig and
    /// FILE.1.sig, FILE.2.sig...
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Refuse the module unless one of its cosign signatures is by this key (PEM);
    /// may be given more than once.
    #[arg(long = "cosign-key", value_name = "FILE.pub")]
    cosign_keys: Vec<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Pulled {
    reference: String,
    manifest: Digest,
    component: Digest,
    bytes: u64,
    signatures: Vec<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (reference, output) = (&arguments.reference, &arguments.output);
    let keys = crate::source::cosign_keys(&arguments.cosign_keys)?;
    let (resolved, signatures) = registry::block_on(async {
        let registry = Registry::new(reference, arguments.registry.options()).await?;
        let resolved = registry.resolve(reference).await?;
        if !keys.is_empty() {
            registry.verify_cosign(reference, &resolved, &keys).await?;
        }
        let signatures = registry.signatures(reference, &resolved).await?;
        let progress = registry::bar(resolved.component.bytes);
        let seen = |bytes| progress.set_position(bytes);
        registry.fetch_file(reference, &resolved, output, &seen).await?;
        progress.finish_and_clear();
        anyhow::Ok((resolved, signatures))
    })??;
    let pulled = Pulled {
        reference: reference.to_string(),
        manifest: resolved.manifest.digest,
        component: resolved.component.digest,
        bytes: resolved.component.bytes,
        signatures: registry::write_signatures(output, &signatures)?,
    };
    match arguments.json {
        true => print_json(&pulled),
        false => print(&format!(
            "{}\n  component   {}\n  manifest    {}\n  signatures  {}",
            output.display(),
            pulled.component,
            pulled.manifest,
            pulled.signatures.len()
        )),
    }
}
