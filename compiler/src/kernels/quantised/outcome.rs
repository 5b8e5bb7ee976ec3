//! What becomes of sums of products of integers: the sums themselves, real
//! numbers, or 8-bit integers again.

use leeway_contract::DType;
use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local, at};
use crate::expr::{Expr, Fusion};

/// Added to a number of less than 2^22, leaves it in the low bits of the sum,
/// rounded to the nearest integer, of two to the even one.
pub const MAGIC: f32 = 12_582_912.0;

/// What is stored for each sum. Where there is more than one scale, there is one
/// for each channel: row or column, as the kernel has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// I32: the sum, modulo 2^32.
    Sums,
    /// FP32: `then(sum * scale + shift)`.
    Real {
        /// One, or one for each channel.
        scale: Vec<f32>,
        /// None, or one for each channel.
        shift: Vec<f32>,
        /// What is done to each element before it is stored.
        then: Expr,
    },
    /// I8 or U8: `round(sum * scale) + zero_point`, clamped. Of two nearest
    /// integers, the even one.
    Quantised {
        /// One, or one for each channel.
        scale: Vec<f32>,
        /// What is added.
        zero_point: i32,
        /// The smallest number that is stored.
        low: i32,
        /// The largest one.
        high: i32,
        /// I8 or U8.
        dtype: DType,
    },
}

impl Eq for Outcome {}

