//! The protocol's names of element types.

use leeway_contract::DType;
use leeway_contract::certificate::oip_name;

use super::{ProtocolError, wrong};

const ALL: [DType; 13] = [
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

/// The type with the protocol's name `datatype`.
pub(super) fn parse(datatype: &str) -> Result<DType, ProtocolError> {
    ALL.into_iter().find(|dtype| oip_name(*dtype) == datatype).ok_or_else(|| {
        let seen: String = datatype.chars().take(40).collect();
        wrong(format!("the datatype {seen:?} is not one that a model here can have"))
    })
}
