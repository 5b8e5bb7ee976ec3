//! `leeway sign`: a signature beside a module.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use leeway_contract::{Digest, section};
use leeway_deploy::trust::{Envelope, SecretKey, Statement};

use super::print;
use crate::registry;

/// Sign a module: who holds the key says that it may be deployed. The signature goes to
/// MODEL.wasm.sig; where one is there already for the same statement, this one is added.
#[derive(Args)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// The key, as `leeway keygen` makes it.
    #[arg(long, value_name = "FILE.pem")]
    key: PathBuf,
    /// Grows from release to release; devices refuse to go back. By default the seconds
    /// since 1970.
    #[arg(long)]
    counter: Option<u64>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.component;
    let pem = std::fs::read_to_string(&arguments.key)
        .with_context(|| arguments.key.display().to_string())?;
    let key = SecretKey::from_pem(&pem).with_context(|| arguments.key.display().to_string())?;
    let module = std::fs::read(path).with_context(|| path.display().to_string())?;
    let certificate = section::read_certificate(&module)?;
    let json = section::certificate_json(&module)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let counter = arguments.counter.unwrap_or(now);
    let statement = Statement::new(Digest::of(&module), &certificate, json, counter, now);
    let file = registry::beside(path, 0);
    let mut envelope = match std::fs::read(&file) {
        Ok(text) => {
            let envelope = Envelope::parse(&text).with_context(|| file.display().to_string())?;
            let is_same = envelope.statement.digest == statement.digest
                && arguments.counter.is_none_or(|counter| counter == envelope.statement.counter);
            if is_same { envelope } else { Envelope::new(statement) }
        }
        Err(_) => Envelope::new(statement),
    };
    envelope.sign(&key);
    std::fs::write(&file, envelope.to_json()).with_context(|| file.display().to_string())?;
    let signed = &envelope.statement;
    print(&format!(
        "{}\n  module    {} {}, {}\n  counter   {}\n  by        {}",
        file.display(),
        signed.model,
        signed.version,
        signed.digest,
        signed.counter,
        envelope.key_ids().map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
    ))
}
