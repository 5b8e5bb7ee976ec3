//! A version of a model that is loaded, and what runs it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use leeway_contract::{Digest, Fuel, Tensor};
use leeway_runtime::offload::record::DecisionRecord;
use leeway_runtime::sandbox::{GuestError, Instance, Limits, Module, RunError};
use leeway_runtime::timing::Watch;

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
    /// Whether it was stopped before, as it took longer than was promised.
    pub overrun: bool,
    /// Where there is an offloader: what it decided, and why.
    pub decision: Option<Box<DecisionRecord>>,
}

impl Ran {
    /// Whether the answer came after the deadline: its stream's, or else this one.
    pub(super) fn missed(&self, deadline: Option<Duration>) -> bool {
        let of_stream = self.decision.as_ref().and_then(|decision| decision.deadline);
        of_stream.or(deadline).is_some_and(|deadline| self.elapsed > deadline)
    }
}

/// Why a run gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct RunFailure {
    source: Box<dyn std::error::Error + Send + Sync>,
    fault: Fault,
}

/// What is at fault where a run gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The model.
    Model,
    /// The input.
    Input,
    /// Whoever sends more inputs than the stream was admitted for.
    Shed,
    /// The device, which cannot keep the stream's deadlines at the moment.
    SetAside,
    /// Nobody: another version takes this one's place.
    Superseded,
}

impl Fault {
    /// What is at fault where a run failed, wherever it ran.
    ///
    /// Inputs are checked against the certificate before a run. A model that refuses one
    /// all the same, by the contract's `invalid-input`, does so for its values: a word
    /// that is not in its vocabulary, say. That is the client's to put right, and no
    /// reason to roll back: else a client could take a good version away from all others
    /// by one bad input. A version that refuses all inputs does not get so far, as it does
    /// not answer its golden vectors.
    pub fn of_run(error: &RunError) -> Self {
        match error {
            RunError::InvalidRange { .. }
            | RunError::InputCount { .. }
            | RunError::Input(_)
            | RunError::Guest(GuestError::InvalidInput(_) | GuestError::InvalidRange(_)) => {
                Self::Input
            }
            _ => Self::Model,
        }
    }
}

impl RunFailure {
    /// A failure by this fault.
    pub fn of(fault: Fault, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: source.into(), fault }
    }

    /// What is at fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether it says something of the model's health.
    pub fn is_health(&self) -> bool {
        self.fault == Fault::Model
    }
}

impl From<RunError> for RunFailure {
    fn from(error: RunError) -> Self {
        Self::of(Fault::of_run(&error), error)
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

/// What is known of a version's time, and asked of it.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// How long a run may take.
    pub limit: Option<Duration>,
    /// The execution time of its worst input here, where it was calibrated.
    pub wcet: Option<Duration>,
    /// What every execution feeds. None for a version with streams: its inputs are run by
    /// the executor, and what runs beside it says nothing of its times.
    pub watch: Option<Arc<Watch>>,
}

/// Makes what runs a module when there is time: all inputs of models without streams. The
/// embedder's choice: straight in the sandbox ([`Instances::launch`]), or through an
/// offloader.
pub type Launch = Arc<dyn Fn(&Module, &Times) -> Result<Box<dyn Runner>, RunFailure> + Send + Sync>;

/// How much longer than its deadline a run outside of the promise may take.
const GRACE: Duration = Duration::from_secs(1);

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
    /// What is promised of its time at the moment, where it was calibrated.
    pub watch: Option<Arc<Watch>>,
    runner: Box<dyn Runner>,
}

impl Version {
    /// Puts a module and what runs it together.
    pub(crate) fn new(
        release: Release,
        module: Module,
        deadline: Option<Duration>,
        watch: Option<Arc<Watch>>,
        launch: &Launch,
    ) -> Result<Self, RunFailure> {
        let promised = deadline.is_some();
        let runner = launch(
            &module,
            &Times {
                limit: deadline.map(|deadline| deadline.saturating_add(GRACE)),
                wcet: watch.as_ref().map(|watch| watch.worst_input()),
                watch: watch.clone().filter(|_| !promised),
            },
        )?;
        let bound = watch.as_ref().map(|watch| watch.calibrated().0.time);
        Ok(Self { release, module, bound, deadline, watch, runner })
    }

    /// What is promised of each of its stages; empty where it was not calibrated.
    pub(crate) fn stages(&self) -> Vec<Duration> {
        let stages = self.watch.as_ref().map(|watch| watch.calibrated().1);
        stages.into_iter().flatten().map(|bound| bound.time).collect()
    }

    /// The module.
    pub fn digest(&self) -> Digest {
        self.release.digest
    }

    pub(super) fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure> {
        self.runner.run(inputs)
    }

    pub(crate) fn retire(&self) {
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
    watch: Option<Arc<Watch>>,
    idle: Mutex<Vec<Instance>>,
}

/// The longest that a first run on zeros may take.
pub(crate) const WARM_UP: Duration = Duration::from_secs(10);

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
    pub fn launch(module: &Module, times: &Times) -> Result<Box<dyn Runner>, RunFailure> {
        // The first input does not wait for its instance, nor for the pages of it and of
        // the code that a run touches first. What a model makes of zeros says nothing.
        let mut instance = module.instantiate()?;
        let stages = 0..=module.certificate().last_stage();
        if let Err(error) = instance.run(stages, &zeros(module), &Limits::within(WARM_UP)) {
            tracing::debug!(%error, "the model does not run on zeros");
            instance = module.instantiate()?;
        }
        let idle = Mutex::new(vec![instance]);
        let (limits, watch) = (Limits { deadline: times.limit }, times.watch.clone());
        Ok(Box::new(Self { module: module.clone(), limits, watch, idle }))
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
        if let Some(watch) = &self.watch {
            watch.observe(execution.elapsed);
        }
        Ok(Ran {
            outputs: execution.outputs,
            elapsed: start.elapsed(),
            local: Some(execution.elapsed),
            fuel: execution.fuel,
            overrun: false,
            decision: None,
        })
    }

    fn retire(&self) {
        self.idle().clear();
    }
}
