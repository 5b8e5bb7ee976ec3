//! `Where`: one of two tensors, element by element.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::logic::Iff;

use super::elementwise;
use crate::error::CompileError;
use crate::expr::{Expr, Node};
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<Iff>()?;
    Some(lower_select(lowering, node))
}

fn lower_select(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let (dtype, _) = lowering.output_type(node, 0)?;
    if dtype != DType::F32 {
        return elementwise::select(lowering, node);
    }
    let operands = (0..3).map(Node::Operand);
    let expr = Expr::of(operands.chain([Node::Select(0, 1, 2)]).collect());
    elementwise::map(lowering, node, expr)
}
