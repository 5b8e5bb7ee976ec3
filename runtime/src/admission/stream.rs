//! What is asked of the device: streams of inputs, each with a model, a period and
//! a deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the local executor chooses among jobs that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    /// The job whose deadline is nearest.
    #[default]
    EarliestDeadlineFirst,
    /// The job of the stream with the highest priority.
    FixedPriority,
}

/// What becomes of an input that comes while its stream already has as many
/// waiting as it was admitted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overload {
    /// It is dropped.
    #[default]
    DropNewest,
    /// The one that has waited longest, and has not begun, makes place for it.
    DropOldest,
    /// It is given to the stream of a smaller model: [`Stream::degrade_to`].
    Degrade,
}

/// A stream of inputs for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name, which no other has.
    pub name: String,
    /// The minimum time between two inputs.
    pub period: Duration,
    /// From an input's arrival to its answer, at most.
    pub deadline: Duration,
    /// How long after its arrival an input may become ready.
    pub jitter: Duration,
    /// Under fixed priorities: the higher, the more urgent. Given for all streams
    /// or for none; then an order is found in which all deadlines are met, if
    /// there is one.
    pub priority: Option<u8>,
    /// The worst-case execution time of each of the model's stages, run by itself.
    pub stages: Vec<Duration>,
    /// The CPU core, counted from 0; any if not given.
    pub core: Option<usize>,
    /// What an overload of this stream does to it.
    pub overload: Overload,
    /// The stream of its smaller model, which takes inputs that this one cannot: under
    /// [`Overload::Degrade`], and where the whole stream is degraded. It is admitted
    /// with all others, for inputs of its own period.
    pub degrade_to: Option<String>,
    /// Whether inputs may be offloaded.
    pub offload: Option<Offloading>,
}

impl Stream {
    /// The worst-case execution time of a whole inference.
    pub fn wcet(&self) -> Duration {
        self.stages.iter().sum()
    }

    /// The stream alone: an input that it would hand on to a smaller model is dropped.
    pub fn without_smaller(&self) -> Self {
        let overload = match self.overload {
            Overload::Degrade => Overload::DropNewest,
            other => other,
        };
        Self { degrade_to: None, overload, ..self.clone() }
    }
}

/// How inputs of a stream are offloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloading {
    /// The core's time that it takes to send an input and to take an answer.
    pub setup: Duration,
}

/// The device's local executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executor {
    /// Its cores, each with one thread of its own.
    pub cores: usize,
    /// How each chooses what runs next.
    pub scheduling: Scheduling,
    /// What it adds to each segment that it runs: choosing, and handing tensors
    /// over.
    pub dispatch: Duration,
    /// How much longer than its worst case a segment may take before it is stopped.
    /// The tests count on every segment taking it.
    pub tolerance: Duration,
}

impl Default for Executor {
    /// One core, earliest deadline first.
    fn default() -> Self {
        Self {
            cores: 1,
            scheduling: Scheduling::default(),
            dispatch: Duration::from_micros(20),
            tolerance: Duration::ZERO,
        }
    }
}
