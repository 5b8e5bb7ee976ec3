//! Components that the compiler did not emit, and certificates that are measured.
//!
//! [`interpret`] is the way out for models that the compiler does not lower: a
//! component with tract in it. The [`guest`] is prebuilt: who builds a model needs
//! no WebAssembly toolchain. The model goes into it as an NNEF archive, is read
//! and optimised there, and the [`snapshot`] of the guest's memory is the
//! component's. [`by_hand`] takes a component that somebody wrote. What a call of
//! either needs is found by [`measure`].

use leeway_compiler::Options;
use leeway_compiler::archive::archive;
use leeway_contract::certificate::{Compiler, FORMAT, Layer, Model};
use leeway_contract::{Bound, Certificate, Digest, Fuel, Stage, StageFuel, Tensor, TensorSpec};
use leeway_runtime::sandbox::Sandbox;
use wasmparser::Parser;

pub mod error;
pub mod guest;
pub mod measure;
mod random;
pub mod snapshot;

pub use error::InterpretError;
pub use measure::{Measure, Measured};

/// A component that has no certificate yet.
#[derive(Clone, Debug)]
pub struct Draft {
    component: Vec<u8>,
    certificate: Certificate,
}

/// Puts the ONNX model in `onnx` into the guest.
pub fn interpret(onnx: &[u8], options: &Options) -> Result<Draft, InterpretError> {
    let archive = archive(onnx, options)?;
    let module = snapshot::with_model(&guest::interpreter(), &archive.bytes)?;
    let component = component(module)?;
    let work = Work {
        operator: "interpreted",
        kernel: format!("tract {}", guest::TRACT),
        macs: archive.macs,
        weight_bytes: archive.weight_bytes,
    };
    let ends = Ends { inputs: archive.inputs, outputs: archive.outputs };
    Ok(Draft { component, certificate: draft(options, Digest::of(onnx), ends, work) })
}

/// The tensors at both ends of a model.
#[derive(Clone, Debug)]
pub struct Ends {
    /// What it takes: at least one.
    pub inputs: Vec<TensorSpec>,
    /// What it gives: at least one.
    pub outputs: Vec<TensorSpec>,
}

/// Takes a model that was written by hand: a core module that exports the
/// functions of the world, or a component. Of the options it has name, version
/// and labels.
pub fn by_hand(code: &[u8], options: &Options, ends: Ends) -> Result<Draft, InterpretError> {
    let source = Digest::of(code);
    let component = match Parser::is_core_wasm(code) {
        true => component(code.to_vec())?,
        false => code.to_vec(),
    };
    let work =
        Work { operator: "written by hand", kernel: String::new(), macs: 0, weight_bytes: 0 };
    Ok(Draft { component, certificate: draft(options, source, ends, work) })
}

impl Draft {
    /// The component's bytes.
    pub fn component(&self) -> &[u8] {
        &self.component
    }

    /// What will be in the certificate, but for fuel, memory and golden vectors.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Runs the component on the inputs given and on random ones, and certifies
    /// what it took.
    pub fn measure(
        &self,
        given: Vec<Vec<Tensor>>,
        how: &Measure,
    ) -> Result<Measured, InterpretError> {
        measure::measure(&self.component, &self.certificate, given, how)
    }
}

fn component(module: Vec<u8>) -> Result<Vec<u8>, InterpretError> {
    leeway_compiler::component::wrap(module)
        .map_err(|error| InterpretError::NoComponent(format!("{error:#}")))
}

/// What is done in the one stage.
struct Work {
    operator: &'static str,
    kernel: String,
    macs: u64,
    weight_bytes: u64,
}

fn draft(options: &Options, source: Digest, ends: Ends, work: Work) -> Certificate {
    let Work { operator, kernel, macs, weight_bytes } = work;
    let specs = ends.inputs.iter().chain(&ends.outputs);
    let live_bytes = specs.filter_map(TensorSpec::size_bytes).sum::<usize>() as u64;
    let layer = Layer {
        name: options.name.clone(),
        operator: operator.into(),
        kernel,
        shape: ends.outputs.first().map(|output| output.shape.clone()).unwrap_or_default(),
        macs,
        fuel: Fuel(0),
        weight_bytes,
        live_bytes,
        // As far as is known: the guest's own allocator has the rest.
        activation_bytes: live_bytes,
    };
    let stage = Stage {
        name: options.name.clone(),
        inputs: ends.inputs,
        outputs: ends.outputs,
        fuel: StageFuel::default(),
        bound: Bound::Measured,
        macs,
        weight_bytes,
        layers: vec![layer],
    };
    Certificate {
        format: FORMAT,
        model: Model { name: options.name.clone(), version: options.version.clone(), source },
        compiler: Compiler {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        engine: Sandbox::engine_claim_of_hand_written(),
        call_fuel: Fuel(0),
        stages: vec![stage],
        memory_bytes: 0,
        activation_bytes: 0,
        golden: Vec::new(),
        labels: options.labels.clone(),
        preprocessing: None,
    }
}
