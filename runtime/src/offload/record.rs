//! What is written down of every input: what was believed, what was decided and
//! why, and what came of it.

use std::time::Duration;

use leeway_contract::{Digest, Fuel};
use serde::{Deserialize, Serialize};

use super::energy::ChoiceEnergy;
use super::fog::{FogError, Mismatch, Traffic};
use super::health::{LinkHealth, ModuleHealth};
use super::policy::{Context, Decision};
use crate::power::Basis;
use crate::thermal::Level;

/// Where the answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// From the device, as decided.
    Local,
    /// From the fog host, as decided.
    Fog,
    /// The fog host was asked and failed, and the device answered.
    Fallback,
    /// The fog host was asked and had not answered when the device had to begin,
    /// which then was the first to answer.
    Compensated,
}

/// The estimates that a decision was made by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    /// Worst-case execution time on the device.
    #[serde(rename = "wcet_ns", with = "crate::nanos")]
    pub wcet: Duration,
    /// T_L.
    #[serde(rename = "transfer_ns", with = "crate::nanos::option")]
    pub transfer: Option<Duration>,
    /// T_F.
    #[serde(rename = "fog_ns", with = "crate::nanos::option")]
    pub fog: Option<Duration>,
    /// The link's state.
    pub link: LinkHealth,
    /// How the fog host had served the module.
    pub on_fog: ModuleHealth,
    /// What an exchange was expected to move.
    pub traffic: Traffic,
    /// How long the fog host could be waited for.
    #[serde(rename = "armed_ns", with = "crate::nanos::option")]
    pub armed: Option<Duration>,
    /// The probability of an answer by then, or else by the deadline.
    pub in_time: Option<f64>,
    /// What each choice was expected to take of the device's energy.
    pub energy: Option<ChoiceEnergy>,
    /// How hot the device was.
    pub heat: Level,
}

impl Estimates {
    /// What of a context is written down.
    pub(super) fn of(context: &Context) -> Self {
        let limit = context.armed.or(context.deadline);
        let in_time = context.offloaded.zip(limit).map(|(time, limit)| time.within(limit));
        Self {
            wcet: context.wcet,
            transfer: context.transfer,
            fog: context.fog,
            link: context.link,
            on_fog: context.on_fog,
            traffic: context.traffic,
            armed: context.armed,
            in_time,
            energy: context.energy,
            heat: context.heat,
        }
    }
}

/// What an offloaded input took, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offloaded {
    /// From the call to the decoded answer, by the device's clock.
    #[serde(rename = "round_trip_ns", with = "crate::nanos")]
    pub round_trip: Duration,
    /// T_L: the round trip less T_F.
    #[serde(rename = "transfer_ns", with = "crate::nanos")]
    pub transfer: Duration,
    /// T_F: computing and waiting on the fog host, by its own report.
    #[serde(rename = "fog_ns", with = "crate::nanos")]
    pub fog: Duration,
    /// Of T_F, waiting for a worker.
    #[serde(rename = "queue_ns", with = "crate::nanos")]
    pub queue: Duration,
    /// What crossed the link.
    pub traffic: Traffic,
}

/// What sending an input in vain took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FogFailure {
    /// `unreachable`, `timed-out`, `aborted`, `refused`, `malformed`, or what differs in an
    /// answer: `other-module`, `other-request`, `other-outputs`, `other-fuel`.
    pub kind: String,
    /// The error, in words.
    pub message: String,
    /// How long it took to know.
    #[serde(rename = "elapsed_ns", with = "crate::nanos")]
    pub elapsed: Duration,
}

impl FogFailure {
    pub(super) fn new(error: &FogError, elapsed: Duration) -> Self {
        let kind = match error {
            FogError::Unreachable(_) => "unreachable",
            FogError::TimedOut { .. } => "timed-out",
            FogError::Aborted => "aborted",
            FogError::Refused { .. } => "refused",
            FogError::Malformed(_) => "malformed",
            FogError::Mismatched { what: Mismatch::Module, .. } => "other-module",
            FogError::Mismatched { what: Mismatch::Request, .. } => "other-request",
            FogError::Mismatched { what: Mismatch::Outputs, .. } => "other-outputs",
            FogError::Mismatched { what: Mismatch::Fuel, .. } => "other-fuel",
        };
        Self { kind: kind.to_owned(), message: error.to_string(), elapsed }
    }
}

/// One input, from its release to its answer. Times are by the device's clock;
/// those that are not durations count from its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The task's name.
    pub task: String,
    /// The module.
    pub module: Digest,
    /// Number of the input within its task, from 0.
    pub sequence: u64,
    /// The policy's name.
    pub policy: String,
    /// When the input was there to be worked on.
    #[serde(rename = "released_ns", with = "crate::nanos")]
    pub released: Duration,
    /// What was believed.
    pub estimates: Estimates,
    /// What was decided, and why.
    pub decision: Decision,
    /// Where the answer came from.
    pub outcome: Outcome,
    /// From the release to the answer.
    #[serde(rename = "latency_ns", with = "crate::nanos")]
    pub latency: Duration,
    /// The deadline, from the release.
    #[serde(rename = "deadline_ns", with = "crate::nanos::option")]
    pub deadline: Option<Duration>,
    /// Where the fog host answered.
    pub offloaded: Option<Offloaded>,
    /// Where the fog host was asked and failed.
    pub fog_failure: Option<FogFailure>,
    /// Execution time on the device, where it ran there.
    #[serde(rename = "local_ns", with = "crate::nanos::option")]
    pub local: Option<Duration>,
    /// Fuel that was burned for the answer, wherever that was.
    pub fuel: Fuel,
    /// What the device spent on it, by the energy model and the measured times,
    /// where there is a model.
    pub joules: Option<f64>,
    /// How these are known.
    pub joules_basis: Option<Basis>,
}

impl DecisionRecord {
    /// Whether the answer came after the deadline.
    pub fn missed(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.latency > deadline)
    }
}
