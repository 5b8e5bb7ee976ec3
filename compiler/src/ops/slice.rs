//! `Slice` and `Split`.

use tract_onnx::tract_hir::internal::{DimLike, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::array::Slice;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Slice>()?;
    Some(lower_slice(lowering, node, op))
}

fn lower_slice(lowering: &mut Lowering, node: &TypedNode, op: &Slice) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (_, shape) = lowering.output_type(node, 0)?;
    let Ok(start) = op.start.to_usize() else {
        return Err(lowering.unsupported(node, "where it begins is not known when compiling"));
    };
    let strides = dense_strides(&lowering.shape(input));
    let part = Part {
        input: 0,
        shape: shape.clone(),
        from: start * strides[op.axis],
        from_strides: strides,
        to: 0,
        to_strides: dense_strides(&shape),
    };
    let output = lowering.copy(node, "slice", &[input], None, vec![part], shape);
    lowering.bind(node, 0, output);
    Ok(())
}
