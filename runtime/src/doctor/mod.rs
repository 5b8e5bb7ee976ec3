//! Whether a machine is fit to run models within deadlines, and what to do where it
//! is not: what `leeway doctor` tells.
//!
//! - [`kernel`]: version, preemption, timers.
//! - [`rights`]: real-time priority and locked memory.
//! - [`processor`]: what executes WebAssembly, cores, clock frequency.
//! - [`sensors`]: temperature and power.
//! - [`storage`]: where calibrations and modules are kept.
//! - [`clock`]: the time of day, and the clock that deadlines are measured by.
//!
//! All checks are functions of a tree with `proc` and `sys` in it, and of the few
//! things that the kernel tells by calls only ([`Host`]).

mod clock;
mod kernel;
mod processor;
mod rights;
mod sensors;
mod storage;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::sysfs::Root;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing: something cannot be told, or is a matter of taste.
    Note,
    /// Leeway works, and promises less than it could.
    Warning,
    /// Leeway does not work as it should.
    Failure,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen.
    pub seen: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, seen: seen.into(), advice: None }
    }

    fn new(
        severity: Severity,
        check: &'static str,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, severity, seen: seen.into(), advice: Some(advice.into()) }
    }

    fn note(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Note, check, seen, advice)
    }

    fn warning(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, seen, advice)
    }

    fn failure(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Failure, check, seen, advice)
    }
}

/// What no file of the tree tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As Rust names it, where the tree has no `proc/sys/kernel/arch`.
    pub architecture: String,
    /// Where data are to be kept, as the machine's own path.
    pub data: PathBuf,
    /// What is free there, in bytes.
    pub free_bytes: Option<u64>,
    /// The time of day, since 1970.
    pub now: Option<Duration>,
}

impl Host {
    /// This machine, with data in this directory, or in what there will be for it.
    pub fn of_this_machine(data: &Path) -> Self {
        let existing = data.ancestors().find(|path| path.exists());
        let space = existing.and_then(|path| rustix::fs::statvfs(path).ok());
        Self {
            architecture: std::env::consts::ARCH.to_owned(),
            data: data.to_owned(),
            free_bytes: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok(),
        }
    }

    /// A machine of which there is a tree only.
    pub fn recorded(data: &Path) -> Self {
        let data = data.to_owned();
        Self { architecture: "unknown".into(), data, free_bytes: None, now: None }
    }
}

/// Makes all checks.
pub fn examine(root: &Root, host: &Host) -> Vec<Finding> {
    let mut findings = kernel::check(root);
    findings.extend(rights::check(root));
    findings.extend(processor::check(root, host));
    findings.extend(sensors::check(root));
    findings.extend(storage::check(root, host));
    findings.extend(clock::check(root, host));
    findings
}

#[cfg(test)]
mod tests;