impl Outcome {
    /// The type of what is stored.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Sums => DType::I32,
            Self::Real { .. } => DType::F32,
            Self::Quantised { dtype, .. } => *dtype,
        }
    }

    /// The size of an element that is stored.
    pub fn element_bytes(&self) -> usize {
        self.dtype().size_bytes()
    }

    /// Takes over work on what is stored, if it can: reals, or sums that are cast to
    /// reals. A channel has `inner` elements, of which there are `channels`.
    pub fn fuse(&mut self, fusion: &Fusion, inner: usize, channels: usize) -> bool {
        if let (Self::Sums, Fusion::Then(expr)) = (&*self, fusion) {
            *self = Self::Real { scale: vec![1.0], shift: Vec::new(), then: expr.clone() };
            return true;
        }
        let Self::Real { scale, shift, then } = self else { return false };
        match fusion {
            Fusion::Then(expr) => *then = then.followed_by(expr),
            Fusion::PerChannel { inner: seen, scale: factor, shift: more }
                if then.is_identity() && *seen == inner && factor.len() == channels =>
            {
                scale.resize(channels, scale[0]);
                shift.resize(channels, 0.0);
                for channel in 0..channels {
                    scale[channel] *= factor[channel];
                    shift[channel] = shift[channel] * factor[channel] + more[channel];
                }
            }
            Fusion::PerChannel { .. } => return false,
        }
        true
    }

    /// What is stored for the sum of this channel.
    pub fn of(&self, sum: i32, channel: usize) -> f64 {
        let of = |numbers: &[f32]| match *numbers {
            [one] => one,
            _ => numbers[channel],
        };
        match self {
            Self::Sums => f64::from(sum),
            Self::Real { scale, shift, .. } => {
                let shift = if shift.is_empty() { 0.0 } else { shift[channel] };
                f64::from(sum as f32 * of(scale) + shift)
            }
            Self::Quantised { scale, zero_point, low, high, .. } => {
                let rounded = (sum as f32 * of(scale)).round_ties_even();
                let least = (low - zero_point) as f32;
                let most = (high - zero_point) as f32;
                f64::from(rounded.clamp(least, most) + *zero_point as f32)
            }
        }
    }

    /// The scales of so many channels, or an empty blob where they are all the
    /// same.
    pub fn scales(&self, channels: usize) -> Vec<u8> {
        match self {
            Self::Real { scale, .. } | Self::Quantised { scale, .. } if scale.len() > 1 => {
                debug_assert_eq!(scale.len(), channels);
                scale.iter().flat_map(|scale| scale.to_le_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What is added to the products of so many channels, or an empty blob.
    pub fn shifts(&self, channels: usize) -> Vec<u8> {
        match self {
            Self::Real { shift, .. } if !shift.is_empty() => {
                debug_assert_eq!(shift.len(), channels);
                shift.iter().flat_map(|shift| shift.to_le_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What the code for bytes reads and does not contain, so that outcomes that differ
    /// in nothing else share it: vectors of the greatest and the least number before the
    /// zero point is added, of what adds it, and of the scale, if it is the only one.
    pub fn constants(&self) -> Vec<u8> {
        let Self::Quantised { scale, zero_point, low, high, .. } = self else { return Vec::new() };
        let magic = f32::from_bits(MAGIC.to_bits().wrapping_sub(*zero_point as u32));
        let [low, high] = [low, high].map(|bound| (bound - zero_point) as f32);
        let numbers = [high, low, magic, scale[0]].into_iter();
        numbers.flat_map(|number| number.to_le_bytes().repeat(4)).collect()
    }

    /// Emits the replacement of four sums in a local by what is stored, of 32 bits
    /// each. `channel` pushes what there is for each channel from the blob of
    /// scales (0) or of shifts (1); at `constants` is the blob of [`Outcome::constants`].
    pub fn apply(
        &self,
        code: &mut Code,
        sum: Local,
        constants: Local,
        channel: &mut dyn FnMut(&mut Code, usize),
    ) {
        let constant = |code: &mut Code, which: u64| {
            code.load(constants, 16 * which);
        };
        let scale = |code: &mut Code, scale: &[f32], channel: &mut dyn FnMut(&mut Code, usize)| {
            match *scale {
                [one] => {
                    code.splat(one);
                }
                _ => channel(code, 0),
            }
            code.get(sum).op(I::F32x4ConvertI32x4S).op(I::F32x4Mul);
        };
        match self {
            Self::Sums => {}
            Self::Real { scale: scales, shift, then } => {
                scale(code, scales, channel);
                if !shift.is_empty() {
                    channel(code, 1);
                    code.op(I::F32x4Add);
                }
                code.set(sum);
                then.apply(code, sum);
            }
            Self::Quantised { scale: scales, .. } => {
                match scales.len() {
                    1 => constant(code, 3),
                    _ => channel(code, 0),
                }
                // The number first and then the bound: a NaN gives the bound.
                code.get(sum).op(I::F32x4ConvertI32x4S).op(I::F32x4Mul).set(sum);
                constant(code, 0);
                code.get(sum).op(I::F32x4PMin).set(sum);
                constant(code, 1);
                code.get(sum).op(I::F32x4PMax);
                code.splat(MAGIC).op(I::F32x4Add);
                constant(code, 2);
                code.op(I::I32x4Sub).set(sum);
            }
        }
    }

    /// Emits the storing of what [`Outcome::apply`] left in these locals: each has
    /// `lanes` elements in use, which go to `to` and the elements after it.
    pub fn store(&self, code: &mut Code, address: Local, vectors: &[Stored]) {
        let size = self.element_bytes() as u64;
        if size == 4 {
            for &Stored { value, to, lanes } in vectors {
                code.store_lanes(address, size * to as u64, value, lanes);
            }
            return;
        }
        for four in vectors.chunks(4) {
            let values: Vec<Local> = four.iter().map(|stored| stored.value).collect();
            let packed = self.emit_bytes(code, &values);
            for (i, &Stored { to, lanes, .. }) in four.iter().enumerate() {
                store_bytes(code, address, to as u64, packed, 4 * i, lanes);
            }
            code.release([packed]);
        }
    }

    /// Emits the bytes of what [`Outcome::apply`] left in one to four locals, one after
    /// the other in a new local; what follows them is arbitrary.
    pub fn emit_bytes(&self, code: &mut Code, values: &[Local]) -> Local {
        let signed = self.dtype() == DType::I8;
        let packed = code.v128_local();
        let value = |i: usize| values.get(i).copied().unwrap_or(values[0]);
        code.get(value(0)).get(value(1)).op(I::I16x8NarrowI32x4S);
        code.get(value(2)).get(value(3)).op(I::I16x8NarrowI32x4S);
        code.op(if signed { I::I8x16NarrowI16x8S } else { I::I8x16NarrowI16x8U }).set(packed);
        packed
    }
}

/// Four elements that are to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// They.
    pub value: Local,
    /// The index of the first, from the address on.
    pub to: usize,
    /// How many of them there are.
    pub lanes: usize,
}

/// Stores `count` (1 to 16) bytes of a vector, from the byte `from` on, which is a
/// multiple of the smallest power of two that is not less than `count`.
pub fn store_bytes(
    code: &mut Code,
    address: Local,
    offset: u64,
    vector: Local,
    from: usize,
    count: usize,
) {
    let mut done = 0;
    for size in [16, 8, 4, 2, 1] {
        if count & size != 0 {
            let (memarg, lane) = (at(offset + done as u64, 0), ((from + done) / size) as u8);
            code.get(address).get(vector).op(match size {
                16 => I::V128Store(memarg),
                8 => I::V128Store64Lane { memarg, lane },
                4 => I::V128Store32Lane { memarg, lane },
                2 => I::V128Store16Lane { memarg, lane },
                _ => I::V128Store8Lane { memarg, lane },
            });
            done += size;
        }
    }
}
