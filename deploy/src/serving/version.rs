//! A version of a model that is loaded, and what runs it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use leeway_contract::{Digest, Fuel, Tensor};
use leeway_runtime::offload::record::DecisionRecord;
use leeway_runtime::sandbox::{Instance, Limits, Module};

use crate::state::Release;

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The model's outputs.
    pub outputs: Vec<Tensor>,
    /// From the call to the answer, waiting included.
    pub elapsed: Duration,
    /// The run on this device alone; `None` where the fog host answered.
    pub local: Option<Duration>,
    /// The fuel that was burned.
    pub fuel: Fuel,
    /// Where there is an offloader: what it decided, and why.
    pub decision: Option<Box<DecisionRecord>>,
}

/// Why a run gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct RunFailure {
    source: Box<dyn std::error::Error + Send + Sync>,
    health: bool,
}

impl RunFailure {
    /// A failure. `health`: it is the model's fault, not the input's.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>, health: bool) -> Self {
        Self { source: source.into(), health }
    }

    /// Whether it says something of the model's health.
    pub fn is_health(&self) -> bool {
        self.health
    }
}

/// Runs one version's inputs, several at a time.
pub trait Runner: Send + Sync {
    /// Runs the whole model.
    fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure>;

    /// The version does not answer any more: memory that it keeps for the next
    /// input can go. It can be run all the same.
    fn retire(&self) {}
}

/// Makes what runs a module, for its deadline. The embedder's choice: straight in
/// the sandbox ([`Instances::launch`]), or through an offloader.
pub type Launch =
    Arc<dyn Fn(&Module, Option<Duration>) -> Result<Box<dyn Runner>, RunFailure> + Send + Sync>;

/// A version that is loaded.
pub struct Version {
    /// What it is.
    pub release: Release,
    /// Its code.
    pub module: Module,
    /// What is promised of its execution time here, where that is known.
    pub bound: Option<Duration>,
    /// The deadline of its inputs.
    pub deadline: Option<Duration>,
    /// What is promised of each of its stages, where that is known.
    pub(crate) stages: Vec<Duration>,
    runner: Box<dyn Runner>,
}

impl Version {
    /// Puts a module and what runs it together.
    pub(crate) fn new(
        release: Release,
        module: Module,
        bound: Option<Duration>,
        deadline: Option<Duration>,
        stages: Vec<Duration>,
        launch: &Launch,
    ) -> Result<Self, RunFailure> {
        let runner = launch(&module, deadline)?;
        Ok(Self { release, module, bound, deadline, stages, runner })
    }

    /// The module.
    pub fn digest(&self) -> Digest {
        self.release.digest
    }

    pub(super) fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure> {
        self.runner.run(inputs)
    }

    pub(super) fn retire(&self) {
        self.runner.retire();
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("module", &self.module).finish_non_exhaustive()
    }
}

/// Runs inputs in instances of the module, as many as run at the same time.
pub struct Instances {
    module: Module,
    limits: Limits,
    idle: Mutex<Vec<Instance>>,
}

/// The longest that a first run on zeros may take.
const WARM_UP: Duration = Duration::from_secs(10);

/// Inputs of zeros.
pub(crate) fn zeros(module: &Module) -> Vec<Tensor> {
    let zeros = |spec: &leeway_contract::TensorSpec| Tensor {
        dtype: spec.dtype,
        shape: spec.shape.clone(),
        data: vec![0; spec.size_bytes().unwrap_or_default()],
    };
    module.certificate().inputs().iter().map(zeros).collect()
}

/// Instances that are kept for the next input.
const MOST_IDLE: usize = 4;

impl Instances {
    /// For [`Launch`].
    pub fn launch(
        module: &Module,
        deadline: Option<Duration>,
    ) -> Result<Box<dyn Runner>, RunFailure> {
        // The first input does not wait for its instance, nor for the pages of it and of
        // the code that a run touches first. What a model makes of zeros says nothing.
        let mut instance = module.instantiate()?;
        let stages = 0..=module.certificate().last_stage();
        if let Err(error) = instance.run(stages, &zeros(module), &Limits::within(WARM_UP)) {
            tracing::debug!(%error, "the model does not run on zeros");
            instance = module.instantiate()?;
        }
        let idle = Mutex::new(vec![instance]);
        Ok(Box::new(Self { module: module.clone(), limits: Limits { deadline }, idle }))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runner for Instances {
    fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure> {
        let start = Instant::now();
        let idle = self.idle().pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.module.instantiate()?,
        };
        let stages = 0..=self.module.certificate().last_stage();
        let execution = instance.run(stages, inputs, &self.limits);
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE {
            idle.push(instance);
        }
        drop(idle);
        let execution = execution?;
        Ok(Ran {
            outputs: execution.outputs,
            elapsed: start.elapsed(),
            local: Some(execution.elapsed),
            fuel: execution.fuel,
            decision: None,
        })
    }

    fn retire(&self) {
        self.idle().clear();
    }
}
