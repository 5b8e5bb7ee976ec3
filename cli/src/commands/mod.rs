//! The commands, one module each.

use std::io::Write as _;

use serde::Serialize;

pub mod admit;
pub mod build;
pub mod bundle;
pub mod calibrate;
pub mod certify;
pub mod inspect;
pub mod lab;
pub mod pull;
pub mod push;
pub mod run;

/// Inputs of `--golden` that a component is measured on, where the compiler did
/// not emit it.
const MEASURED_INPUTS: usize = 64;

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
