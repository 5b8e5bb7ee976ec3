//! A tensor's elements in the typed fields of a message (`InferTensorContents`).

use leeway_contract::{DType, Tensor};

use crate::response::OutputTensor;
use crate::{ProtocolError, datatype, wrong};

/// The elements in row-major order, in the field for their type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Contents {
    /// BOOL.
    #[prost(bool, repeated, tag = "1")]
    pub bool_contents: Vec<bool>,
    /// INT8, INT16 and INT32.
    #[prost(int32, repeated, tag = "2")]
    pub int_contents: Vec<i32>,
    /// INT64.
    #[prost(int64, repeated, tag = "3")]
    pub int64_contents: Vec<i64>,
    /// UINT8, UINT16 and UINT32.
    #[prost(uint32, repeated, tag = "4")]
    pub uint_contents: Vec<u32>,
    /// UINT64.
    #[prost(uint64, repeated, tag = "5")]
    pub uint64_contents: Vec<u64>,
    /// FP32.
    #[prost(float, repeated, tag = "6")]
    pub fp32_contents: Vec<f32>,
    /// FP64.
    #[prost(double, repeated, tag = "7")]
    pub fp64_contents: Vec<f64>,
    /// BYTES.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub bytes_contents: Vec<Vec<u8>>,
}

impl Contents {
    /// Whether there is a field for an output's type.
    pub(super) fn holds(output: &OutputTensor<'_>) -> bool {
        match output {
            OutputTensor::Tensor(tensor) => !matches!(tensor.dtype, DType::F16 | DType::BF16),
            OutputTensor::Classes { .. } => true,
        }
    }

    /// An output's elements, of a type that there is a field for.
    pub(super) fn of(output: &OutputTensor<'_>) -> Self {
        let mut contents = Self::default();
        let tensor = match output {
            OutputTensor::Tensor(tensor) => tensor,
            OutputTensor::Classes { texts, .. } => {
                contents.bytes_contents = texts.iter().map(|text| text.clone().into()).collect();
                return contents;
            }
        };
        match tensor.dtype {
            DType::Bool => contents.bool_contents = tensor.data.iter().map(|b| *b != 0).collect(),
            DType::I8 => contents.int_contents = read(tensor, |b| i8::from_le_bytes(b).into()),
            DType::I16 => contents.int_contents = read(tensor, |b| i16::from_le_bytes(b).into()),
            DType::I32 => contents.int_contents = read(tensor, i32::from_le_bytes),
            DType::I64 => contents.int64_contents = read(tensor, i64::from_le_bytes),
            DType::U8 => contents.uint_contents = read(tensor, |b| u8::from_le_bytes(b).into()),
            DType::U16 => contents.uint_contents = read(tensor, |b| u16::from_le_bytes(b).into()),
            DType::U32 => contents.uint_contents = read(tensor, u32::from_le_bytes),
            DType::U64 => contents.uint64_contents = read(tensor, u64::from_le_bytes),
            DType::F32 => contents.fp32_contents = read(tensor, f32::from_le_bytes),
            DType::F64 => contents.fp64_contents = read(tensor, f64::from_le_bytes),
            // `holds` is false of them.
            DType::F16 | DType::BF16 => {}
        }
        contents
    }

