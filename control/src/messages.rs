//! The messages of the control API, as they are on the wire.

use std::collections::BTreeMap;

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::calibration::CalibrationStatus;
use crate::desired::DesiredStatus;
use crate::slots::ProbationCounts;
use crate::streams::{Conditions, StreamStatus};
use crate::{Deployed, Progress, Settings, Slots, Step};

/// Asks to deploy a module that has been sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The module.
    pub digest: Digest,
    /// The model that it must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The text of its signature's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Whether a release may be older than one that was active.
    #[serde(default)]
    pub allow_older: bool,
    /// Whether it is measured anew, where it was calibrated on the device before: what
    /// raised its bound since then is forgotten.
    #[serde(default)]
    pub recalibrate: bool,
    /// What is asked of the model from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Where the device fetches the module itself, where it was not sent: as in a
    /// desired state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl DeployRequest {
    /// A request for a module, with nothing else said.
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            model: None,
            signature: None,
            allow_older: false,
            recalibrate: false,
            settings: None,
            source: None,
            reason: None,
        }
    }
}

/// What is told of a deployment, one JSON document for each line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployEvent {
    /// A step is done.
    Progress(Progress),
    /// The version was brought in. The last event.
    Deployed(Deployed),
    /// It was not. The last event.
    Refused(Refused),
}

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The step that refused it.
    pub step: Step,
    /// What was wanted and what was seen.
    pub reason: String,
    /// Whether the same may work later.
    pub transient: bool,
}

/// Why something shall be done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reason {
    /// In words, for the history.
    pub reason: Option<String>,
}

/// How many deployments were asked to stop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cancelled {
    /// So many of the module were under way.
    pub deployments: usize,
}

/// How much of a module has been sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Bytes that are here.
    pub bytes: u64,
    /// Whether that is all of it.
    pub whole: bool,
}

/// How a device is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The models, by name.
    pub models: BTreeMap<String, ModelStatus>,
    /// Why the disk takes nothing, where it does not.
    pub read_only: Option<String>,
    /// Bytes that modules take.
    pub store_bytes: Option<u64>,
    /// The most that they may.
    pub quota_bytes: u64,
    /// The streams of all models, by name.
    #[serde(default)]
    pub streams: BTreeMap<String, StreamStatus>,
    /// What the device counts on.
    #[serde(default)]
    pub conditions: Conditions,
    /// How far it is with what it shall be, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredStatus>,
    /// Whether something is left out, as a channel has no room for all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// How a model is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelStatus {
    /// What the device remembers of it.
    pub slots: Slots,
    /// The module that answers, where one does.
    pub serving: Option<Digest>,
    /// Why none does, where one should.
    pub broken: Option<String>,
    /// How far its probation is.
    pub probation: Option<ProbationCounts>,
    /// What was measured of the module that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationStatus>,
}
