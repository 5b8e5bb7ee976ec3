//! Random inputs that go where given ones may not: denormals, infinities, NaNs,
//! zeros. The same each time.

use leeway_contract::{DType, Tensor, TensorSpec};
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Kinds of numbers, by turns.
const KINDS: usize = 5;

/// The random input of this number.
pub fn inputs_of(specs: &[TensorSpec], number: usize) -> Vec<Tensor> {
    let mut random = ChaCha8Rng::seed_from_u64(number as u64);
    let tensor = |spec: &TensorSpec| {
        let count = spec.elements().unwrap_or_default();
        let mut data = Vec::with_capacity(count * spec.dtype.size_bytes());
        for _ in 0..count {
            data.extend_from_slice(&element(spec.dtype, number % KINDS, &mut random));
        }
        Tensor { dtype: spec.dtype, shape: spec.shape.clone(), data }
    };
    specs.iter().map(tensor).collect()
}

/// One element's bytes.
fn element(dtype: DType, kind: usize, random: &mut ChaCha8Rng) -> Vec<u8> {
    let bits = random.next_u64();
    let float = match kind {
        0 => random.random_range(-1.0..1.0f64),
        1 => 0.0,
        2 => random.random_range(-1e6..1e6),
        3 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-42, 1.0][bits as usize % 5],
        _ => return any_bits(dtype, bits),
    };
    // Integers are often indices: small ones.
    let integer = if kind == 1 { 0 } else { bits % 2 };
    match dtype {
        DType::F32 => (float as f32).to_le_bytes().into(),
        DType::F64 => float.to_le_bytes().into(),
        DType::F16 | DType::BF16 => any_bits(dtype, if kind == 1 { 0 } else { bits }),
        _ => integer.to_le_bytes()[..dtype.size_bytes()].into(),
    }
}

fn any_bits(dtype: DType, bits: u64) -> Vec<u8> {
    let bits = if dtype == DType::Bool { bits & 1 } else { bits };
    bits.to_le_bytes()[..dtype.size_bytes()].into()
}
