//! What a study of the lab produced: the plain data between the experiment,
//! which fills it in, and the report, which draws it. All of it is serialised
//! as it stands into `lab-report/study.json`.

use serde::{Deserialize, Serialize};

use crate::link::LinkProfile;

/// Name of the policy that runs everything on the device.
pub const ALL_LOCAL: &str = "all-local";
/// Name of the policy that sends everything to the fog host.
pub const ALL_FOG: &str = "all-fog";
/// Name of the talk's policy: to the fog host where WCET > T_L + T_F.
pub const THRESHOLD: &str = "threshold";

/// Placement of an input that was answered by the device.
pub const LOCAL: &str = "local";
/// Placement of an input that was answered by the fog host.
pub const FOG: &str = "fog";
/// Placement of an input that was sent to the fog host, which failed, and then
/// answered by the device.
pub const FALLBACK: &str = "fallback";

/// A whole study: every model, under every policy, over every link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Study {
    /// What ran where: engine, CPU, versions, seed, and what is emulated.
    pub setup: Setup,
    /// The models, in the order of the tables.
    pub models: Vec<ModelInfo>,
    /// The links, fastest first.
    pub links: Vec<LinkInfo>,
    /// The names of the policies, in the order of the tables.
    pub policies: Vec<String>,
    /// One record for each input under each policy over each link, in the order
    /// in which they were decided.
    pub decisions: Vec<DecisionRow>,
}

/// The machine and the settings of a study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The device's engine: `pulley` or `native`.
    pub device_engine: String,
    /// The CPU that the device's thread was pinned to; `None` where the kernel
    /// did not grant it.
    pub device_cpu: Option<usize>,
    /// The CPU model, as the kernel names it.
    pub cpu_model: String,
    /// The seed of the link emulator and of the sensor's order.
    pub seed: u64,
    /// Version of Leeway.
    pub leeway: String,
    /// Version of wasmtime.
    pub wasmtime: String,
    /// How long the study took, in seconds.
    pub elapsed_s: f64,
}

/// One model of a study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// The component's digest, `sha256:...`.
    pub digest: String,
    /// Certified fuel of one inference.
    pub fuel: u64,
    /// Multiply-accumulate operations of one inference.
    pub macs: u64,
    /// Bytes of the input tensor.
    pub input_bytes: u64,
    /// Size of the component in bytes.
    pub component_bytes: u64,
    /// The worst input's execution time in calibration on the device, in
    /// nanoseconds: `leeway_runtime::timing::Timing::worst_input`.
    pub wcet_ns: u64,
    /// The median that was seen in calibration on the device, in nanoseconds.
    pub median_ns: u64,
    /// Every execution of the calibration, in nanoseconds.
    pub calibration_ns: Vec<u64>,
    /// The deadline of one inference, in nanoseconds.
    pub deadline_ns: u64,
    /// What was promised of its time on the device in the end, in nanoseconds.
    pub bound_ns: u64,
    /// Its executions on the device after calibration.
    pub executions: u64,
    /// Of these, those that took longer than was promised then, and raised it.
    pub exceeded: u64,
}

/// One emulated link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Its profile's name, for example `weak-wifi`.
    pub name: String,
    /// One line: bandwidth, delay, jitter, loss, outages.
    pub summary: String,
    /// Where the figures come from.
    pub source: String,
}

impl From<&LinkProfile> for LinkInfo {
    fn from(profile: &LinkProfile) -> Self {
        Self {
            name: profile.name.to_owned(),
            summary: profile.summary(),
            source: profile.source.to_owned(),
        }
    }
}

/// One input, one policy, one link: what was estimated, chosen and seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Number of the input within its model, link and policy.
    pub sequence: u64,
    /// Name of the link's profile.
    pub link: String,
    /// Name of the policy.
    pub policy: String,
    /// Name of the model.
    pub model: String,
    /// `local`, `fog`, or `fallback`: sent to the fog, which failed, then local.
    pub placement: String,
    /// WCET on the device that the decision used, in nanoseconds.
    pub wcet_ns: u64,
    /// Estimate of T_L that the decision used, in nanoseconds.
    pub estimated_tl_ns: Option<u64>,
    /// Estimate of T_F that the decision used, in nanoseconds.
    pub estimated_tf_ns: Option<u64>,
    /// From the release of the input to its answer, in nanoseconds.
    pub latency_ns: u64,
    /// T_L as measured: the round trip less what the fog reports as its own.
    pub tl_ns: Option<u64>,
    /// T_F as the fog reported it.
    pub tf_ns: Option<u64>,
    /// Execution time on the device, where it ran there.
    pub local_ns: Option<u64>,
    /// Fuel that was burned, wherever it ran.
    pub fuel: u64,
    /// The class that the model answered.
    pub predicted: usize,
    /// The class that the data set holds.
    pub label: usize,
    /// Whether the answer came after the deadline.
    pub missed: bool,
    /// What the device spent on it over being idle, by its declared power.
    pub joules: Option<f64>,
    /// Why the fog gave no answer, where it was asked and gave none.
    pub fog_error: Option<String>,
}
