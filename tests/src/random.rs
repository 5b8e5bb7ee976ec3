//! Tensors of random, extreme and irregular numbers, from a seed.

use leeway_contract::{DType, Tensor, TensorSpec};
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What the elements of a random tensor look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// From -1 to 1.
    Tame,
    /// Any bit pattern: NaNs of any payload, infinities, denormals.
    AnyBits,
    /// Denormals of either sign.
    Denormal,
    /// Among the largest and smallest finite numbers, and infinities.
    Extreme,
    /// NaNs with different payloads.
    Nan,
    /// Zeros of either sign.
    Zero,
}

/// All styles.
pub const STYLES: [Style; 6] =
    [Style::Tame, Style::AnyBits, Style::Denormal, Style::Extreme, Style::Nan, Style::Zero];

/// A generator of tensors.
pub struct Random(ChaCha8Rng);

impl Random {
    /// The same seed gives the same tensors.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number in `range`, bounds included.
    pub fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        self.0.random_range(range)
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.0.random_range(0..items.len())]
    }

    /// Numbers from -1 to 1.
    pub fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number(Style::Tame)).collect()
    }

    fn number(&mut self, style: Style) -> f32 {
        let bits = self.0.next_u32();
        let sign = bits & 0x8000_0000;
        match style {
            Style::Tame => self.0.random_range(-1.0..1.0),
            Style::AnyBits => f32::from_bits(bits),
            Style::Denormal => f32::from_bits(sign | bits & 0x007f_ffff),
            Style::Extreme => {
                let most = [f32::MAX, f32::MIN_POSITIVE, f32::INFINITY, 88.0, 1.0e30];
                f32::from_bits(sign | most[bits as usize % most.len()].to_bits())
            }
            Style::Nan => f32::from_bits(sign | 0x7f80_0000 | (bits & 0x007f_ffff).max(1)),
            Style::Zero => f32::from_bits(sign),
        }
    }

    fn double(&mut self, style: Style) -> f64 {
        let bits = self.0.next_u64();
        let sign = bits & 1 << 63;
        let rest = (1u64 << 52) - 1;
        match style {
            Style::Tame => self.0.random_range(-1.0..1.0),
            Style::AnyBits => f64::from_bits(bits),
            Style::Denormal => f64::from_bits(sign | bits & rest),
            Style::Extreme => {
                let most = [f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, 709.0, 1.0e300];
                f64::from_bits(sign | most[bits as usize % most.len()].to_bits())
            }
            Style::Nan => f64::from_bits(sign | 0x7ff << 52 | (bits & rest).max(1)),
            Style::Zero => f64::from_bits(sign),
        }
    }

    /// The bits of a 16-bit float.
    fn half(&mut self, style: Style) -> u16 {
        let bits = self.0.next_u32() as u16;
        let sign = bits & 0x8000;
        match style {
            // Magnitudes from 2^-8 to 1.
            Style::Tame => sign | (0x1c00 + (bits & 0x1fff)),
            Style::AnyBits => bits,
            Style::Denormal => sign | bits & 0x03ff,
            Style::Extreme => sign | [0x7bff, 0x0400, 0x7c00, 0x4b00][bits as usize % 4],
            Style::Nan => sign | 0x7c00 | (bits & 0x03ff).max(1),
            Style::Zero => sign,
        }
    }

    /// A tensor for an input.
    pub fn tensor(&mut self, spec: &TensorSpec, style: Style) -> Tensor {
        let count = spec.elements().expect("the shape of a test fits the memory");
        let data = match spec.dtype {
            DType::F32 => (0..count).flat_map(|_| self.number(style).to_le_bytes()).collect(),
            DType::F64 => (0..count).flat_map(|_| self.double(style).to_le_bytes()).collect(),
            DType::F16 => (0..count).flat_map(|_| self.half(style).to_le_bytes()).collect(),
            DType::Bool => (0..count).map(|_| (self.0.next_u32() & 1) as u8).collect(),
            _ => {
                let mut bytes = vec![0; count * spec.dtype.size_bytes()];
                self.0.fill_bytes(&mut bytes);
                bytes
            }
        };
        Tensor { dtype: spec.dtype, shape: spec.shape.clone(), data }
    }

    /// A tensor for each input.
    pub fn tensors(&mut self, specs: &[TensorSpec], style: Style) -> Vec<Tensor> {
        specs.iter().map(|spec| self.tensor(spec, style)).collect()
    }
}
