//! Axes added, removed, moved and reshaped (`Reshape`, `Flatten`, `Squeeze`,
//! `Unsqueeze`, `Transpose`): views, and transpositions where data moves.

use tract_onnx::tract_hir::internal::{AxisOp, TypedNode};

use crate::error::CompileError;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<AxisOp>()?;
    Some(lower_axis(lowering, node, op))
}

fn lower_axis(lowering: &mut Lowering, node: &TypedNode, op: &AxisOp) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (_, shape) = lowering.output_type(node, 0)?;
    let output = match op {
        AxisOp::Move(from, to) => {
            let mut order: Vec<usize> = (0..shape.len()).collect();
            let axis = order.remove(*from);
            order.insert(*to, axis);
            lowering.transpose(node, input, &order)
        }
        AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..) => lowering.view(node, input, shape),
    };
    lowering.bind(node, 0, output);
    Ok(())
}
