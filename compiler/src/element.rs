//! Types of elements: the contract's beside tract's.

use leeway_contract::DType;
use tract_onnx::prelude::DatumType;

/// The types that both have. tract has no BF16.
const TYPES: [(DType, DatumType); 12] = [
    (DType::F16, DatumType::F16),
    (DType::F32, DatumType::F32),
    (DType::F64, DatumType::F64),
    (DType::U8, DatumType::U8),
    (DType::I8, DatumType::I8),
    (DType::I32, DatumType::I32),
    (DType::I64, DatumType::I64),
    (DType::I16, DatumType::I16),
    (DType::U16, DatumType::U16),
    (DType::U32, DatumType::U32),
    (DType::U64, DatumType::U64),
    (DType::Bool, DatumType::Bool),
];

/// The contract's type for one of tract's, if it has it.
pub fn dtype(datum_type: DatumType) -> Option<DType> {
    if datum_type == DatumType::TDim {
        // tract's type for sizes, which it also makes of some I64.
        return Some(DType::I64);
    }
    TYPES.iter().find(|(_, of_tract)| *of_tract == datum_type).map(|&(dtype, _)| dtype)
}

/// tract's type for one of the contract's, if it has it.
pub fn datum_type(dtype: DType) -> Option<DatumType> {
    TYPES.iter().find(|(of_contract, _)| *of_contract == dtype).map(|&(_, of_tract)| of_tract)
}
