//! The commands, one module each.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

pub mod admit;
pub mod apply;
pub mod build;
pub mod bundle;
pub mod calibrate;
pub mod certify;
pub mod deploy;
pub mod doctor;
pub mod fleet;
pub mod inspect;
pub mod keygen;
pub mod lab;
pub mod pull;
pub mod push;
pub mod rollback;
pub mod run;
pub mod sign;
pub mod status;
pub mod verify;

/// Inputs of `--golden` that a component is measured on, where the compiler did
/// not emit it.
const MEASURED_INPUTS: usize = 64;

/// By the XDG base directory specification.
fn default_store() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let data = variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/share")))
        .context("there is no HOME to keep the calibration in: give a directory with --store")?;
    Ok(data.join("leeway/calibrations"))
}

/// Prints a value as one JSON document on standard output.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Prints a text on standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
}
