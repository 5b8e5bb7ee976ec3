//! `Concat`.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::TypedConcat;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<TypedConcat>()?;
    Some(lower_concat(lowering, node, op.axis))
}

fn lower_concat(
    lowering: &mut Lowering,
    node: &TypedNode,
    axis: usize,
) -> Result<(), CompileError> {
    let (_, shape) = lowering.output_type(node, 0)?;
    let strides = dense_strides(&shape);
    let (mut inputs, mut parts) = (Vec::new(), Vec::new());
    let mut at = 0;
    for input in 0..node.inputs.len() {
        let value = lowering.input(node, input)?;
        let part = lowering.shape(value);
        let size = part[axis];
        parts.push(Part {
            input,
            from: 0,
            from_strides: dense_strides(&part),
            shape: part,
            to: at * strides[axis],
            to_strides: strides.clone(),
        });
        inputs.push(value);
        at += size;
    }
    let output = lowering.copy(node, "concat", &inputs, None, parts, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
