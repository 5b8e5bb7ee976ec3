//! The protocol's names of element types.

use leeway_contract::{DType, Tensor, TensorSpec};

use super::{ProtocolError, wrong};

/// The protocol's name of a type.
pub fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "FP16",
        DType::F32 => "FP32",
        DType::F64 => "FP64",
        DType::BF16 => "BF16",
        DType::U8 => "UINT8",
        DType::I32 => "INT32",
        DType::I64 => "INT64",
        DType::I8 => "INT8",
        DType::Bool => "BOOL",
        DType::I16 => "INT16",
        DType::U16 => "UINT16",
        DType::U32 => "UINT32",
        DType::U64 => "UINT64",
    }
}

/// The type with the protocol's name `datatype`.
pub fn parse(datatype: &str) -> Result<DType, ProtocolError> {
    DType::ALL.into_iter().find(|dtype| name(*dtype) == datatype).ok_or_else(|| {
        let seen: String = datatype.chars().take(40).collect();
        wrong(format!("the datatype {seen:?} is not one that a model here can have"))
    })
}

/// Checks a tensor, with an error in the protocol's words.
pub(crate) fn check(spec: &TensorSpec, tensor: &Tensor) -> Result<(), ProtocolError> {
    let input = &spec.name;
    if (spec.dtype, &spec.shape) != (tensor.dtype, &tensor.shape) {
        let (wanted, seen) = (kind(spec.dtype, &spec.shape), kind(tensor.dtype, &tensor.shape));
        return Err(wrong(format!("input {input:?}: wanted {wanted}, seen {seen}")));
    }
    let (wanted, seen) = (spec.size_bytes().unwrap_or(usize::MAX), tensor.data.len());
    if wanted != seen {
        let message = format!("input {input:?}: wanted {wanted} bytes of data, seen {seen}");
        return Err(wrong(message));
    }
    Ok(())
}

fn kind(dtype: DType, shape: &[u32]) -> String {
    let shape: Vec<String> = shape.iter().take(16).map(u32::to_string).collect();
    format!("{}[{}]", name(dtype), shape.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_name() {
        for dtype in DType::ALL {
            assert_eq!(parse(name(dtype)), Ok(dtype));
        }
        assert!(parse("BYTES").is_err() && parse("U8").is_err());
    }
}
