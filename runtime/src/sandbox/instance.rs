//! A running component: one store with one instance in it, and the calls.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use leeway_contract::{Bound, Certificate, Fuel, Tensor, TensorSpec};
use wasmtime::component::{Func, TypedFunc};
use wasmtime::{Store, UpdateDeadline};

use super::abi::{Input, RunParams, RunResults, StageCountResults};
use super::error::{LoadError, RunError};
use super::interrupt::{Interrupt, Interrupted};
use super::memory::MemoryLimit;
use super::module::{Compiled, Module};
use super::watchdog::{Deadline, DeadlinePassed};

/// What a component's start function and its `stage-count` may burn together.
/// The compiler's components have no start function and answer with a constant.
const START_FUEL: u64 = 1_000_000_000;

/// And how long that may take.
const START_TIME: Duration = Duration::from_secs(10);

/// What the host may allocate for a call's results, over the outputs' own size:
/// room for the shapes and for an error message.
const RESULT_SLACK_BYTES: usize = 1 << 20;

/// An epoch deadline that is never reached.
pub(super) const NEVER: u64 = 1 << 62;

/// What bounds one run, besides the certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The longest that the run may take by the wall clock, from the moment
    /// that `run` is called. `None`: the certificate's fuel alone bounds it.
    pub deadline: Option<Duration>,
}

impl Limits {
    /// A run that must be over after `deadline`.
    pub fn within(deadline: Duration) -> Self {
        Self { deadline: Some(deadline) }
    }
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The tensors that leave the last stage of the range, as certified.
    pub outputs: Vec<Tensor>,
    /// What the run burned; 0 where the sandbox does not meter.
    pub fuel: Fuel,
    /// The time of the guest call alone: copying the inputs into the guest's
    /// memory, the run, copying the outputs from it. Where the call needed a
    /// fresh instance, as each does whose bound is not static, also of making it.
    pub elapsed: Duration,
    /// What the component's memories had grown to when the run ended.
    pub memory_bytes: u64,
}

/// The data of a store.
pub(super) struct StoreState {
    memory: MemoryLimit,
    deadline: Option<Deadline>,
    interrupt: Option<Interrupt>,
}

impl StoreState {
    fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Interrupt::is_interrupted)
    }
}

/// A module's instance. Runs one call at a time.
///
/// Where the certificate's bound is static, calls keep nothing for the next
/// one, and the instance is used again. Otherwise, and after a call that
/// failed inside the guest, the next call gets a fresh one.
pub struct Instance {
    module: Module,
    live: Option<Live>,
}

/// A store with its instance.
struct Live {
    store: Store<StoreState>,
    run: Func,
}

impl Instance {
    pub(super) fn new(module: Module) -> Result<Self, RunError> {
        let live = Some(Live::new(module.compiled())?);
        Ok(Self { module, live })
    }

    /// The module that this is an instance of.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Runs the stages `range` on the inputs of its first stage.
    ///
    /// The store's fuel is the certificate's for this range: the run cannot
    /// burn more. Inputs and outputs are checked against the certificate.
    pub fn run(
        &mut self,
        range: RangeInclusive<u32>,
        inputs: &[Tensor],
        limits: &Limits,
    ) -> Result<Execution, RunError> {
        self.run_interruptible(range, inputs, limits, None)
    }

    /// The same run, which another thread may end.
    pub fn run_interruptible(
        &mut self,
        range: RangeInclusive<u32>,
        inputs: &[Tensor],
        limits: &Limits,
        interrupt: Option<&Interrupt>,
    ) -> Result<Execution, RunError> {
        let start = Instant::now();
        let module = self.module.clone();
        let call = Call::new(module.certificate(), range, inputs)?;
        let (mut live, making) = match self.live.take() {
            Some(live) => (live, Duration::ZERO),
            None => (Live::new(module.compiled())?, start.elapsed()),
        };
        live.store.data_mut().interrupt = interrupt.cloned();
        let (execution, state) = live.run(module.compiled(), &call, start, limits);
        if state == After::Clean && module.certificate().bound() == Bound::Static {
            self.live = Some(live);
        }
        execution.map(|run| Execution { elapsed: run.elapsed + making, ..run })
    }

