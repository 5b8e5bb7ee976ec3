//! `leeway verify`: whether a module is what it says, and who has signed it. Its exit
//! status is 0 where all of it holds, 1 where something does not, and 2 where it could
//! not be checked.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use leeway_contract::{Certificate, Digest, section};
use leeway_deploy::trust::{
    Accepted, KeyId, Memory, PublicKey, Subject, Trust, TrustError, TrustedKey,
};
use leeway_distribution::DistributionError;
use leeway_runtime::sandbox::Sandbox;
use serde::Serialize;

use super::{print, print_json};
use crate::source::{Fetched, ModuleSource, SourceArguments};

/// Check a module's digest, certificate and signatures, without a device. The exit
/// status is 0 if all of it holds, 1 if not, 2 if it could not be checked.
#[derive(Args)]
pub struct Arguments {
    /// The module: a component, one in a registry or in a bundle, or the digest of one
    /// on a fog host (--from).
    #[arg(value_name = "MODEL.wasm|oci://HOST/NAME:TAG|FILE.tar[#NAME]|sha256:...")]
    module: ModuleSource,
    /// A public key that may have signed it, as `leeway keygen` makes it; may be given
    /// more than once.
    #[arg(long = "key", value_name = "FILE.pub.pem")]
    keys: Vec<PathBuf>,
    /// How many of the keys must have.
    #[arg(long, default_value_t = 1)]
    threshold: usize,
    /// The digest that it must have.
    #[arg(long, value_name = "sha256:...")]
    digest: Option<Digest>,
    #[command(flatten)]
    source: SourceArguments,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// One thing that was checked.
#[derive(Serialize)]
struct Check {
    check: &'static str,
    holds: bool,
    found: String,
}

#[derive(Serialize)]
struct Verdict {
    verified: bool,
    digest: Option<Digest>,
    checks: Vec<Check>,
}

/// Does all of it: the exit status is an answer.
pub fn run(arguments: &Arguments) -> ExitCode {
    let verdict = verdict(arguments).and_then(|verdict| {
        shown(arguments, &verdict)?;
        Ok(verdict.verified)
    });
    match verdict {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn verdict(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let signed = !arguments.keys.is_empty() || !arguments.source.cosign_keys().is_empty();
    ensure!(signed, "nothing says whose signature is wanted: give --key or --cosign-key");
    let trust = trust(arguments)?;
    let module = match arguments.source.fetch(&arguments.module) {
        Ok(module) => module,
        Err(error) => return refused(error),
    };
    let bytes = std::fs::read(&module.path).with_context(|| module.path.display().to_string())?;
    let mut checks = vec![digest(arguments.digest, &module)];
    match Sandbox::check(&bytes) {
        Ok(certificate) => {
            checks.push(certified(&certificate));
            if !trust.keys.is_empty() {
                checks.push(signature(&trust, &module, &bytes, &certificate)?);
            }
        }
        Err(error) => {
            checks.push(Check { check: "certificate", holds: false, found: error.to_string() });
        }
    }
    if !arguments.source.cosign_keys().is_empty() {
        let found = "by one of the given keys, for the manifest".to_owned();
        checks.push(Check { check: "cosign", holds: true, found });
    }
    let verified = checks.iter().all(|check| check.holds);
    Ok(Verdict { verified, digest: Some(module.digest), checks })
}

/// What was wrong with the bytes or signatures that came is an answer; that they did
/// not come is none.
fn refused(error: anyhow::Error) -> anyhow::Result<Verdict> {
    let check = match error.downcast_ref() {
        Some(DistributionError::Digest { .. } | DistributionError::Size { .. }) => "digest",
        Some(DistributionError::Signature { .. }) => "cosign",
        _ => return Err(error),
    };
    let checks = vec![Check { check, holds: false, found: error.to_string() }];
    Ok(Verdict { verified: false, digest: None, checks })
}

fn trust(arguments: &Arguments) -> anyhow::Result<Trust> {
    let read = |path: &PathBuf| {
        let context = || path.display().to_string();
        let pem = std::fs::read_to_string(path).with_context(context)?;
        let key = PublicKey::from_pem(&pem).with_context(context)?;
        anyhow::Ok(TrustedKey { name: path.display().to_string(), key, expires: None })
    };
    let keys = arguments.keys.iter().map(read).collect::<anyhow::Result<_>>()?;
    Ok(Trust { keys, threshold: arguments.threshold, ..Trust::default() })
}

fn digest(wanted: Option<Digest>, module: &Fetched) -> Check {
    let found = match wanted.filter(|wanted| *wanted != module.digest) {
        Some(wanted) => format!("{}, wanted {wanted}", module.digest),
        None => module.digest.to_string(),
    };
    Check { check: "digest", holds: wanted.is_none_or(|wanted| wanted == module.digest), found }
}

fn certified(certificate: &Certificate) -> Check {
    let model = &certificate.model;
    let (fuel, memory) = (certificate.total_fuel(), certificate.memory_bytes);
    let found =
        format!("{} {}, {fuel} units of fuel, {memory} bytes of memory", model.name, model.version);
    Check { check: "certificate", holds: true, found }
}

fn signature(
    trust: &Trust,
    module: &Fetched,
    bytes: &[u8],
    certificate: &Certificate,
) -> anyhow::Result<Check> {
    let model = &certificate.model;
    let subject = Subject {
        digest: module.digest,
        certificate: Digest::of(section::certificate_json(bytes)?),
        model: &model.name,
        version: &model.version,
    };
    let mut last = Err(TrustError::Unsigned);
    for envelope in &module.envelopes {
        let text = envelope.to_json();
        last = trust.check(&subject, Some(text.as_bytes()), &Memory::default());
        if last.is_ok() {
            break;
        }
    }
    let holds = last.is_ok();
    let found = match last {
        Ok(accepted) => signers(trust, &accepted),
        Err(TrustError::Unsigned) => "there is none with the module: `leeway sign` makes it".into(),
        Err(error) => error.to_string(),
    };
    Ok(Check { check: "signature", holds, found })
}

fn signers(trust: &Trust, accepted: &Accepted) -> String {
    let name = |id: &KeyId| {
        let key = trust.keys.iter().find(|key| key.key.id() == *id);
        key.map_or_else(|| format!("{id}"), |key| format!("{id} ({})", key.name))
    };
    let names: Vec<String> = accepted.signed_by.iter().map(name).collect();
    format!("release {}, by {}", accepted.counter.unwrap_or_default(), names.join(", "))
}

fn shown(arguments: &Arguments, verdict: &Verdict) -> anyhow::Result<()> {
    if arguments.json {
        return print_json(verdict);
    }
    for Check { check, holds, found } in &verdict.checks {
        print(&format!("{check:12} {:7} {found}", if *holds { "holds" } else { "WRONG" }))?;
    }
    Ok(())
}
