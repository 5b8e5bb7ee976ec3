//! Every n-th index of an axis: tract's form of a slice with a step, and of a
//! 1x1 convolution with a stride.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::Downsample;

use super::gather;
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;
use crate::strided;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    Some(lower_downsample(lowering, node, strided::slice(node)?))
}

fn lower_downsample(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &Downsample,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (_, shape) = lowering.output_type(node, 0)?;
    let Ok(step) = usize::try_from(op.stride) else {
        // Backwards, from the last index that there is.
        let last = lowering.shape(input)[op.axis] - 1 - op.modulo;
        let step = op.stride.unsigned_abs();
        let indices: Vec<usize> = (0..shape[op.axis]).map(|i| last - i * step).collect();
        let output = gather::at_known(lowering, node, input, op.axis, &indices);
        lowering.bind(node, 0, output);
        return Ok(());
    };
    let mut strides = dense_strides(&lowering.shape(input));
    let from = op.modulo * strides[op.axis];
    strides[op.axis] *= step;
    let part = Part {
        input: 0,
        shape: shape.clone(),
        from,
        from_strides: strides,
        to: 0,
        to_strides: dense_strides(&shape),
    };
    let output = lowering.copy(node, "downsample", &[input], None, vec![part], shape);
    lowering.bind(node, 0, output);
    Ok(())
}
