//! What a study of deadlines produced: plain data, which the report draws and writes
//! as it stands into `study.json`.

use leeway_runtime::admission::{Admission, Stream};
use leeway_runtime::nanos;
use leeway_runtime::power::PowerModel;
use leeway_runtime::sandbox::Sandbox;
use leeway_runtime::timing::Device;
use serde::{Deserialize, Serialize};

use super::{Config, Family, Histogram, Scenario, Timed};

/// A whole study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadlineStudy {
    /// The machine and the settings.
    pub setup: Setup,
    /// The streams, as they were admitted.
    pub streams: Vec<StreamInfo>,
    /// The policies, in the order of the tables.
    pub policies: Vec<PolicyInfo>,
    /// The links over time.
    pub scenarios: Vec<ScenarioInfo>,
    /// What came of each stream under each policy in each scenario.
    pub outcomes: Vec<Outcome>,
    /// The scenario that degrades, second by second.
    pub timeline: Option<Timeline>,
}

/// The machine and the settings of a study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Whose execution times were drawn from.
    pub cpu: String,
    /// Of everything that was drawn.
    pub seed: u64,
    /// How long each scenario lasted, in simulated seconds.
    pub seconds: u32,
    /// The declared power.
    pub power: PowerModel,
    /// Version of Leeway.
    pub leeway: String,
    /// Version of wasmtime.
    pub wasmtime: String,
    /// How long the study took, in seconds.
    pub elapsed_s: f64,
}

impl Setup {
    pub(super) fn of_this_machine(config: &Config, elapsed_s: f64) -> Self {
        Self {
            cpu: Device::of_this_machine(None).cpu,
            seed: config.seed,
            seconds: config.seconds,
            power: config.power,
            leeway: env!("CARGO_PKG_VERSION").to_owned(),
            wasmtime: Sandbox::engine_claim().wasmtime,
            elapsed_s,
        }
    }
}

/// A stream, and what was promised to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// The time between two inputs.
    pub period_ns: u64,
    /// Its deadline.
    pub deadline_ns: u64,
    /// The execution time on the device that policies compare.
    pub wcet_ns: u64,
    /// What is promised of it.
    pub bound_ns: u64,
    /// The median on the fog host.
    pub fog_ns: u64,
    /// The promised response time.
    pub response_ns: u64,
    /// How long an offloaded input is waited for.
    pub arm_after_ns: u64,
}

impl StreamInfo {
    pub(super) fn all(streams: &[Stream], admission: &Admission, timed: &[Timed]) -> Vec<Self> {
        let info = |((stream, admitted), timed): ((&Stream, _), &Timed)| {
            let admitted: &leeway_runtime::admission::Admitted = admitted;
            let mut fog = timed.fog_ns.clone();
            fog.sort_unstable();
            Self {
                name: stream.name.clone(),
                period_ns: nanos::of(stream.period),
                deadline_ns: nanos::of(stream.deadline),
                wcet_ns: nanos::of(timed.wcet),
                bound_ns: nanos::of(stream.wcet()),
                fog_ns: fog[fog.len() / 2],
                response_ns: nanos::of(admitted.response),
                arm_after_ns: nanos::of(admitted.arm_after.unwrap_or_default()),
            }
        };
        streams.iter().zip(&admission.streams).zip(timed).map(info).collect()
    }
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInfo {
    /// Its name.
    pub name: String,
    /// Whether the device begins by itself when an input is armed; otherwise it waits
    /// for the fog host to fail.
    pub compensated: bool,
    /// Whose it is.
    pub source: String,
}

/// A link over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioInfo {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub family: Family,
    /// Where its figures come from.
    pub source: String,
}

impl From<&Scenario> for ScenarioInfo {
    fn from(scenario: &Scenario) -> Self {
        let Scenario { name, family, source, .. } = scenario.clone();
        Self { name, family, source }
    }
}

/// What came of one stream under one policy in one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario.
    pub scenario: String,
    /// The policy.
    pub policy: String,
    /// The stream.
    pub stream: String,
    /// Inputs that were answered.
    pub inputs: u64,
    /// Of these, late.
    pub missed: u64,
    /// Sent to the fog host.
    pub sent: u64,
    /// Answered by it.
    pub by_fog: u64,
    /// Replies that came late, or were none.
    pub discarded: u64,
    /// The sum of the response times.
    pub total_ns: u64,
    /// The same under the hindsight oracle, of the same inputs.
    pub hindsight_ns: u64,
    /// What the device spent over being idle, by its declared power.
    pub joules: f64,
    /// Response times, as parts of the deadline.
    pub responses: Histogram,
    /// By how much each was longer than under the hindsight oracle, as a part of the
    /// deadline.
    pub regret: Histogram,
}

/// One scenario second by second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// The link's rate up, in bits per second; 0 where nothing passes.
    pub bits_per_s: Vec<u64>,
    /// For each policy its name, and of the inputs of each second the part that was
    /// sent.
    pub sent: Vec<(String, Vec<f64>)>,
}

/// What came of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Of each policy and stream.
    pub outcomes: Vec<Outcome>,
    /// Second by second.
    pub timeline: Timeline,
}
