//! Convolutions of quantised images with constant weights, 1-D and 2-D.

use tract_onnx::tract_hir::internal::TypedNode;

use super::operand;
use crate::error::CompileError;
use crate::kernels::quantised::conv;
use crate::lower::Lowering;
use crate::ops::conv::Images;
use crate::quantised::conv::Conv;
use crate::quantised::integers;
use crate::quantised::product::{Zeros, zero_of};

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Conv>()?;
    Some(lower_conv(lowering, node, op))
}

fn lower_conv(lowering: &mut Lowering, node: &TypedNode, op: &Conv) -> Result<(), CompileError> {
    let images = Images::of(lowering, node, &op.spec)?;
    let mut inputs = vec![images.value];
    let (_, input) = operand(lowering, node, 0, &op.input, &mut inputs)?;
    let weights = lowering.constant(node, 1).and_then(|tensor| integers(&tensor).ok());
    let (Some(weights), Zeros::Known(zeros)) = (weights, &op.weights) else {
        let detail = "its weights are computed; only constant weights are supported";
        return Err(lowering.unsupported(node, detail));
    };
    let outputs = op.spec.output_channels;
    let per_output = weights.len() / outputs;
    let weights = weights.into_iter().enumerate();
    let kernel = conv::Conv {
        batch: images.batch,
        groups: op.groups,
        inputs: op.spec.input_channels / op.groups,
        outputs: outputs / op.groups,
        y: images.y,
        x: images.x,
        input,
        weights: weights.map(|(at, q)| (q - zero_of(zeros, at / per_output)) as i16).collect(),
        bias: if op.bias.is_empty() { vec![0; outputs] } else { op.bias.clone() },
        outcome: op.outcome.clone(),
    };
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let output = lowering.step(node, kernel.simplified(), &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
