//! Squared distances to constant points, and the coupling of probabilities: what
//! support vector machines need beside products.

use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::coupling::Coupling as CouplingKernel;
use crate::kernels::distances::Distances;
use crate::lower::Lowering;
use crate::ml::coupling::Coupling;
use crate::ml::distances::SquaredDistances;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<SquaredDistances>()?;
    Some(lower_distances(lowering, node, op))
}

pub fn lower_coupling(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Coupling>()?;
    Some(couple(lowering, node, op))
}

fn lower_distances(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &SquaredDistances,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let view = op.points.to_plain_array_view::<f32>();
    let points = match view {
        Ok(view) => view.iter().copied().collect(),
        Err(_) => return Err(lowering.unsupported(node, "its points are not of type FP32")),
    };
    let shape = lowering.shape(input);
    let kernel = Distances { rows: shape[0], features: shape[1], points, then: Expr::identity() };
    let (dtype, output) = lowering.output_type(node, 0)?;
    let output = lowering.step(node, kernel, &[input], dtype, output);
    lowering.bind(node, 0, output);
    Ok(())
}

fn couple(lowering: &mut Lowering, node: &TypedNode, op: &Coupling) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let kernel = CouplingKernel { rows: lowering.shape(input)[0], classes: op.classes };
    let (dtype, output) = lowering.output_type(node, 0)?;
    let output = lowering.step(node, kernel, &[input], dtype, output);
    lowering.bind(node, 0, output);
    Ok(())
}
