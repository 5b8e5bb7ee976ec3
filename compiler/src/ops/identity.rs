//! Nodes that pass their input on.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::identity::Identity;

use crate::error::CompileError;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<Identity>()?;
    let input = lowering.input(node, 0);
    Some(input.map(|value| lowering.bind(node, 0, value)))
}
