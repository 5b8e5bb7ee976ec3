//! What an experiment is made of.

use std::sync::Arc;
use std::time::Duration;

use leeway_contract::Tensor;
use leeway_runtime::offload::Options;
use leeway_runtime::offload::sensor::Sample;
use leeway_runtime::sandbox::EngineKind;

use crate::link::LinkProfile;

/// A compiled model with its data.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name in the study.
    pub name: String,
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// Inputs to calibrate the execution time with.
    pub validation: Vec<Vec<Tensor>>,
    /// What the sensor replays, with labels.
    pub test: Arc<[Sample]>,
    /// The deadline of one inference, from the release of its input.
    pub deadline: Duration,
}

/// The settings of an experiment.
#[derive(Clone, Debug)]
pub struct Config {
    /// The models, in the order of the tables.
    pub models: Vec<Model>,
    /// The links, in the order of the tables. The components are sent over the
    /// first, which had better be fast.
    pub links: Vec<LinkProfile>,
    /// What executes the models on the device. The fog host always runs native.
    pub engine: EngineKind,
    /// At most so many inputs of each model over each link; test sets that are
    /// shorter start again.
    pub inputs: usize,
    /// About how long the whole may take. Where it is not enough for `inputs`,
    /// slow links get fewer, the same ones for all policies, and at least six.
    pub time: Duration,
    /// The SCHED_FIFO priority to ask for on the device's thread.
    pub priority: Option<u8>,
    /// Of the link emulator, the sensor's order and the calibration's order.
    pub seed: u64,
    /// The offloaders' settings.
    pub options: Options,
}

impl Config {
    /// All links, the slow device, at most 72 inputs of each model and link,
    /// within 70 s.
    pub fn new(models: Vec<Model>) -> Self {
        Self {
            models,
            links: LinkProfile::all().to_vec(),
            engine: EngineKind::Pulley,
            inputs: 72,
            time: Duration::from_secs(70),
            priority: Some(10),
            seed: 1,
            options: Options::default(),
        }
    }
}
