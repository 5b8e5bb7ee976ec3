//! What is asked of a module before it may answer, one function for each step: the
//! part of the transaction that is the same on a device and on a fog host.

use leeway_contract::{Certificate, Digest, section};
use leeway_runtime::sandbox::{LoadError, Module, Sandbox};

use super::{Cancel, Cause, TrialOptions, trial};
use crate::trust::{Accepted, Memory, Subject, Trust};

/// [`Step::Certificate`](super::Step::Certificate): world and certificate, before
/// anything is compiled.
pub fn certificate(bytes: &[u8]) -> Result<Certificate, Cause> {
    Ok(Sandbox::check(bytes)?)
}

/// [`Step::Signature`](super::Step::Signature): whether the module with these bytes
/// and this certificate is believed.
pub fn signature(
    trust: &Trust,
    (digest, bytes): (Digest, &[u8]),
    certificate: &Certificate,
    envelope: Option<&[u8]>,
    memory: &Memory,
) -> Result<Accepted, Cause> {
    let json = section::certificate_json(bytes).map_err(LoadError::from)?;
    let subject = Subject {
        digest,
        certificate: Digest::of(json),
        model: &certificate.model.name,
        version: &certificate.model.version,
    };
    Ok(trust.check(&subject, envelope, memory)?)
}

/// [`Step::Golden`](super::Step::Golden): replays the golden vectors; without any,
/// the model must at least burn the fuel that it is certified for. Returns what was
/// found, in words.
pub fn golden(module: &Module, options: &TrialOptions, cancel: &Cancel) -> Result<String, Cause> {
    trial::replay(module, options, cancel)
}
