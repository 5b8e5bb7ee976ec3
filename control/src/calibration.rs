//! What is said of what a device has measured of a model.

use serde::{Deserialize, Serialize};

/// What was measured of the version that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalibrationStatus {
    /// What is promised of its execution time at the moment.
    pub bound_ms: f64,
    /// What the kernel granted to the thread that measured it, in words.
    pub real_time: String,
    /// The joules of one inference, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyStatus>,
}

/// The joules of one inference on the device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnergyStatus {
    /// On average.
    pub joules: f64,
    /// How they are known, in words: measured or modelled, above idle or not.
    pub basis: String,
    /// The sensors that measured them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<String>,
    /// Why they are modelled and not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}
