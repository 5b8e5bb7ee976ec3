//! Every n-th index of an axis: tract's form of a slice with a step, and of a
//! 1x1 convolution with a stride.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::Downsample;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Downsample>()?;
    Some(lower_downsample(lowering, node, op))
}

fn lower_downsample(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &Downsample,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (_, shape) = lowering.output_type(node, 0)?;
    let Ok(step) = usize::try_from(op.stride) else {
        let detail = format!("a step of {}; steps of 1 and more are supported", op.stride);
        return Err(lowering.unsupported(node, detail));
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
