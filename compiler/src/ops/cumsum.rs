//! `CumSum`.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::CumSum;

use crate::error::CompileError;
use crate::kernels::cumulate::Cumulate;
use crate::kernels::rows::Rows;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<CumSum>()?;
    Some(lower_cumsum(lowering, node, op))
}

fn lower_cumsum(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &CumSum,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let dtype = lowering.dtype(input);
    if !Cumulate::supports(dtype) {
        let detail = format!("of type {dtype}; FP32, FP64, I32 and I64 are supported");
        return Err(lowering.unsupported(node, detail));
    }
    let shape = lowering.shape(input);
    let rows = Rows::along(&shape, &[op.axis]).expect("there is an axis");
    let kernel = Cumulate { rows, dtype, exclusive: op.exclusive, reverse: op.reverse };
    let output = lowering.step(node, kernel, &[input], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
