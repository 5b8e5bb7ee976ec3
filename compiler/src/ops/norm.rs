//! Root mean square normalisation, which layer normalisation also comes to:
//! `x / sqrt(mean(x^2) + epsilon)` along an axis.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::nn::RmsNorm;

use crate::emit::nest::{broadcast_strides, dense_strides};
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
use crate::kernels::map::{Map, Operand};
use crate::kernels::rows::{Fold, Reduce, Rows};
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
    let mut mean_shape = shape.clone();
    let size = std::mem::replace(&mut mean_shape[op.axis], 1);
    let rows = Rows::along(&shape, &[op.axis]).expect("there is an axis");
    let reduce = Reduce { rows, fold: Fold::SumOfSquares, scale: 1.0 / size as f32 };
    let mean = lowering.step(node, reduce, &[input], DType::F32, mean_shape.clone());
    let operand = |strides| Operand::new(DType::F32, strides);
    let root = Map {
        shape: mean_shape.clone(),
        operands: vec![operand(dense_strides(&mean_shape))],
        expr: Expr::of(vec![
            Node::Operand(0),
            Node::Constant(epsilon),
            Node::Binary(Binary::Add, 0, 1),
            Node::Unary(Unary::Rsqrt, 2),
        ]),
        output: DType::F32,
    };
    let root = lowering.step(node, root, &[mean], DType::F32, mean_shape.clone());
    let map = Map {
        shape: shape.clone(),
        operands: vec![
            operand(dense_strides(&shape)),
            operand(broadcast_strides(&mean_shape, &shape)),
        ],
        expr: Expr::of(vec![Node::Operand(0), Node::Operand(1), Node::Binary(Binary::Mul, 0, 1)]),
        output: DType::F32,
    };
    let output = lowering.step(node, map, &[input, root], DType::F32, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