    /// The elements' bytes as `dtype`, from the field for it.
    pub(super) fn to_bytes(&self, name: &str, dtype: DType) -> Result<Vec<u8>, ProtocolError> {
        let datatype = datatype::name(dtype);
        let others = self.count() - self.count_of(dtype);
        if others > 0 {
            return Err(wrong(format!("input {name:?}: {others} contents are not {datatype}'s")));
        }
        let data = match dtype {
            DType::Bool => narrow(&self.bool_contents, |value: bool| [u8::from(value)]),
            DType::I8 => narrow(&self.int_contents, i8::to_le_bytes),
            DType::I16 => narrow(&self.int_contents, i16::to_le_bytes),
            DType::I32 => narrow(&self.int_contents, i32::to_le_bytes),
            DType::I64 => narrow(&self.int64_contents, i64::to_le_bytes),
            DType::U8 => narrow(&self.uint_contents, u8::to_le_bytes),
            DType::U16 => narrow(&self.uint_contents, u16::to_le_bytes),
            DType::U32 => narrow(&self.uint_contents, u32::to_le_bytes),
            DType::U64 => narrow(&self.uint64_contents, u64::to_le_bytes),
            DType::F32 => narrow(&self.fp32_contents, f32::to_le_bytes),
            DType::F64 => narrow(&self.fp64_contents, f64::to_le_bytes),
            DType::F16 | DType::BF16 => {
                return Err(wrong(format!(
                    "input {name:?}: send {datatype} as raw_input_contents"
                )));
            }
        };
        data.map_err(|value| wrong(format!("input {name:?}: an element is {value}, no {datatype}")))
    }

    /// The elements of the field for a type.
    fn count_of(&self, dtype: DType) -> usize {
        match dtype {
            DType::Bool => self.bool_contents.len(),
            DType::I8 | DType::I16 | DType::I32 => self.int_contents.len(),
            DType::I64 => self.int64_contents.len(),
            DType::U8 | DType::U16 | DType::U32 => self.uint_contents.len(),
            DType::U64 => self.uint64_contents.len(),
            DType::F32 => self.fp32_contents.len(),
            DType::F64 => self.fp64_contents.len(),
            DType::F16 | DType::BF16 => 0,
        }
    }

    /// The elements of all fields.
    fn count(&self) -> usize {
        self.bool_contents.len()
            + self.int_contents.len()
            + self.int64_contents.len()
            + self.uint_contents.len()
            + self.uint64_contents.len()
            + self.fp32_contents.len()
            + self.fp64_contents.len()
            + self.bytes_contents.len()
    }
}

/// Elements in their own width; one that does not fit is the error.
fn narrow<W: Copy + ToString + TryInto<N>, N, const B: usize>(
    elements: &[W],
    bytes: fn(N) -> [u8; B],
) -> Result<Vec<u8>, String> {
    let mut data = Vec::with_capacity(elements.len() * B);
    for element in elements {
        let fits = (*element).try_into().map_err(|_| element.to_string())?;
        data.extend_from_slice(&bytes(fits));
    }
    Ok(data)
}

fn read<const N: usize, T>(tensor: &Tensor, element: impl Fn([u8; N]) -> T) -> Vec<T> {
    tensor.data.as_chunks::<N>().0.iter().map(|bytes| element(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_field_and_16_bit_floats_have_none() {
        for dtype in DType::ALL {
            let shape = vec![3];
            let data = (0..3 * dtype.size_bytes() as u8)
                .map(|n| if dtype == DType::Bool { n % 2 } else { n.wrapping_mul(37) });
            let tensor = Tensor { dtype, shape, data: data.collect() };
            let output = OutputTensor::Tensor(&tensor);
            if !Contents::holds(&output) {
                let error = Contents::default().to_bytes("x", dtype).unwrap_err().to_string();
                assert!(error.contains("raw_input_contents"), "{error}");
                continue;
            }
            assert_eq!(Contents::of(&output).to_bytes("x", dtype).unwrap(), tensor.data);
        }
    }

    #[test]
    fn elements_that_do_not_fit_or_are_in_another_field_are_refused() {
        let contents = Contents { uint_contents: vec![256], ..Contents::default() };
        let error = contents.to_bytes("x", DType::U8).unwrap_err().to_string();
        assert_eq!(error, "input \"x\": an element is 256, no UINT8");
        let error = contents.to_bytes("x", DType::F32).unwrap_err().to_string();
        assert!(error.contains("1 contents are not FP32's"), "{error}");
    }
}
