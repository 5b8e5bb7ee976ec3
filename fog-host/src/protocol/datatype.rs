//! The protocol's names of element types.

use leeway_contract::DType;
use leeway_contract::certificate::oip_name;

use super::{ProtocolError, wrong};

/// The type with the protocol's name `datatype`.
pub(super) fn parse(datatype: &str) -> Result<DType, ProtocolError> {
    DType::ALL.into_iter().find(|dtype| oip_name(*dtype) == datatype).ok_or_else(|| {
        let seen: String = datatype.chars().take(40).collect();
        wrong(format!("the datatype {seen:?} is not one that a model here can have"))
    })
}
