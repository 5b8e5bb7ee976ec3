//! `GRU` over a whole sequence, as tract keeps it where the reset gate comes after
//! the recurrent product (`linear_before_reset`, as PyTorch exports it): one
//! product of all inputs, then the steps one by one.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::gru_seq::GruSeq;

use super::recurrent::{Gates, gru_cell};
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::copy::Part;
use crate::kernels::dense::Dense;
use crate::lower::Lowering;
use crate::schedule::ValueId;
use crate::unroll::MOST_ITERATIONS;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<GruSeq>()?;
    Some(lower_sequence(lowering, node, op))
}

fn lower_sequence(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &GruSeq,
) -> Result<(), CompileError> {
    let (hidden, width) = (op.hidden, 3 * op.hidden);
    let input = lowering.input(node, 0)?;
    let first = lowering.input(node, node.inputs.len() - 1)?;
    lowering.want_f32(node, &[input, first])?;
    let &[batch, steps, size] = &lowering.shape(input)[..] else {
        return Err(lowering.unsupported(node, "its input has not three axes"));
    };
    if steps > MOST_ITERATIONS {
        let detail = format!("a sequence of {steps} steps; up to {MOST_ITERATIONS} are supported");
        return Err(lowering.unsupported(node, detail));
    }
    let at = if op.projected { 1 } else { 2 };
    let bias = match op.has_bias {
        true => lowering.constant_f32(node, at + 1),
        false => Some(vec![0.0; 2 * width]),
    };
    let (Some(recurrence), Some(bias)) = (lowering.constant_f32(node, at), bias) else {
        let detail = "its weights are computed; only constant weights are supported";
        return Err(lowering.unsupported(node, detail));
    };
    let of_inputs = if op.projected {
        input
    } else {
        let Some(weights) = lowering.constant_f32(node, 1) else {
            let detail = "its weights are computed; only constant weights are supported";
            return Err(lowering.unsupported(node, detail));
        };
        let product = dense(batch * steps, &weights, size, bias[..width].to_vec());
        let shape = vec![batch, steps, width];
        lowering.step(node, product, &[input], DType::F32, shape)
    };

    let shape = vec![batch, hidden];
    let mut state = lowering.view(node, first, shape.clone());
    let mut states: Vec<ValueId> = vec![state; steps];
    for step in 0..steps {
        let step = if op.chunk < 0 { steps - 1 - step } else { step };
        let product = dense(batch, &recurrence, hidden, bias[width..].to_vec());
        let of_state = lowering.step(node, product, &[state], DType::F32, vec![batch, width]);
        let of_input = Gates { value: of_inputs, first: step * width, row: steps * width };
        let of_state = Gates { value: of_state, first: 0, row: width };
        state = gru_cell(lowering, node, [of_input, of_state], state, hidden, &shape);
        states[step] = state;
    }
    if op.emit_y {
        let part = |step: usize| Part {
            input: step,
            shape: shape.clone(),
            from: 0,
            from_strides: vec![hidden, 1],
            to: step * hidden,
            to_strides: vec![steps * hidden, 1],
        };
        let parts = (0..steps).map(part).collect();
        let all = vec![batch, steps, hidden];
        let all = lowering.copy(node, "states", &states, None, parts, all);
        lowering.bind(node, 0, all);
    }
    let last = lowering.view(node, state, vec![batch, 1, hidden]);
    lowering.bind(node, 1, last);
    Ok(())
}

/// A product with weights that lie as `[n][k]`.
fn dense(m: usize, weights: &[f32], k: usize, bias: Vec<f32>) -> Dense {
    let n = bias.len();
    let weights = (0..k).flat_map(|k_at| (0..n).map(move |n_at| weights[n_at * k + k_at]));
    Dense { m, k, n, weights: weights.collect(), bias, then: Expr::identity(), form: None }
}
