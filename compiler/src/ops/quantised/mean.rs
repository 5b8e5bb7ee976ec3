//! The mean of each channel of quantised images.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::kernels::quantised::mean;
use crate::lower::Lowering;
use crate::quantised::mean::Mean;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Mean>()?;
    Some(lower_mean(lowering, node, op))
}

fn lower_mean(lowering: &mut Lowering, node: &TypedNode, op: &Mean) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let rows = shape.iter().product::<usize>();
    let kernel = mean::Mean {
        rows,
        count: lowering.shape(input).iter().product::<usize>() / rows,
        signed: lowering.dtype(input) == DType::I8,
        zero_point: op.zero_point,
        outcome: op.outcome.clone(),
    };
    let output = lowering.step(node, kernel, &[input], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
