//! Products of quantised matrices, of which the right one may be constant.

use tract_onnx::tract_hir::internal::TypedNode;

use super::operand;
use crate::emit::nest::{broadcast_strides, dense_strides};
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::kernels::quantised::dense::Dense;
use crate::kernels::quantised::matmul;
use crate::lower::Lowering;
use crate::quantised::integers;
use crate::quantised::matmul::MatMul;
use crate::quantised::product::{Zeros, zero_of};
use crate::schedule::ValueId;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<MatMul>()?;
    Some(match weights(lowering, node, op) {
        Some(weights) => dense(lowering, node, op, weights),
        None => computed(lowering, node, op),
    })
}

/// The right matrix without its zero points, if it is constant and the only one.
fn weights(lowering: &Lowering, node: &TypedNode, op: &MatMul) -> Option<Vec<i16>> {
    let tensor = lowering.constant(node, 1)?;
    let Zeros::Known(zeros) = &op.right else { return None };
    let (columns, outer) = tensor.shape().split_last()?;
    let (_, batch) = outer.split_last()?;
    batch.iter().all(|&size| size == 1).then_some(())?;
    let numbers = integers(&tensor).ok()?.into_iter().enumerate();
    Some(numbers.map(|(at, q)| (q - zero_of(zeros, at % columns)) as i16).collect())
}

fn dense(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &MatMul,
    weights: Vec<i16>,
) -> Result<(), CompileError> {
    let mut inputs = vec![lowering.input(node, 0)?];
    let (_, input) = operand(lowering, node, 0, &op.left, &mut inputs)?;
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let n = shape[shape.len() - 1];
    let kernel = Dense {
        m: shape.iter().product::<usize>() / n,
        k: weights.len() / n,
        n,
        input,
        weights,
        bias: if op.bias.is_empty() { vec![0; n] } else { op.bias.clone() },
        outcome: op.outcome.clone(),
    };
    let output = lowering.step(node, kernel, &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

fn computed(lowering: &mut Lowering, node: &TypedNode, op: &MatMul) -> Result<(), CompileError> {
    if !op.bias.is_empty() {
        let detail = "a bias where the right matrix is computed; a constant matrix is supported";
        return Err(lowering.unsupported(node, detail));
    }
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let axes = shape.len() - 2;
    let mut inputs: Vec<ValueId> = (0..2)
        .map(|input| {
            let value = lowering.input(node, input)?;
            let mut to = lowering.shape(value);
            to[..axes].copy_from_slice(&shape[..axes]);
            Ok(broadcast(lowering, node, value, to))
        })
        .collect::<Result<_, CompileError>>()?;
    let (_, left) = operand(lowering, node, 0, &op.left, &mut inputs)?;
    let (_, right) = operand(lowering, node, 1, &op.right, &mut inputs)?;
    let kernel = matmul::MatMul {
        batch: shape[..axes].iter().product(),
        m: shape[axes],
        k: lowering.shape(inputs[0])[axes + 1],
        n: shape[axes + 1],
        left,
        right,
        outcome: op.outcome.clone(),
    };
    let output = lowering.step(node, kernel, &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

/// A value repeated along the axes where it has one index.
fn broadcast(lowering: &mut Lowering, node: &TypedNode, value: ValueId, to: Vec<usize>) -> ValueId {
    let from = lowering.shape(value);
    if from == to {
        return value;
    }
    let part = Part {
        input: 0,
        shape: to.clone(),
        from: 0,
        from_strides: broadcast_strides(&from, &to),
        to: 0,
        to_strides: dense_strides(&to),
    };
    lowering.copy(node, "broadcast", &[value], None, vec![part], to)
}
