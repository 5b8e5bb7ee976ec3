//! What is said of streams: what is promised to them, what happened to their inputs, and
//! what the device counts on.

use serde::{Deserialize, Serialize};

/// How a stream is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// The model that answers it.
    pub model: String,
    /// The minimum time between two inputs.
    pub period_ms: f64,
    /// From an input's arrival to its answer, at most.
    pub deadline_ms: f64,
    /// What is promised; none where nothing is, for `reason`.
    pub promised: Option<Promised>,
    /// Whether its inputs go to its smaller model, or are not taken where it has none.
    pub set_aside: bool,
    /// Why nothing is promised to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why inputs are dropped that would be handed on to a smaller model's stream, where
    /// that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_smaller: Option<String>,
    /// What is promised of its model's time on the device, alone.
    pub bound_ms: Option<f64>,
    /// Runs that took longer than what was promised then.
    pub exceeded: u64,
    /// What happened to its inputs since the device started.
    pub counts: StreamCounts,
}

/// What is promised to a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Promised {
    /// The core of the executor.
    pub core: usize,
    /// The longest from an input's arrival to its answer.
    pub response_ms: f64,
    /// What is left until the deadline then.
    pub slack_ms: f64,
    /// How long an offloaded input waits for the fog host before the device begins by
    /// itself; none where inputs stay here.
    pub arm_after_ms: Option<f64>,
}

/// What happened to the inputs of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCounts {
    /// Inputs that came.
    pub arrived: u64,
    /// Answers by the device.
    pub by_device: u64,
    /// Answers by the fog host.
    pub by_fog: u64,
    /// Inputs that were sent to the fog host.
    pub offloaded: u64,
    /// Of these, those that the device answered as the fog host had not in time.
    pub compensated: u64,
    /// Replies of the fog host that had not come in time, and were not waited for.
    #[serde(default)]
    pub late: u64,
    /// Replies that were none: of another module, to another request, not to be
    /// understood, refusals, or no connection.
    #[serde(default)]
    pub wrong: u64,
    /// Inputs that were given to the smaller model's stream.
    pub degraded: u64,
    /// Inputs that came too early and were not taken, or gave way to newer ones.
    pub shed: u64,
    /// Answers that were late.
    pub missed: u64,
    /// Inputs without an answer by the executor.
    pub failed: u64,
}

/// What the device counts on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// What the kernel granted to the thread of each core of the executor, in words.
    pub real_time: Vec<String>,
    /// How hot it is: `normal`, `warm` or `hot`.
    pub heat: String,
    /// How many streams the heat wants set aside.
    pub degraded: usize,
    /// What is different from when models were calibrated, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// What is believed of the fog host, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fog: Option<FogStatus>,
}

/// What is believed of the fog host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FogStatus {
    /// The link: `unknown`, `up` or `down`.
    pub link: String,
    /// The time of an exchange without any bytes.
    pub round_trip_ms: Option<f64>,
    /// Device to fog.
    pub up_bytes_per_s: Option<f64>,
    /// Fog to device.
    pub down_bytes_per_s: Option<f64>,
}
