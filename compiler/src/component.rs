//! From a schedule to a component and its certificate.

use leeway_contract::certificate::{Compiler, FORMAT, Layer, Model};
use leeway_contract::{
    Bound, Certificate, Digest, EngineClaim, Fuel, INFERENCE_INTERFACE, Stage, StageFuel,
    TensorSpec, WIT, WORLD,
};
use wasm_encoder::Instruction;
use wasmtime_environ::OperatorCost;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::Options;
use crate::abi::{self, Crossing, StageEnds, StageFunctions};
use crate::cost::CostError;
use crate::emit::code::{Code, Guard, LOWEST_ADDRESS};
use crate::emit::data;
use crate::emit::module::{FunctionIndex, Functions};
use crate::error::CompileError;
use crate::plan::{self, LIMIT_BYTES, PAGE, Plan, READ_SLACK};
use crate::schedule::{Schedule, Value, ValueId};
use crate::stages;
use crate::tuning::Tunable;

/// A component without its certificate, and the certificate.
#[derive(Clone, Debug)]
pub struct Compiled {
    component: Vec<u8>,
    certificate: Certificate,
    tunable: Vec<Tunable>,
}

/// A component with its certificate.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The bytes to deploy.
    pub component: Vec<u8>,
    /// What is in its certificate.
    pub certificate: Certificate,
}

impl Compiled {
    /// What will be in the certificate, but for golden vectors.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The layers that other kernels can compute as well.
    pub fn tunable(&self) -> &[Tunable] {
        &self.tunable
    }

    pub(crate) fn with_tunable(self, tunable: Vec<Tunable>) -> Self {
        Self { tunable, ..self }
    }

    /// The component with its certificate and these golden vectors in it.
    pub fn seal(&self, golden: &[leeway_contract::section::GoldenVector]) -> Sealed {
        let (mut component, mut certificate) = (self.component.clone(), self.certificate.clone());
        leeway_contract::section::append(&mut component, &mut certificate, golden);
        Sealed { component, certificate }
    }
}

