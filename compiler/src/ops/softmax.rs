//! `Softmax` and `LogSoftmax`.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::nn::{Softmax as Op, SoftmaxKind};

use crate::error::CompileError;
use crate::kernels::rows::{Rows, Softmax};
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Op>()?;
    Some(lower_softmax(lowering, node, op))
}

fn lower_softmax(lowering: &mut Lowering, node: &TypedNode, op: &Op) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let logarithm = op.kind == SoftmaxKind::LogSoftmax;
    let shape = lowering.shape(input);
    let Some(rows) = Rows::along(&shape, &op.axes) else {
        let detail = format!("the axes {:?} are not next to each other", op.axes);
        return Err(lowering.unsupported(node, detail));
    };
    let dtype = lowering.dtype(input);
    let output = lowering.step(node, Softmax { rows, logarithm }, &[input], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