    /// The component's own count of its stages, asked of a fresh instance whose
    /// functions' types are checked first.
    pub(super) fn stage_count(module: &Module) -> Result<u32, LoadError> {
        let compiled = module.compiled();
        let (stage_count, run) = (compiled.function("stage-count")?, compiled.function("run")?);
        let (mut store, instance) = start(compiled).map_err(LoadError::Start)?;
        let wrong = |function| {
            move |error: wasmtime::Error| {
                let reason = format!("it is not as in the WIT package: {error:#}");
                LoadError::Function { function, reason }
            }
        };
        let stage_count = instance
            .get_typed_func::<(), StageCountResults>(&mut store, stage_count)
            .map_err(wrong("stage-count"))?;
        instance
            .get_typed_func::<RunParams<'_>, RunResults>(&mut store, run)
            .map_err(wrong("run"))?;
        let (count,) = bounded(compiled, &mut store, |store| stage_count.call(store, ()))
            .map_err(LoadError::Start)?;
        Ok(count)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({:?})", self.module)
    }
}

/// A call whose range and inputs are those of the certificate.
struct Call<'a> {
    first: u32,
    last: u32,
    fuel: Fuel,
    outputs: &'a [TensorSpec],
    inputs: Vec<Input<'a>>,
}

impl<'a> Call<'a> {
    fn new(
        certificate: &'a Certificate,
        range: RangeInclusive<u32>,
        inputs: &'a [Tensor],
    ) -> Result<Self, RunError> {
        let (first, last) = range.clone().into_inner();
        let Some(fuel) = certificate.fuel(range) else {
            let last_stage = certificate.last_stage();
            return Err(RunError::InvalidRange { first, last, last_stage });
        };
        let specs = &certificate.stages[first as usize].inputs;
        if specs.len() != inputs.len() {
            let (wanted, seen) = (specs.len(), inputs.len());
            return Err(RunError::InputCount { stage: first, wanted, seen });
        }
        for (spec, input) in specs.iter().zip(inputs) {
            spec.check(input).map_err(RunError::Input)?;
        }
        let inputs = inputs.iter().map(Input::from).collect();
        let outputs = &certificate.stages[last as usize].outputs;
        Ok(Self { first, last, fuel, outputs, inputs })
    }

    /// Checks what the guest gave against the certificate: it may lie.
    fn check(&self, outputs: &[Tensor]) -> Result<(), RunError> {
        let (wanted, seen) = (self.outputs.len(), outputs.len());
        if wanted != seen {
            return Err(RunError::OutputCount { stage: self.last, wanted, seen });
        }
        for (spec, output) in self.outputs.iter().zip(outputs) {
            spec.check(output).map_err(RunError::Output)?;
        }
        Ok(())
    }
}

/// Whether an instance can be used again.
#[derive(PartialEq, Eq)]
enum After {
    Clean,
    Broken,
}

impl Live {
    fn new(compiled: &Compiled) -> Result<Self, RunError> {
        let (mut store, instance) = start(compiled)?;
        let index = compiled.function("run").ok();
        let run = index
            .and_then(|index| instance.get_func(&mut store, index))
            .ok_or_else(|| RunError::Engine("the function \"run\" is missing".into()))?;
        Ok(Self { store, run })
    }

    fn run(
        &mut self,
        compiled: &Compiled,
        call: &Call<'_>,
        start: Instant,
        limits: &Limits,
    ) -> (Result<Execution, RunError>, After) {
        let certified = call.fuel;
        let deadline = limits.deadline.and_then(|after| Deadline::new(start, after));
        if deadline.is_some_and(|deadline| deadline.at <= Instant::now()) {
            let deadline = limits.deadline.unwrap_or_default();
            return (Err(RunError::DeadlinePassed { deadline }), After::Clean);
        }
        let metered = compiled.sandbox.config.metered;
        // wasmtime ends a run at the first check that finds the tank empty,
        // even where nothing is wanted any more: so one unit lies below the
        // certified ones, and a run that touches it has burned too much.
        let tank = certified.0.saturating_add(1);
        let result = self.with_deadline(compiled, deadline, |live| {
            if metered {
                live.store.set_fuel(tank)?;
            }
            // After the epoch's deadline was set: from here on the epoch tells.
            if live.store.data().is_interrupted() {
                return Err(Interrupted.into());
            }
            let params = (call.first, call.last, call.inputs.as_slice());
            let started = Instant::now();
            let (result,) = live.typed_run().call(&mut live.store, params)?;
            let elapsed = started.elapsed();
            let left = if metered { live.store.get_fuel()? } else { tank };
            Ok((result, elapsed, Fuel(tank - left)))
        });
        let (result, elapsed, fuel) = match result {
            Ok(done) => done,
            Err(error) => return (Err(RunError::from_call(&error, certified)), After::Broken),
        };
        if fuel > certified {
            return (Err(RunError::OutOfFuel { certified }), After::Broken);
        }
        let outputs: Vec<Tensor> = match result {
            Ok(outputs) => outputs.into_iter().map(Tensor::from).collect(),
            Err(error) => return (Err(RunError::Guest(error.into())), After::Clean),
        };
        match call.check(&outputs) {
            Ok(()) => {
                let memory_bytes = self.store.data().memory.used_bytes();
                (Ok(Execution { outputs, fuel, elapsed, memory_bytes }), After::Clean)
            }
            Err(error) => (Err(error), After::Broken),
        }
    }

