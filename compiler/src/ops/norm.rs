//! Root mean square normalisation, which layer normalisation also comes to:
//! `x / sqrt(mean(x^2) + epsilon)` along an axis. [`crate::fuse`] makes one step of it
//! and of what centres and scales.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::nn::RmsNorm;

use crate::error::CompileError;
use crate::kernels::normal::Normal;
use crate::kernels::rows::Rows;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<RmsNorm>()?;
    Some(lower_rms(lowering, node, op))
}

fn lower_rms(lowering: &mut Lowering, node: &TypedNode, op: &RmsNorm) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let Ok(epsilon) = op.eps.cast_to_scalar::<f32>() else {
        return Err(lowering.unsupported(node, "its epsilon is not a number"));
    };
    let shape = lowering.shape(input);
    let rows = Rows::along(&shape, &[op.axis]).expect("there is an axis");
    let normal = Normal::of_rows(rows, epsilon);
    let output = lowering.step(node, normal, &[input], DType::F32, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
