//! `GRU` over a whole sequence, as tract keeps it where the reset gate comes after
//! the recurrent product (`linear_before_reset`, as PyTorch exports it): one
//! product of all inputs, then a loop over the steps.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_hir::tract_core::ops::scan::ScanInfo;

use super::recurrent::{Gates, gru_cell};
use super::scan;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::dense::Dense;
use crate::kernels::repeat::{Repeat, State};
use crate::lower::Lowering;
use crate::schedule::{Origin, Schedule, Value, ValueId};

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

    let (body, of_input, before, after) = cell(lowering, node, batch, &recurrence, &bias[width..]);
    let along = ScanInfo { axis: 1, chunk: op.chunk.signum() };
    let mut repeat = Repeat::new(steps);
    let shape = lowering.shape(of_inputs);
    repeat.taken.push(scan::slice(0, of_input, &shape, along, steps));
    repeat.states.push(State { outside: 1, inside: before, next: after });
    let mut types = Vec::new();
    if op.emit_y {
        let all = vec![batch, steps, hidden];
        repeat.given.push(scan::slice(0, after, &all, along, steps));
        types.push((DType::F32, all));
    }
    repeat.last.push((after, types.len()));
    types.push((DType::F32, vec![batch, 1, hidden]));
    let repeat = repeat.over(body).map_err(|bytes| {
        lowering.unsupported(node, format!("one of its steps needs {bytes} bytes of memory"))
    })?;
    let outputs = lowering.step_with_outputs(node, repeat, &[of_inputs, first], types);
    let first_slot = usize::from(!op.emit_y);
    for (slot, output) in outputs.into_iter().enumerate() {
        lowering.bind(node, first_slot + slot, output);
    }
    Ok(())
}

/// One step as a schedule, and in it: what is of the input, `[batch, 1, 3 hidden]`, the
/// state before and the state after it. The weights of the state lie as `[3 hidden][hidden]`.
fn cell(
    lowering: &mut Lowering,
    node: &TypedNode,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> (Schedule, ValueId, ValueId, ValueId) {
    let (width, hidden) = (bias.len(), bias.len() / 3);
    let outer = std::mem::take(&mut lowering.schedule);
    let mut input = |number: usize, shape: Vec<usize>| {
        let (name, dtype, origin) = (node.name.clone(), DType::F32, Origin::Input(number));
        let id = lowering.schedule.add(Value { name, dtype, shape, origin });
        lowering.schedule.inputs.push(id);
        id
    };
    let of_input = input(0, vec![batch, 1, width]);
    let before = input(1, vec![batch, hidden]);
    let product = dense(batch, weights, hidden, bias.to_vec());
    let of_state = lowering.step(node, product, &[before], DType::F32, vec![batch, width]);
    let gates = [of_input, of_state].map(|value| Gates { value, first: 0, row: width });
    let after = gru_cell(lowering, node, gates, before, hidden, &[batch, hidden]);
    // The state is read until the next one is there.
    lowering.schedule.outputs.extend([after, before]);
    (std::mem::replace(&mut lowering.schedule, outer), of_input, before, after)
}

/// A product with weights that lie as `[n][k]`.
fn dense(m: usize, weights: &[f32], k: usize, bias: Vec<f32>) -> Dense {
    let n = bias.len();
    let weights = (0..k).flat_map(|k_at| (0..n).map(move |n_at| weights[n_at * k + k_at]));
    Dense { m, k, n, weights: weights.collect(), bias, then: Expr::identity(), form: None }
}