    fn typed_run<'a>(&self) -> TypedFunc<RunParams<'a>, RunResults> {
        // SAFETY: `new_unchecked` wants a function of these parameters and
        // results. `Instance::stage_count` checked that when the module was
        // loaded, before any `Live` of it was made, on the same component and
        // with the same types; only the lifetime of the borrowed inputs differs
        // from call to call, and that is no part of a component's types.
        unsafe { TypedFunc::new_unchecked(self.run) }
    }

    fn with_deadline<R>(
        &mut self,
        compiled: &Compiled,
        deadline: Option<Deadline>,
        call: impl FnOnce(&mut Self) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let _armed = arm(compiled, &mut self.store, deadline)?;
        call(self)
    }
}

/// Makes a store and an instance in it, within the start's fuel and time.
fn start(
    compiled: &Compiled,
) -> Result<(Store<StoreState>, wasmtime::component::Instance), RunError> {
    let certificate = &compiled.certificate;
    let memory = MemoryLimit::new(certificate.memory_bytes);
    let mut store =
        Store::new(compiled.engine(), StoreState { memory, deadline: None, interrupt: None });
    store.limiter(|state| &mut state.memory);
    store.epoch_deadline_callback(|store| match store.data().deadline {
        Some(deadline) if Instant::now() >= deadline.at => {
            Err(DeadlinePassed { deadline: deadline.after }.into())
        }
        _ if store.data().is_interrupted() => Err(Interrupted.into()),
        _ => Ok(UpdateDeadline::Continue(1)),
    });
    store.set_hostcall_fuel(result_bytes(certificate));
    let instance = bounded(compiled, &mut store, |store| compiled.instance_pre.instantiate(store))?;
    Ok((store, instance))
}

/// Calls into a component outside of a run, within the start's fuel and time.
fn bounded<R>(
    compiled: &Compiled,
    store: &mut Store<StoreState>,
    call: impl FnOnce(&mut Store<StoreState>) -> wasmtime::Result<R>,
) -> Result<R, RunError> {
    let deadline = Deadline::new(Instant::now(), START_TIME);
    let result = (|| {
        if compiled.sandbox.config.metered {
            store.set_fuel(START_FUEL)?;
        }
        let _armed = arm(compiled, store, deadline)?;
        call(store)
    })();
    result.map_err(|error| RunError::from_call(&error, Fuel(START_FUEL)))
}

/// Sets the store's deadline, and has the engine's epoch advance at it. The
/// order matters: an epoch that advances in between is another store's.
fn arm<'a>(
    compiled: &'a Compiled,
    store: &mut Store<StoreState>,
    deadline: Option<Deadline>,
) -> wasmtime::Result<Option<super::watchdog::Armed<'a>>> {
    let state = store.data_mut();
    state.deadline = deadline;
    let ends_early = deadline.is_some() || state.interrupt.is_some();
    store.set_epoch_deadline(if ends_early { 1 } else { NEVER });
    let Some(deadline) = deadline else { return Ok(None) };
    Ok(Some(compiled.sandbox.watchdog.arm(deadline.at)?))
}

/// What the host may allocate for one call's results: the largest stage's
/// outputs twice over, and the slack.
fn result_bytes(certificate: &Certificate) -> usize {
    let bytes = |specs: &[TensorSpec]| {
        let sizes = specs.iter().map(|spec| spec.size_bytes().unwrap_or(usize::MAX));
        sizes.fold(0, usize::saturating_add)
    };
    let largest = certificate.stages.iter().map(|stage| bytes(&stage.outputs)).max();
    largest.unwrap_or_default().saturating_mul(2).saturating_add(RESULT_SLACK_BYTES)
}
