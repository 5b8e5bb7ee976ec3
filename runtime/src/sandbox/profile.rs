//! Where a component's time goes, layer by layer.
//!
//! A component's interface shows stages, and a call of one copies tensors in and
//! out. So the core module is taken out of the component, with every function
//! exported, and the functions of the layers are called one by one, in the order
//! and with the arguments of the component's own stages. What is executed is the
//! component's code to the bit; what a call costs from outside is measured and
//! taken off. A whole run of the component itself is measured beside it. Times are
//! the thread's on the processor, the least of several: whatever else runs on the
//! machine would count for long runs more than for short ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use leeway_contract::{Fuel, Tensor, TensorSpec};
use wasm_encoder::{ExportKind, ExportSection, Module as Encoded, RawSection, SectionId};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};
use wasmtime::{Func, Store, Val};

use super::error::RunError;
use super::instance::{Instance, Limits, NEVER};
use super::module::Module;

/// Rounds, in each of which every layer runs once and the whole once.
const MOST_ROUNDS: u32 = 200;

/// The fewest of them, however long they take.
const LEAST_ROUNDS: u32 = 5;

/// Calls of a function that does nothing, in each round: the first are slower.
const CALLS_OUTSIDE: u32 = 10;

/// After so long, no round begins.
const TIME: Duration = Duration::from_secs(3);

/// How a component's time is distributed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The rounds that were measured.
    pub rounds: u32,
    /// The least time of each layer, in the order of
    /// [`leeway_contract::Certificate::layers`].
    pub layers: Vec<Duration>,
    /// The least time of a whole run, inputs copied in and outputs copied out.
    pub whole: Duration,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The component does not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Not one of the compiler's components: its layers cannot be told apart.
    #[error("this component has no layers to measure one by one: {reason}")]
    Layers {
        /// What was looked for.
        reason: String,
    },
    /// The component does not parse.
    #[error("the component's core module does not parse: {0}")]
    Parse(#[from] BinaryReaderError),
    /// The core module does not run by itself.
    #[error("the component's core module does not run: {0}")]
    Engine(String),
    /// A layer burns another amount of fuel than certified.
    #[error("layer {layer:?} is certified to burn {certified} units of fuel, and burned {seen}")]
    Fuel {
        /// The layer's name.
        layer: String,
        /// What the certificate says.
        certified: Fuel,
        /// What it burned.
        seen: Fuel,
    },
}

impl From<wasmtime::Error> for ProfileError {
    fn from(error: wasmtime::Error) -> Self {
        ProfileError::Engine(format!("{error:#}"))
    }
}

/// Measures the component that `module` was loaded from, on zeros: time does not
/// depend on the numbers, but for denormals. Asserts the fuel of each layer.
pub fn measure(module: &Module, component: &[u8]) -> Result<Profile, ProfileError> {
    let mut layers = Layers::new(component, module)?;
    let mut whole = Whole::new(module)?;
    let mut profile = Profile {
        rounds: 0,
        layers: vec![Duration::MAX; layers.calls.len()],
        whole: Duration::MAX,
    };
    let mut outside = Duration::MAX;
    let start = Instant::now();
    while profile.rounds < LEAST_ROUNDS || (profile.rounds < MOST_ROUNDS && start.elapsed() < TIME)
    {
        for _ in 0..CALLS_OUTSIDE {
            outside = outside.min(layers.time_outside()?);
        }
        for (layer, least) in profile.layers.iter_mut().enumerate() {
            *least = (*least).min(layers.time(layer)?);
        }
        profile.whole = profile.whole.min(whole.time()?);
        profile.rounds += 1;
    }
    for layer in &mut profile.layers {
        *layer = layer.saturating_sub(outside);
    }
    Ok(profile)
}

/// The component as it is.
struct Whole {
    instance: Instance,
    inputs: Vec<Tensor>,
}

impl Whole {
    fn new(module: &Module) -> Result<Self, ProfileError> {
        let zeros = |spec: &TensorSpec| Tensor {
            dtype: spec.dtype,
            shape: spec.shape.clone(),
            data: vec![0; spec.size_bytes().unwrap_or_default()],
        };
        let inputs = module.certificate().inputs().iter().map(zeros).collect();
        Ok(Self { instance: module.instantiate()?, inputs })
    }

    fn time(&mut self) -> Result<Duration, ProfileError> {
        let last = self.instance.module().certificate().last_stage();
        let start = ThreadTime::now();
        self.instance.run(0..=last, &self.inputs, &Limits::default())?;
        Ok(start.elapsed())
    }
}

/// The functions of a component's layers.
struct Layers {
    store: Store<()>,
    /// For each layer, its name, its fuel, its function, and what the component
    /// calls it with.
    calls: Vec<(String, Fuel, Func, Vec<Val>)>,
    /// A function that gives a constant.
    constant: Func,
}

