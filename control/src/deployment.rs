//! What a deployment goes through, step by step, and what it comes to.

use std::fmt;

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

/// A step of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The bytes come and are hashed, or are here already.
    Fetch,
    /// World and certificate are checked, before anything is compiled.
    Certificate,
    /// The signature is checked.
    Signature,
    /// The version becomes the model's candidate.
    Propose,
    /// It is compiled, or taken from the cache.
    Compile,
    /// Its golden vectors are replayed: bits and fuel.
    Golden,
    /// It is measured on this device.
    Calibrate,
    /// The whole set of streams is tested with it.
    Admit,
    /// It is made active.
    Switch,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Fetch => "fetch",
            Step::Certificate => "certificate",
            Step::Signature => "signature",
            Step::Propose => "propose",
            Step::Compile => "compile",
            Step::Golden => "golden",
            Step::Calibrate => "calibrate",
            Step::Admit => "admit",
            Step::Switch => "switch",
        })
    }
}

/// A step is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The module.
    pub digest: Digest,
    /// The step.
    pub step: Step,
    /// What it found, in words.
    pub found: String,
}

/// A version that was brought in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The module.
    pub digest: Digest,
    /// Whether it answers only a share of the inputs until it has proven itself.
    pub canary: bool,
}

/// A rollback that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolled {
    /// What was active.
    pub from: Digest,
    /// What is.
    pub to: Digest,
}
