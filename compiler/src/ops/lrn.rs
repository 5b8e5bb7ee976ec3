//! `LRN`, local response normalisation across channels:
//! `x * (bias + alpha / size * s)^-beta`, `s` the sum of the squares of `size`
//! neighbouring channels.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx_opl::lrn::Lrn;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
use crate::kernels::map::{Map, Operand};
use crate::kernels::resample::{Resample, Sum};
use crate::kernels::rows::Rows;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Lrn>()?;
    Some(lower_lrn(lowering, node, op))
}

fn lower_lrn(lowering: &mut Lowering, node: &TypedNode, op: &Lrn) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let shape = lowering.shape(input);
    let channels = shape[1];
    let operand = || Operand::new(DType::F32, dense_strides(&shape));
    let square = Map {
        shape: shape.clone(),
        operands: vec![operand()],
        expr: Expr::of(vec![Node::Operand(0), Node::Unary(Unary::Square, 0)]),
        output: DType::F32,
    };
    let squares = lowering.step(node, square, &[input], DType::F32, shape.clone());

    // Where the window leaves the channels, a tap counts nothing.
    let (before, size) = ((op.size - 1) / 2, op.size);
    let tap = |channel: usize, offset: usize| match (channel + offset).checked_sub(before) {
        Some(at) if at < channels => (at, 1.0),
        _ => (channel, 0.0),
    };
    let sum = |channel| Sum { start: 0.0, taps: (0..size).map(|i| tap(channel, i)).collect() };
    let rows = Rows::along(&shape, &[1]).expect("there is an axis of channels");
    let window = Resample { rows, sums: (0..channels).map(sum).collect() };
    let sums = lowering.step(node, window, &[squares], DType::F32, shape.clone());

    let map = Map {
        shape: shape.clone(),
        operands: vec![operand(), operand()],
        expr: Expr::of(vec![
            Node::Operand(0),
            Node::Operand(1),
            Node::Constant(op.alpha / size as f32),
            Node::Binary(Binary::Mul, 1, 2),
            Node::Constant(op.bias),
            Node::Binary(Binary::Add, 3, 4),
            Node::Unary(Unary::Power(-op.beta), 5),
            Node::Binary(Binary::Mul, 0, 6),
        ]),
        output: DType::F32,
    };
    let output = lowering.step(node, map, &[input, sums], DType::F32, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