impl Layers {
    fn new(component: &[u8], module: &Module) -> Result<Self, ProfileError> {
        let engine = module.compiled().instance_pre.engine();
        let core = Core::read(component)?;
        let compiled = wasmtime::Module::new(engine, core.with_all_exported()?)?;
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(NEVER);
        if module.metered() {
            store.set_fuel(u64::MAX)?;
        }
        let instance = wasmtime::Instance::new(&mut store, &compiled, &[])?;
        let mut function = |index: u32| {
            let missing = || ProfileError::Layers { reason: format!("no function {index}") };
            instance.get_func(&mut store, &exported(index)).ok_or_else(missing)
        };
        let certificate = module.certificate();
        let calls = core.layers(certificate.stages.len())?;
        let certified: Vec<_> = certificate.layers().collect();
        if certified.len() != calls.len() {
            let (seen, wanted) = (calls.len(), certified.len());
            let reason = format!("{wanted} are certified, its stages make {seen} calls");
            return Err(ProfileError::Layers { reason });
        }
        let mut layers = Vec::new();
        for ((_, layer), call) in certified.into_iter().zip(calls) {
            let arguments = call.arguments.iter().map(|&argument| Val::I32(argument)).collect();
            // Of the certified fuel, the arguments and the call are the stage's.
            let fuel = layer.fuel.0.saturating_sub(call.arguments.len() as u64 + 1);
            layers.push((layer.name.clone(), Fuel(fuel), function(call.function)?, arguments));
        }
        let constant = function(core.export("#stage-count")?)?;
        Ok(Self { store, calls: layers, constant })
    }

    /// The time of one run of a layer, and of the way there and back.
    fn time(&mut self, layer: usize) -> Result<Duration, ProfileError> {
        let (name, certified, function, arguments) = &self.calls[layer];
        let metered = self.store.get_fuel().is_ok();
        if metered {
            self.store.set_fuel(certified.0 + 1)?;
        }
        let start = ThreadTime::now();
        function.call(&mut self.store, arguments, &mut [])?;
        let elapsed = start.elapsed();
        if metered {
            let seen = Fuel(certified.0 + 1 - self.store.get_fuel()?);
            if seen != *certified {
                let (layer, certified) = (name.clone(), *certified);
                return Err(ProfileError::Fuel { layer, certified, seen });
            }
        }
        Ok(elapsed)
    }

    /// The time of the way there and back alone.
    fn time_outside(&mut self) -> Result<Duration, ProfileError> {
        if self.store.get_fuel().is_ok() {
            self.store.set_fuel(100)?;
        }
        let start = ThreadTime::now();
        self.constant.call(&mut self.store, &[], &mut [Val::I32(0)])?;
        Ok(start.elapsed())
    }
}

/// A call with constant arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    function: u32,
    arguments: Vec<i32>,
}

/// The core module of one of the compiler's components.
struct Core<'a> {
    bytes: &'a [u8],
    bodies: Vec<FunctionBody<'a>>,
    exports: BTreeMap<&'a str, u32>,
}

/// The name under which [`Core::with_all_exported`] exports a function.
fn exported(function: u32) -> String {
    format!("function {function}")
}

impl<'a> Core<'a> {
    fn read(component: &'a [u8]) -> Result<Self, ProfileError> {
        let mut bytes = None;
        for payload in Parser::new(0).parse_all(component) {
            if let Payload::ModuleSection { unchecked_range, .. } = payload?
                && bytes.replace(&component[unchecked_range]).is_some()
            {
                let reason = "it has more than one core module".into();
                return Err(ProfileError::Layers { reason });
            }
        }
        let bytes =
            bytes.ok_or_else(|| ProfileError::Layers { reason: "no core module".into() })?;
        let mut core = Self { bytes, bodies: Vec::new(), exports: BTreeMap::new() };
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::CodeSectionEntry(body) => core.bodies.push(body),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        core.exports.insert(export.name, export.index);
                    }
                }
                _ => {}
            }
        }
        Ok(core)
    }

    /// The index of the function whose export's name ends so.
    fn export(&self, suffix: &str) -> Result<u32, ProfileError> {
        let export = self.exports.iter().find(|(name, _)| name.ends_with(suffix));
        let missing = || ProfileError::Layers { reason: format!("no export {suffix:?}") };
        export.map(|(_, &index)| index).ok_or_else(missing)
    }

    /// The calls that a function makes, each with the constants right before it.
    fn calls(&self, function: u32) -> Result<Vec<Call>, ProfileError> {
        let missing = || ProfileError::Layers { reason: format!("no function {function}") };
        let body = self.bodies.get(function as usize).ok_or_else(missing)?;
        let mut calls = Vec::new();
        let mut arguments = Vec::new();
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::I32Const { value } => arguments.push(value),
                Operator::Call { function_index: function } => {
                    calls.push(Call { function, arguments: std::mem::take(&mut arguments) });
                }
                _ => arguments.clear(),
            }
        }
        Ok(calls)
    }

    /// The calls of the layers, in order. `run` calls for each stage what checks
    /// its inputs, then for each its layers, then for each what ends it.
    fn layers(&self, stages: usize) -> Result<Vec<Call>, ProfileError> {
        let of_run = self.calls(self.export("#run")?)?;
        if of_run.len() != 3 * stages {
            let seen = of_run.len();
            let reason = format!("it makes {seen} calls for {stages} stages");
            return Err(ProfileError::Layers { reason });
        }
        let mut layers = Vec::new();
        for stage in &of_run[stages..2 * stages] {
            layers.extend(self.calls(stage.function)?);
        }
        Ok(layers)
    }

    /// The same module with every function exported.
    fn with_all_exported(&self) -> Result<Vec<u8>, ProfileError> {
        let mut module = Encoded::new();
        for payload in Parser::new(0).parse_all(self.bytes) {
            let payload = payload?;
            if let Payload::ExportSection(_) = payload {
                let mut exports = ExportSection::new();
                for function in 0..self.bodies.len() as u32 {
                    exports.export(&exported(function), ExportKind::Func, function);
                }
                module.section(&exports);
            } else if let Some((id, range)) = payload.as_section()
                && id != SectionId::Custom as u8
            {
                module.section(&RawSection { id, data: &self.bytes[range] });
            }
        }
        Ok(module.finish())
    }
}
