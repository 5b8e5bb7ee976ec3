//! Operators of ONNX whose outputs are as long as the data has it. Here they are as
//! long as they can get, which is known when compiling: what is not there is -1, after
//! all that is.
//!
//! tract gives such an output a size that is only known at run time. These take the
//! place of its operators in its reader.

use tract_onnx::model::Onnx;

pub mod non_max_suppression;
pub mod non_zero;

/// Puts these operators into the reader.
pub fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("NonZero", non_zero::read);
    onnx.op_register.insert("NonMaxSuppression", non_max_suppression::read);
}
