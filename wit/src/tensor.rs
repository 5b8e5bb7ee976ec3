//! Tensors at the boundary of a component: element types, shapes, and the
//! row-major little-endian bytes that the WIT package speaks of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a tensor's elements, by wasi-nn's names and in its order, which
/// is also the order of the WIT enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum DType {
    /// IEEE 754 binary16.
    #[serde(rename = "FP16")]
    F16 = 0,
    /// IEEE 754 binary32.
    #[serde(rename = "FP32")]
    F32 = 1,
    /// IEEE 754 binary64.
    #[serde(rename = "FP64")]
    F64 = 2,
    /// The upper half of an IEEE 754 binary32.
    #[serde(rename = "BF16")]
    BF16 = 3,
    /// Unsigned 8-bit integer.
    #[serde(rename = "U8")]
    U8 = 4,
    /// Signed 32-bit integer.
    #[serde(rename = "I32")]
    I32 = 5,
    /// Signed 64-bit integer.
    #[serde(rename = "I64")]
    I64 = 6,
    /// Signed 8-bit integer.
    #[serde(rename = "I8")]
    I8 = 7,
    /// One byte, 0 or 1.
    #[serde(rename = "BOOL")]
    Bool = 8,
    /// Signed 16-bit integer.
    #[serde(rename = "I16")]
    I16 = 9,
    /// Unsigned 16-bit integer.
    #[serde(rename = "U16")]
    U16 = 10,
    /// Unsigned 32-bit integer.
    #[serde(rename = "U32")]
    U32 = 11,
    /// Unsigned 64-bit integer.
    #[serde(rename = "U64")]
    U64 = 12,
}

impl DType {
    /// All of them.
    pub const ALL: [DType; 13] = [
        DType::F16,
        DType::F32,
        DType::F64,
        DType::BF16,
        DType::U8,
        DType::I32,
        DType::I64,
        DType::I8,
        DType::Bool,
        DType::I16,
        DType::U16,
        DType::U32,
        DType::U64,
    ];

    /// The size of one element in bytes.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::U8 | DType::I8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// The name in the WIT package (wasi-nn's).
    pub fn name(self) -> &'static str {
        match self {
            DType::F16 => "FP16",
            DType::F32 => "FP32",
            DType::F64 => "FP64",
            DType::BF16 => "BF16",
            DType::U8 => "U8",
            DType::I32 => "I32",
            DType::I64 => "I64",
            DType::I8 => "I8",
            DType::Bool => "BOOL",
            DType::I16 => "I16",
            DType::U16 => "U16",
            DType::U32 => "U32",
            DType::U64 => "U64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a stage wants at an input or promises at an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// The tensor's name in the source model.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// The size of each dimension, outermost first.
    pub shape: Vec<u32>,
}

impl TensorSpec {
    /// The number of elements; `None` where the product overflows.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d as usize))
    }

    /// The size of the data in bytes; `None` where the product overflows.
    pub fn size_bytes(&self) -> Option<usize> {
        self.elements()?.checked_mul(self.dtype.size_bytes())
    }

    /// Checks that `tensor` has this type and shape, and data of their length.
    pub fn check(&self, tensor: &Tensor) -> Result<(), TensorError> {
        if tensor.dtype != self.dtype || tensor.shape != self.shape {
            return Err(TensorError::Mismatch {
                name: self.name.clone(),
                wanted: shape_text(self.dtype, &self.shape),
                seen: shape_text(tensor.dtype, &tensor.shape),
            });
        }
        let wanted = self.size_bytes().unwrap_or(usize::MAX);
        if tensor.data.len() != wanted {
            return Err(TensorError::Length {
                name: self.name.clone(),
                wanted_bytes: wanted,
                seen_bytes: tensor.data.len(),
            });
        }
        Ok(())
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, shape_text(self.dtype, &self.shape))
    }
}

/// A tensor that does not fit its specification.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// Another type or shape.
    #[error("tensor {name:?}: wanted {wanted}, seen {seen}")]
    Mismatch {
        /// The tensor's name.
        name: String,
        /// Type and shape wanted.
        wanted: String,
        /// Type and shape seen.
        seen: String,
    },
    /// Data that is too short or too long for the shape.
    #[error("tensor {name:?}: wanted {wanted_bytes} bytes of data, seen {seen_bytes}")]
    Length {
        /// The tensor's name.
        name: String,
        /// Product of the dimensions times the element size.
        wanted_bytes: usize,
        /// Length of the data.
        seen_bytes: usize,
    },
}

/// An n-dimensional array: row-major, little-endian, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    /// The type of the elements.
    pub dtype: DType,
    /// The size of each dimension, outermost first.
    pub shape: Vec<u32>,
    /// The elements' bytes.
    pub data: Vec<u8>,
}

