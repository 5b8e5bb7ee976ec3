//! Casts between element types: reals to integers truncate and saturate,
//! integers to narrower ones wrap.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cast::Cast;

use super::elementwise;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node};
use crate::kernels::integers::Function;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<Cast>()?;
    Some(lower_cast(lowering, node))
}

fn lower_cast(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let from = lowering.dtype(input);
    let (to, _) = lowering.output_type(node, 0)?;
    if from == to {
        lowering.bind(node, 0, input);
        return Ok(());
    }
    let to_wide = matches!(to, DType::I64 | DType::U64);
    let from_wide = matches!(from, DType::I64 | DType::U64);
    if elementwise::is_real(from) && to == DType::Bool {
        let nodes = vec![Node::Operand(0), Node::Constant(0.0), Node::Binary(Binary::Ne, 0, 1)];
        return elementwise::map(lowering, node, Expr::of(nodes));
    }
    // Between FP32 and integers of 64 bits: with one rounding.
    let direct = (from == DType::F32 && to_wide) || (from_wide && to == DType::F32);
    if (elementwise::is_real(from) || elementwise::is_real(to)) && !direct {
        return elementwise::map(lowering, node, Expr::identity());
    }
    let function = if to == DType::Bool { Function::IsNotZero } else { Function::Cast };
    elementwise::integers(lowering, node, function)
}
