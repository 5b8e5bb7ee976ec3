//! What a device says of itself on a channel that it was not asked on: events, and what
//! became of a desired state that came that way.

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::deployment::Step;
use crate::desired::GoalState;
use crate::slots;

/// Something happened to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum DeviceEvent {
    /// An attempt to bring a version in is done with a step.
    Step {
        /// The model.
        model: String,
        /// The step.
        step: Step,
        /// What was found.
        found: String,
    },
    /// How far the device is with what the model shall be has changed.
    Goal {
        /// The model.
        model: String,
        /// How far it is.
        state: GoalState,
        /// Why it is not further.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// There is a line more in the model's history: a swap, a refusal, a version that
    /// went back.
    History {
        /// The model.
        model: String,
        /// What happened.
        what: slots::Event,
        /// To which module.
        digest: Digest,
        /// Why.
        reason: String,
        /// When, in seconds since 1970 by a clock that may be wrong.
        at: u64,
    },
    /// So many events were not told, as nobody was reached for too long.
    Lost {
        /// How many.
        events: u64,
    },
}

/// What became of a desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredReply {
    /// Whether it holds from now on, or held already.
    pub taken: bool,
    /// Its generation, where one could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What is wrong with it, where it was not taken: nothing has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
