//! `Expand`: a tensor repeated along axes where it has one index.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::MultiBroadcastTo;

use crate::emit::nest::{broadcast_strides, dense_strides};
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<MultiBroadcastTo>()?;
    Some(lower_broadcast(lowering, node))
}

fn lower_broadcast(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (_, shape) = lowering.output_type(node, 0)?;
    // A lower rank is aligned at the last axis.
    let mut from = vec![1; shape.len().saturating_sub(lowering.shape(input).len())];
    from.extend(lowering.shape(input));
    let part = Part {
        input: 0,
        shape: shape.clone(),
        from: 0,
        from_strides: broadcast_strides(&from, &shape),
        to: 0,
        to_strides: dense_strides(&shape),
    };
    let output = lowering.copy(node, "broadcast", &[input], None, vec![part], shape);
    lowering.bind(node, 0, output);
    Ok(())
}
