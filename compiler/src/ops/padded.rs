//! `NonZero` and `NonMaxSuppression`, whose outputs are padded.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::kernels::non_max_suppression::NonMaxSuppression;
use crate::kernels::non_zero::NonZero;
use crate::lower::Lowering;
use crate::padded::non_max_suppression::NonMaxSuppression as Suppression;
use crate::padded::non_zero::NonZero as Op;

pub fn lower_non_zero(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    node.op_as::<Op>()?;
    Some(non_zero(lowering, node))
}

pub fn lower_suppression(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Suppression>()?;
    Some(suppression(lowering, node, op))
}

fn non_zero(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (dtype, shape) = (lowering.dtype(input), lowering.shape(input));
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let kernel = NonZero { dtype, shape };
    let output = lowering.step(node, kernel, &[input], DType::I64, output_shape);
    lowering.bind(node, 0, output);
    Ok(())
}

fn suppression(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &Suppression,
) -> Result<(), CompileError> {
    let (boxes, scores) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    lowering.want_f32(node, &[boxes, scores])?;
    let [batches, classes, count] = lowering.shape(scores)[..] else {
        return Err(lowering.unsupported(node, "its scores have not the dimensions N, C, boxes"));
    };
    let kernel = NonMaxSuppression {
        batches,
        classes,
        boxes: count,
        most: op.most.min(count),
        overlap: op.overlap,
        threshold: op.threshold,
        centers: op.centers,
    };
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let output = lowering.step(node, kernel, &[boxes, scores], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
