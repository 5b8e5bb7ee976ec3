//! The statistics extension: what a model was asked for, and how long it took.

use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The answer: one entry for each version of each model that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The entries.
    pub model_stats: Vec<ModelStatistics>,
}

/// One version of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatistics {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// The time of the last inference, in milliseconds since 1970; 0 before it.
    pub last_inference: u64,
    /// The inferences that succeeded.
    pub inference_count: u64,
    /// The runs that succeeded: as many, since nothing is batched.
    pub execution_count: u64,
    /// What became of the requests, and how long the parts took.
    pub inference_stats: InferenceStatistics,
    /// The runs by the size of their batch.
    pub batch_stats: Vec<BatchStatistics>,
}

/// How many, and how long all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationStatistics {
    /// How many.
    pub count: u64,
    /// How long all together, in nanoseconds.
    pub ns: u64,
}

impl AddAssign<Duration> for DurationStatistics {
    fn add_assign(&mut self, time: Duration) {
        self.count += 1;
        self.ns = self.ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What became of the requests, and how long the parts took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferenceStatistics {
    /// Requests that were answered.
    pub success: DurationStatistics,
    /// Requests that were not.
    pub fail: DurationStatistics,
    /// Waiting for a worker.
    pub queue: DurationStatistics,
    /// Reading and checking the inputs.
    pub compute_input: DurationStatistics,
    /// The run, with the copies into the sandbox and out of it.
    pub compute_infer: DurationStatistics,
    /// Writing the outputs.
    pub compute_output: DurationStatistics,
    /// Answers from a cache: there is none.
    pub cache_hit: DurationStatistics,
    /// Answers not from a cache.
    pub cache_miss: DurationStatistics,
}

/// The runs of one size of batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatistics {
    /// The size.
    pub batch_size: u64,
    /// As in [`InferenceStatistics`].
    pub compute_input: DurationStatistics,
    /// As in [`InferenceStatistics`].
    pub compute_infer: DurationStatistics,
    /// As in [`InferenceStatistics`].
    pub compute_output: DurationStatistics,
}
