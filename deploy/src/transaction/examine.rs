//! What is asked of a module before it may answer, one function for each step: the
//! part of the transaction that is the same on a device and on a fog host.

use std::time::Instant;

use leeway_contract::{Certificate, Digest, section};
use leeway_runtime::sandbox::{LoadError, Module, Sandbox};

use super::{Cancel, Cause, TrialOptions, trial};
use crate::compile::{CompileError, Compiler};
use crate::trust::{Accepted, Memory, Subject, Trust};

/// [`Step::Certificate`](super::Step::Certificate): world and certificate, before
/// anything is compiled. `most_bytes`: the memory that an instance may have.
pub fn certificate(bytes: &[u8], most_bytes: u64) -> Result<Certificate, Cause> {
    let certificate = Sandbox::check(bytes)?;
    match certificate.memory_bytes {
        wanted_bytes if wanted_bytes > most_bytes => {
            Err(Cause::Memory { wanted_bytes, most_bytes })
        }
        _ => Ok(certificate),
    }
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

/// [`Step::Compile`](super::Step::Compile): takes what was compiled before from the cache;
/// anything else is compiled by a program of its own, or in this process where there is
/// no `compiler`. Returns what was found, in words, too.
pub fn compile(
    sandbox: &Sandbox,
    compiler: Option<&Compiler>,
    (digest, bytes): (Digest, &[u8]),
    cancel: &Cancel,
) -> Result<(Module, String), Cause> {
    if let Some(module) = sandbox.load_compiled(bytes, digest)? {
        let found = format!("from the cache in {:.1?}", module.compile_time());
        return Ok((module, found));
    }
    let began = Instant::now();
    let module = match compiler {
        None => sandbox.load_expecting(bytes, digest)?,
        Some(compiler) => {
            compiler.compile(sandbox, bytes, cancel)?;
            // What that was good for would be lost if it were compiled here once more.
            let compiled = sandbox.load_compiled(bytes, digest)?;
            compiled.ok_or_else(|| CompileError::NotHere(LoadError::NotKept.to_string()))?
        }
    };
    Ok((module, format!("compiled in {:.1?}", began.elapsed())))
}

/// [`Step::Golden`](super::Step::Golden): replays the golden vectors; without any,
/// the model must at least burn the fuel that it is certified for. Returns what was
/// found, in words.
pub fn golden(module: &Module, options: &TrialOptions, cancel: &Cancel) -> Result<String, Cause> {
    trial::replay(module, options, cancel)
}
