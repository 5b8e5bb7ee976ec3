//! `TopK`, with a k that is known.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::Topk;

use crate::error::CompileError;
use crate::kernels::rows::Rows;
use crate::kernels::top_k::TopK;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Topk>()?;
    Some(lower_top_k(lowering, node, op))
}

fn lower_top_k(lowering: &mut Lowering, node: &TypedNode, op: &Topk) -> Result<(), CompileError> {
    if lowering.constant(node, 1).is_none() {
        let detail = "the number k is computed; a constant is supported";
        return Err(lowering.unsupported(node, detail));
    }
    let input = lowering.input(node, 0)?;
    let (dtype, shape) = (lowering.dtype(input), lowering.shape(input));
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let (k, axis) = (output_shape[op.axis], shape[op.axis]);
    if k > axis {
        let detail = format!("the {k} first of {axis} elements");
        return Err(lowering.unsupported(node, detail));
    }
    let rows = Rows::along(&shape, &[op.axis]).expect("there is an axis");
    let kernel = TopK { rows, dtype, k, largest: op.largest };
    let outputs = vec![(dtype, output_shape.clone()), (DType::I64, output_shape)];
    let outputs = lowering.step_with_outputs(node, kernel, &[input], outputs);
    for (slot, output) in outputs.into_iter().enumerate() {
        lowering.bind(node, slot, output);
    }
    Ok(())
}
