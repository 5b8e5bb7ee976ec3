//! A component beside native tract, on the same inputs.

use leeway_compiler::{Options, Oracle, Sealed};
use leeway_contract::{DType, Tensor};
use leeway_runtime::sandbox::{EngineKind, Instance, Limits, Module, Sandbox, SandboxConfig};

use crate::random::{Random, STYLES, Style};

/// A model compiled and loaded, and the same model in native tract.
pub struct Pair {
    /// The component.
    pub sealed: Sealed,
    /// The component, loaded.
    pub module: Module,
    /// An instance of it.
    pub instance: Instance,
    /// Native tract.
    pub oracle: Oracle,
}

/// A sandbox without a cache.
pub fn sandbox(engine: EngineKind) -> Sandbox {
    Sandbox::new(SandboxConfig::with_engine(engine)).expect("the engine starts")
}

impl Pair {
    /// Compiles and loads a model.
    pub fn new(sandbox: &Sandbox, onnx: &[u8], options: &Options) -> Self {
        let compiled = leeway_compiler::compile(onnx, options);
        let compiled = compiled.unwrap_or_else(|error| panic!("{error}"));
        let sealed = compiled.seal(&[]);
        let module = sandbox.load(&sealed.component);
        let module = module.unwrap_or_else(|error| panic!("{}: {error}", options.file));
        let instance = module.instantiate().expect("an instance of a loaded module");
        let oracle = Oracle::new(onnx, options).unwrap_or_else(|error| panic!("{error}"));
        Self { sealed, module, instance, oracle }
    }

    /// Runs both on the same inputs, and returns the largest difference relative
    /// to the larger of 1 and the number itself, once types and shapes agree.
    pub fn difference(&mut self, inputs: &[Tensor]) -> f32 {
        let last = self.module.certificate().last_stage();
        let run = self.instance.run(0..=last, inputs, &Limits::default());
        let seen = run.unwrap_or_else(|error| panic!("{error}")).outputs;
        let wanted = self.oracle.run(inputs).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(seen.len(), wanted.len(), "the number of outputs");
        seen.iter().zip(&wanted).map(|(seen, wanted)| relative(seen, wanted)).fold(0.0, f32::max)
    }

    /// Runs every range of stages and asserts that the fuel reported is the
    /// certificate's and that ranges give the same bits as the whole.
    pub fn assert_fuel_of_all_ranges(&mut self, random: &mut Random) {
        let certificate = self.module.certificate().clone();
        let last = certificate.last_stage();
        for style in STYLES {
            let inputs = random.tensors(certificate.inputs(), style);
            let whole = self.run(0..=last, &inputs);
            for cut in 0..last {
                let crossing = self.run(0..=cut, &inputs);
                let rest = self.run(cut + 1..=last, &crossing);
                // A NaN of the first part is canonical where it crosses, so only
                // there may its bits differ from what the whole passes on, and
                // what leaves the last stage is canonical again.
                assert_eq!(rest, whole, "cut after stage {cut}, {style:?} inputs");
            }
        }
    }

    /// Runs a range, asserts its fuel, and returns its outputs.
    pub fn run(&mut self, range: std::ops::RangeInclusive<u32>, inputs: &[Tensor]) -> Vec<Tensor> {
        let certified = self.module.certificate().fuel(range.clone()).expect("a range of stages");
        let run = self.instance.run(range.clone(), inputs, &Limits::default());
        let execution = run.unwrap_or_else(|error| panic!("stages {range:?}: {error}"));
        assert_eq!(execution.fuel, certified, "fuel of the stages {range:?}");
        execution.outputs
    }

    /// Random inputs.
    pub fn inputs(&self, random: &mut Random, style: Style) -> Vec<Tensor> {
        random.tensors(self.module.certificate().inputs(), style)
    }
}

/// The largest difference of two tensors of the same type and shape, relative to
/// the larger of 1 and the number wanted.
pub fn relative(seen: &Tensor, wanted: &Tensor) -> f32 {
    assert_eq!((seen.dtype, &seen.shape), (wanted.dtype, &wanted.shape), "type and shape");
    let (Some(seen_numbers), Some(wanted_numbers)) = (numbers(seen), numbers(wanted)) else {
        assert_eq!(seen, wanted);
        return 0.0;
    };
    let difference = |(seen, wanted): (f64, f64)| {
        if seen == wanted || (seen.is_nan() && wanted.is_nan()) {
            return 0.0;
        }
        let difference = (seen - wanted).abs() / wanted.abs().max(1.0);
        if difference.is_nan() { f64::INFINITY } else { difference }
    };
    let difference = seen_numbers.into_iter().zip(wanted_numbers).map(difference);
    let difference = difference.fold(0.0, f64::max) as f32;
    assert!(difference.is_finite(), "seen {seen:?}, wanted {wanted:?}");
    difference
}

/// The elements of a tensor of real numbers.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    let data = &tensor.data;
    let double = |bytes: &[u8; 8]| f64::from_le_bytes(*bytes);
    let single = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
    Some(match tensor.dtype {
        DType::F64 => data.as_chunks().0.iter().map(double).collect(),
        DType::F32 => data.as_chunks().0.iter().map(single).collect(),
        DType::F16 => data.as_chunks().0.iter().map(half).collect(),
        _ => return None,
    })
}

fn half(bytes: &[u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(*bytes);
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}