impl Tensor {
    /// A tensor of `f32` elements of the given shape.
    pub fn from_f32(shape: &[u32], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DType::F32, shape: shape.to_vec(), data }
    }

    /// A tensor of `u8` elements of the given shape.
    pub fn from_u8(shape: &[u32], values: &[u8]) -> Self {
        Self { dtype: DType::U8, shape: shape.to_vec(), data: values.to_vec() }
    }

    /// The elements as `f32`; `None` if the type is another one.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.dtype == DType::F32).then(|| {
            self.data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().expect("chunks of four")))
                .collect()
        })
    }

    /// The index of the largest `f32` element, the first of equals: the class
    /// that a classifier's output names. `None` if the tensor is empty or of
    /// another type.
    pub fn argmax(&self) -> Option<usize> {
        let values = self.to_f32()?;
        let best = |best: Option<usize>, i: usize| match best {
            Some(b) if values[i] <= values[b] || values[i].is_nan() => Some(b),
            _ => Some(i),
        };
        (0..values.len()).fold(None, best)
    }

    /// The largest difference from `wanted`, relative to the larger of 1 and the
    /// number wanted. NaNs equal each other; where only one is NaN, or anything
    /// but the numbers differs, or there is no finite difference, infinity.
    pub fn difference(&self, wanted: &Tensor) -> f32 {
        if self == wanted {
            return 0.0;
        }
        let same_kind = (self.dtype, &self.shape) == (wanted.dtype, &wanted.shape);
        let (Some(seen), Some(wanted)) = (self.to_f32(), wanted.to_f32()) else {
            return f32::INFINITY;
        };
        if !same_kind || seen.len() != wanted.len() {
            return f32::INFINITY;
        }
        let difference = |(seen, wanted): (f32, f32)| {
            if seen.to_bits() == wanted.to_bits() || seen.is_nan() && wanted.is_nan() {
                return 0.0;
            }
            let difference = (seen - wanted).abs() / wanted.abs().max(1.0);
            if difference.is_nan() { f32::INFINITY } else { difference }
        };
        seen.into_iter().zip(wanted).map(difference).fold(0.0, f32::max)
    }

    /// The digest of the data, type and shape together.
    pub fn digest(&self) -> crate::Digest {
        let mut bytes = shape_text(self.dtype, &self.shape).into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.data);
        crate::Digest::of(&bytes)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}, {} bytes)", shape_text(self.dtype, &self.shape), self.data.len())
    }
}

/// `FP32[1,3,224,224]`.
pub fn shape_text(dtype: DType, shape: &[u32]) -> String {
    let dims: Vec<String> = shape.iter().map(u32::to_string).collect();
    format!("{dtype}[{}]", dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TensorSpec {
        TensorSpec { name: "input".into(), dtype: DType::F32, shape: vec![1, 3] }
    }

    #[test]
    fn a_tensor_of_another_shape_is_refused_with_both_shapes() {
        let error = spec().check(&Tensor::from_f32(&[3, 1], &[0.0; 3])).unwrap_err();
        assert_eq!(error.to_string(), "tensor \"input\": wanted FP32[1,3], seen FP32[3,1]");
    }

    #[test]
    fn a_truncated_tensor_is_refused_with_both_lengths() {
        let mut tensor = Tensor::from_f32(&[1, 3], &[0.0; 3]);
        tensor.data.pop();
        let error = spec().check(&tensor).unwrap_err();
        assert_eq!(error.to_string(), "tensor \"input\": wanted 12 bytes of data, seen 11");
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_passes_over_nan() {
        let argmax = |v: &[f32]| Tensor::from_f32(&[v.len() as u32], v).argmax();
        assert_eq!(argmax(&[0.1, 0.7, 0.7]), Some(1));
        assert_eq!(argmax(&[0.1, f32::NAN, 0.7]), Some(2));
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn a_nan_where_a_number_is_wanted_is_no_small_difference() {
        let tensor = |v: &[f32]| Tensor::from_f32(&[v.len() as u32], v);
        let difference = |a: &[f32], b: &[f32]| tensor(a).difference(&tensor(b));
        assert_eq!(difference(&[1.0, f32::NAN], &[1.0, f32::NAN]), 0.0);
        assert_eq!(difference(&[f32::NAN], &[1.0]), f32::INFINITY);
        assert_eq!(difference(&[1.0], &[f32::NAN]), f32::INFINITY);
        assert_eq!(difference(&[1.0], &[f32::INFINITY]), f32::INFINITY);
        assert_eq!(difference(&[3.0, 8.0], &[2.0, 8.0]), 0.5);
        assert_eq!(difference(&[1.0], &[1.0, 2.0]), f32::INFINITY);
        assert_eq!(
            Tensor::from_u8(&[1], &[1]).difference(&Tensor::from_u8(&[1], &[2])),
            f32::INFINITY
        );
    }

    #[test]
    fn an_overflowing_shape_has_no_size() {
        let spec = TensorSpec { name: "x".into(), dtype: DType::F64, shape: vec![u32::MAX; 3] };
        assert_eq!(spec.size_bytes(), None);
    }
}
