//! The operators on 8-bit integers, which [`crate::quantised`] reads.

mod conv;
mod dynamic;
mod linear;
mod matmul;
mod mean;

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::kernels::quantised::widen::{Bytes, Zero};
use crate::lower::Lowering;
use crate::quantised::product::Zeros;
use crate::schedule::ValueId;

pub use conv::lower as lower_conv;
pub use dynamic::lower as lower_dynamic;
pub use linear::{lower_dequantize, lower_quantize};
pub use matmul::lower as lower_matmul;
pub use mean::lower as lower_mean;

/// An operand of a product as its kernel wants it: the value, and how to widen it.
/// Zero points that are computed become the kernel's next input.
fn operand(
    lowering: &mut Lowering,
    node: &TypedNode,
    input: usize,
    zeros: &Zeros,
    kernel_inputs: &mut Vec<ValueId>,
) -> Result<(ValueId, Bytes), CompileError> {
    let value = lowering.input(node, input)?;
    let zero = match zeros {
        Zeros::Known(zeros) => match zeros[..] {
            [zero] => Zero::Known(zero),
            _ => {
                let detail = "several zero points of an operand that is computed; one is supported";
                return Err(lowering.unsupported(node, detail));
            }
        },
        &Zeros::Input(input) => {
            kernel_inputs.push(lowering.input(node, input)?);
            Zero::Input(kernel_inputs.len() - 1)
        }
    };
    Ok((value, Bytes { signed: lowering.dtype(value) == DType::I8, zero }))
}
