//! Golden vectors: recorded when a model is built, replayed before it serves.
//! A replay compares bits, not values within a tolerance: the same component
//! gives the same bits on every machine, or something is wrong with one. Only where
//! the certificate says that it does not is it the tolerance stated there.

use leeway_contract::section::GoldenVector;
use leeway_contract::{Bound, DType, Fuel, Tensor};

use crate::sandbox::{Limits, Module, RunError};

/// Why a replay failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// A golden vector's inputs gave no outputs.
    #[error("golden vector {vector}: {source}")]
    Run {
        /// Which vector, from 0.
        vector: usize,
        /// Why.
        source: RunError,
    },
    /// An output differs.
    #[error(
        "golden vector {vector}: output {tensor:?} differs first at element {element}: wanted {wanted}, seen {seen}"
    )]
    Output {
        /// Which vector, from 0.
        vector: usize,
        /// The output's name.
        tensor: String,
        /// The index of the first differing element, row-major, from 0.
        element: usize,
        /// The recorded element, with its bits.
        wanted: String,
        /// The element now, with its bits.
        seen: String,
    },
    /// The outputs are right and the fuel is not what is certified as exact.
    #[error("golden vector {vector}: wanted exactly {wanted} units of fuel, seen {seen}")]
    Fuel {
        /// Which vector, from 0.
        vector: usize,
        /// The certificate's.
        wanted: Fuel,
        /// What the run burned.
        seen: Fuel,
    },
}

/// Runs the whole model on each set of inputs and keeps what it answers.
pub fn record(module: &Module, inputs: Vec<Vec<Tensor>>) -> Result<Vec<GoldenVector>, RunError> {
    let mut instance = module.instantiate()?;
    let range = 0..=module.certificate().last_stage();
    let mut vectors = Vec::with_capacity(inputs.len());
    for inputs in inputs {
        let outputs = instance.run(range.clone(), &inputs, &Limits::default())?.outputs;
        vectors.push(GoldenVector { inputs, outputs });
    }
    Ok(vectors)
}

/// Runs the whole model on its own golden vectors. Outputs must be equal to the
/// bit (or within the certificate's tolerance, if it has one), and where the bound is static so must the fuel.
///
/// Fuel is not compared where the sandbox does not meter: it is 0 then.
pub fn replay(module: &Module) -> Result<(), GoldenError> {
    replay_within(module, &Limits::default())
}

/// [`replay`], with limits to the run of each vector.
pub fn replay_within(module: &Module, limits: &Limits) -> Result<(), GoldenError> {
    replay_while(module, limits, &|| true).map(|_| ())
}

/// [`replay_within`], as long as `wanted` before each vector. Returns whether all were
/// replayed.
pub fn replay_while(
    module: &Module,
    limits: &Limits,
    wanted: &dyn Fn() -> bool,
) -> Result<bool, GoldenError> {
    let certificate = module.certificate();
    let exact = module.metered() && certificate.bound() == Bound::Static;
    let failed = |vector| move |source| GoldenError::Run { vector, source };
    let mut instance = module.instantiate().map_err(failed(0))?;
    for (vector, golden) in module.golden().iter().enumerate() {
        if !wanted() {
            return Ok(false);
        }
        let execution = instance
            .run(0..=certificate.last_stage(), &golden.inputs, limits)
            .map_err(failed(vector))?;
        let tensors = golden.outputs.iter().zip(&execution.outputs);
        for (spec, (wanted, seen)) in certificate.outputs().iter().zip(tensors) {
            if certificate.tolerance().is_some_and(|most| seen.difference(wanted) <= most) {
                continue;
            }
            if let Some((element, wanted, seen)) = first_difference(wanted, seen) {
                let tensor = spec.name.clone();
                return Err(GoldenError::Output { vector, tensor, element, wanted, seen });
            }
        }
        let (wanted, seen) = (certificate.total_fuel(), execution.fuel);
        if exact && wanted != seen {
            return Err(GoldenError::Fuel { vector, wanted, seen });
        }
    }
    Ok(true)
}

/// The first element in which two tensors of the same type and shape differ,
/// and both its values. Both were checked against the same specification.
fn first_difference(wanted: &Tensor, seen: &Tensor) -> Option<(usize, String, String)> {
    let size = wanted.dtype.size_bytes();
    let mut elements = wanted.data.chunks_exact(size).zip(seen.data.chunks_exact(size));
    let element = elements.position(|(wanted, seen)| wanted != seen)?;
    let bytes = element * size..(element + 1) * size;
    let text = |tensor: &Tensor| element_text(tensor.dtype, &tensor.data[bytes.clone()]);
    Some((element, text(wanted), text(seen)))
}

/// `1.5 (0x3fc00000)`: the value where Rust can print it, and always the bits.
fn element_text(dtype: DType, bytes: &[u8]) -> String {
    let bits = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
    let array2 = || bytes.try_into().ok();
    let array4 = || bytes.try_into().ok();
    let array8 = || bytes.try_into().ok();
    let value = match dtype {
        DType::F32 => array4().map(|b| f32::from_le_bytes(b).to_string()),
        DType::F64 => array8().map(|b| f64::from_le_bytes(b).to_string()),
        DType::I16 => array2().map(|b| i16::from_le_bytes(b).to_string()),
        DType::U16 => array2().map(|b| u16::from_le_bytes(b).to_string()),
        DType::I32 => array4().map(|b| i32::from_le_bytes(b).to_string()),
        DType::U32 => array4().map(|b| u32::from_le_bytes(b).to_string()),
        DType::I64 => array8().map(|b| i64::from_le_bytes(b).to_string()),
        DType::U64 => array8().map(|b| u64::from_le_bytes(b).to_string()),
        DType::U8 | DType::Bool => Some(bytes[0].to_string()),
        DType::I8 => Some((bytes[0] as i8).to_string()),
        DType::F16 | DType::BF16 => None,
    };
    match value {
        Some(value) => format!("{value} (0x{bits})"),
        None => format!("0x{bits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Sandbox, SandboxConfig};
    use crate::testing::TestModel;

    fn load(model: &TestModel) -> Module {
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        sandbox.load(&model.component(&Sandbox::engine_claim())).unwrap()
    }

    fn inputs() -> Vec<Vec<Tensor>> {
        vec![TestModel::input([1.0, 2.0, 3.0, 4.0]), TestModel::input([f32::NAN, 0.0, -0.0, 1e-42])]
    }

    #[test]
    fn what_was_recorded_replays() {
        let mut model = TestModel::scaling(2.0);
        model.golden = record(&load(&model), inputs()).unwrap();
        assert_eq!(replay(&load(&model)), Ok(()));
    }

    #[test]
    fn one_bit_of_one_element_fails_the_replay_and_is_named() {
        let mut model = TestModel::scaling(2.0);
        model.golden = record(&load(&model), inputs()).unwrap();
        model.golden[1].outputs[0].data[13] ^= 1;
        let error = replay(&load(&model)).unwrap_err();
        let GoldenError::Output { vector: 1, element: 3, .. } = &error else {
            panic!("{error}");
        };
        assert!(error.to_string().contains("\"y\""), "{error}");
    }

    #[test]
    fn fuel_that_is_less_than_certified_as_exact_fails_the_replay() {
        let mut model = TestModel::scaling(2.0);
        model.golden = record(&load(&model), inputs()).unwrap();
        model.call_fuel += Fuel(1);
        let (wanted, seen) = (Fuel(131), Fuel(130));
        assert_eq!(replay(&load(&model)), Err(GoldenError::Fuel { vector: 0, wanted, seen }));
    }
}