/// Emits a schedule. `source` is the digest of the model's file.
pub fn emit(
    schedule: &Schedule,
    options: &Options,
    source: Digest,
) -> Result<Compiled, CompileError> {
    let file = || options.file.clone();
    let too_large = |needed_bytes| CompileError::TooLarge {
        file: file(),
        needed_bytes,
        limit_bytes: LIMIT_BYTES,
    };
    let stages = stages::cut(schedule, options.granularity);
    let ends_at = |address: &dyn Fn(ValueId) -> u32| -> Vec<StageEnds> {
        let crossings = |ids: &[ValueId]| {
            ids.iter().map(|&id| crossing(schedule.value(id), address(id))).collect()
        };
        let ends = stages.iter().map(|stage| StageEnds {
            inputs: crossings(&stage.inputs),
            outputs: crossings(&stage.outputs),
        });
        ends.collect()
    };
    // The data of the ABI comes first, so that all that is known lies together.
    let data_bytes = abi::lay_out(&ends_at(&|_| 0), LOWEST_ADDRESS, 0).segment.bytes.len();
    let plan = plan::plan(schedule, LOWEST_ADDRESS + data_bytes as u32).map_err(too_large)?;
    let ends = ends_at(&|id| plan.values[id.0]);
    let data = abi::lay_out(&ends, LOWEST_ADDRESS, plan.activations as u32);
    let used = plan.end.max(u64::from(data.arena_end) + u64::from(READ_SLACK));
    let memory_bytes = used.next_multiple_of(PAGE);
    if memory_bytes > LIMIT_BYTES {
        return Err(too_large(memory_bytes));
    }

    let cost_error = |source| CompileError::Cost { file: file(), source };
    let relaxed = options.relaxed_simd;
    let emitted = functions(schedule, &stages, &ends, &plan, &data, relaxed).map_err(cost_error)?;
    let segments: Vec<&plan::Segment> =
        std::iter::once(&data.segment).chain(&plan.segments).collect();
    let module = emitted.functions.finish(memory_bytes, data.arena);
    let defect = |reason: String| CompileError::Defect { file: file(), reason };
    let component = wrap(module).map_err(|error| defect(error.to_string()))?;
    let component =
        data::insert(&component, &segments).map_err(|error| defect(error.to_string()))?;

    let run = emitted.functions.cost(emitted.run);
    let inputs_fuel = |ends: &StageEnds| {
        // The host allocates the list, and for each tensor its dimensions and
        // its data.
        let allocations = 1 + 2 * ends.inputs.len() as u64;
        allocations * emitted.functions.cost(emitted.realloc).always
    };
    let certificate = Certificate {
        format: FORMAT,
        model: Model { name: options.name.clone(), version: options.version.clone(), source },
        compiler: Compiler {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        engine: engine_claim(options.relaxed_simd),
        call_fuel: Fuel(run.always),
        stages: stages
            .iter()
            .enumerate()
            .map(|(s, stage)| {
                let layers: Vec<Layer> = stage
                    .steps
                    .clone()
                    .map(|at| {
                        layer(schedule, &plan, at, emitted.steps[at].fuel(&emitted.functions))
                    })
                    .collect();
                let guard = s as u32;
                Stage {
                    name: layers.last().map_or_else(|| "identity".into(), |l| l.name.clone()),
                    inputs: ends[s].inputs.iter().map(|c| c.spec.clone()).collect(),
                    outputs: ends[s].outputs.iter().map(|c| c.spec.clone()).collect(),
                    fuel: StageFuel {
                        enter: Fuel(run.of(Guard::Enter(guard)) + inputs_fuel(&ends[s])),
                        compute: Fuel(run.of(Guard::Stage(guard))),
                        leave: Fuel(run.of(Guard::Leave(guard))),
                    },
                    bound: Bound::Static,
                    macs: layers.iter().map(|l| l.macs).sum(),
                    weight_bytes: layers.iter().map(|l| l.weight_bytes).sum(),
                    layers,
                }
            })
            .collect(),
        memory_bytes,
        activation_bytes: plan.activation_bytes,
        golden: Vec::new(),
        labels: options.labels.clone(),
        preprocessing: None,
    };
    Ok(Compiled { component, certificate, tunable: Vec::new() })
}

fn engine_claim(relaxed_simd: bool) -> EngineClaim {
    let table = format!("{:?}", OperatorCost::default());
    let claim = EngineClaim::of_compiled(wasmtime_environ::VERSION, &table);
    if relaxed_simd { claim.with_relaxed_simd() } else { claim }
}

fn crossing(value: &Value, address: u32) -> Crossing {
    let shape = value.shape.iter().map(|&size| size as u32).collect();
    let spec = TensorSpec { name: value.name.clone(), dtype: value.dtype, shape };
    Crossing { spec, address }
}

fn layer(schedule: &Schedule, plan: &Plan, at: usize, fuel: Fuel) -> Layer {
    let step = &schedule.steps[at];
    let output = step.outputs.first().map(|&id| schedule.value(id).shape.as_slice());
    Layer {
        name: step.name.clone(),
        operator: step.operator.clone(),
        kernel: step.kernel.describe(),
        shape: output.unwrap_or_default().iter().map(|&size| size as u32).collect(),
        macs: step.kernel.macs(),
        fuel,
        weight_bytes: plan.weight_bytes[at],
        live_bytes: plan.live_bytes[at],
        activation_bytes: plan.step_bytes[at],
    }
}

struct Emitted {
    functions: Functions,
    realloc: FunctionIndex,
    steps: Vec<StepCall>,
    run: FunctionIndex,
}

/// The call of the function that does a step's work, which other steps may share.
struct StepCall {
    function: FunctionIndex,
    arguments: Vec<u32>,
}

impl StepCall {
    fn emit(&self, code: &mut Code) {
        for &argument in &self.arguments {
            code.i32(argument);
        }
        code.op(Instruction::Call(self.function.0));
    }

    /// Of the arguments, the call and the function.
    fn fuel(&self, functions: &Functions) -> Fuel {
        Fuel(self.arguments.len() as u64 + 1 + functions.cost(self.function).always)
    }
}

fn functions(
    schedule: &Schedule,
    stages: &[stages::Stage],
    ends: &[StageEnds],
    plan: &Plan,
    data: &abi::AbiData,
    relaxed_simd: bool,
) -> Result<Emitted, CostError> {
    let mut functions = Functions::default();
    let realloc = functions.add("cabi_realloc", 4, true, abi::realloc(data))?;
    let count = functions.add("stage-count", 0, true, abi::stage_count(stages.len()))?;
    let mut steps = Vec::new();
    for (step, places) in schedule.steps.iter().zip(&plan.places) {
        let arguments = places.arguments();
        let parameters = arguments.len() as u32;
        let mut code = Code::new(parameters);
        code.relax(relaxed_simd);
        step.kernel.emit(&mut code, &places.parameters());
        let function = functions.add(&step.name, parameters, false, code)?;
        steps.push(StepCall { function, arguments });
    }
    let mut calls = Vec::new();
    for (s, stage) in stages.iter().enumerate() {
        let mut code = Code::new(0);
        for step in &steps[stage.steps.clone()] {
            step.emit(&mut code);
        }
        calls.push(StageFunctions {
            enter: functions.add(format!("enter {s}"), 2, true, abi::enter(&ends[s], data, s))?,
            steps: functions.add(format!("stage {s}"), 0, false, code)?,
            leave: functions.add(format!("leave {s}"), 0, false, abi::leave(&ends[s]))?,
        });
    }
    let run = functions.add("run", 4, true, abi::run(&calls, data))?;
    functions.export("cabi_realloc", realloc);
    functions.export(format!("{INFERENCE_INTERFACE}#stage-count"), count);
    functions.export(format!("{INFERENCE_INTERFACE}#run"), run);
    Ok(Emitted { functions, realloc, steps, run })
}

/// Makes a component of a core module that exports the world's functions. The
/// error is wit-component's.
pub fn wrap(mut module: Vec<u8>) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("model.wit", WIT)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(ComponentEncoder::default().module(&module)?.validate(true).encode()?)
}
