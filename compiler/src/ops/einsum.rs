//! `Gemm`, `MatMul` and `Einsum` with one constant operand: after moving axes, a
//! matrix times constant weights.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{InOut, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::dense::Dense;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<EinSum>()?;
    Some(lower_einsum(lowering, node, op))
}

/// One axis of the expression: where it is in the data, the weights and the
/// output, and its size.
#[derive(Clone, Copy)]
struct Axis {
    data: Option<usize>,
    weights: Option<usize>,
    output: Option<usize>,
}

fn lower_einsum(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &EinSum,
) -> Result<(), CompileError> {
    if op.q_params.is_some() || node.inputs.len() != 2 {
        let detail = "quantised matrix products are not supported; FP32 is";
        return Err(lowering.unsupported(node, detail));
    }
    let constants = [0, 1].map(|input| lowering.constant(node, input).is_some());
    let (data_slot, weights_slot) = match constants {
        [_, true] => (0, 1),
        [true, false] => (1, 0),
        [false, false] => {
            let detail = "a product of two computed tensors is not supported; one must be constant";
            return Err(lowering.unsupported(node, detail));
        }
    };
    let data = lowering.input(node, data_slot)?;
    lowering.want_f32(node, &[data])?;
    let weights_value = lowering.input(node, weights_slot)?;
    let weights_shape = lowering.shape(weights_value);
    let Some(weights) = lowering.constant_f32(node, weights_slot) else {
        return Err(lowering.unsupported(node, "its constant operand is not of type FP32"));
    };
    let data_shape = lowering.shape(data);
    let (_, output_shape) = lowering.output_type(node, 0)?;

    let (mut m, mut k, mut n) = (Vec::new(), Vec::new(), Vec::new());
    for axis in op.axes.iter_all_axes() {
        let at = |io: InOut| match axis.interface(io) {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(()),
        };
        let (Ok(data), Ok(weights), Ok(output)) =
            (at(InOut::In(data_slot)), at(InOut::In(weights_slot)), at(InOut::Out(0)))
        else {
            let detail = format!("the expression {:?} repeats an axis", op.axes);
            return Err(lowering.unsupported(node, detail));
        };
        // An axis of size 1 is no axis.
        let axis = Axis {
            data: data.filter(|&at| data_shape[at] > 1),
            weights: weights.filter(|&at| weights_shape[at] > 1),
            output: output.filter(|&at| output_shape[at] > 1),
        };
        match axis {
            Axis { data: None, weights: None, .. } => {}
            Axis { data: Some(_), weights: None, output: Some(_) } => m.push(axis),
            Axis { data: Some(_), weights: Some(_), output: None } => k.push(axis),
            Axis { data: None, weights: Some(_), output: Some(_) } => n.push(axis),
            _ => {
                let detail = format!(
                    "the expression {:?} is no matrix product: an axis is shared by both operands \
                     and the output, or summed in one operand only",
                    op.axes
                );
                return Err(lowering.unsupported(node, detail));
            }
        }
    }
    m.sort_by_key(|axis| axis.output);
    k.sort_by_key(|axis| axis.data);
    n.sort_by_key(|axis| axis.output);

    // The data as [m.., k..].
    let order = |axes: &[Axis], rank: usize, at: fn(&Axis) -> Option<usize>| {
        let mut order: Vec<usize> = axes.iter().filter_map(at).collect();
        let single: Vec<usize> = (0..rank).filter(|axis| !order.contains(axis)).collect();
        order.extend(single);
        order
    };
    let data_axes: Vec<Axis> = m.iter().chain(&k).copied().collect();
    let data_order = order(&data_axes, data_shape.len(), |axis| axis.data);
    let data = lowering.transpose(node, data, &data_order);

    // The weights as [k.., n..].
    let strides = dense_strides(&weights_shape);
    let weight_axes: Vec<usize> = k.iter().chain(&n).filter_map(|axis| axis.weights).collect();
    let packed = gather(&weights, &weight_axes, &weights_shape, &strides);

    let size = |axes: &[Axis], shape: &[usize], at: fn(&Axis) -> Option<usize>| {
        axes.iter().filter_map(at).map(|at| shape[at]).product::<usize>()
    };
    let columns = size(&n, &weights_shape, |axis| axis.weights);
    let dense = Dense {
        m: size(&m, &data_shape, |axis| axis.data),
        k: size(&k, &data_shape, |axis| axis.data),
        n: columns,
        weights: packed,
        bias: vec![0.0; columns],
        then: Expr::identity(),
    };

    // The output comes as [m.., n..]; its axes of size 1 are put in by the view.
    let output_axes: Vec<Axis> = m.iter().chain(&n).copied().collect();
    let from: Vec<usize> = output_axes.iter().filter_map(|axis| axis.output).collect();
    let in_place = from.is_sorted();
    let step_shape = match in_place {
        true => output_shape.clone(),
        false => from.iter().map(|&axis| output_shape[axis]).collect(),
    };
    let step = lowering.step(node, dense, &[data], DType::F32, step_shape);
    let output = match in_place {
        true => step,
        false => {
            let mut order: Vec<usize> = (0..from.len()).collect();
            order.sort_by_key(|&axis| from[axis]);
            let moved = lowering.transpose(node, step, &order);
            lowering.view(node, moved, output_shape)
        }
    };
    lowering.bind(node, 0, output);
    Ok(())
}

/// The elements of a dense tensor with only these axes, in this order.
fn gather(elements: &[f32], axes: &[usize], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut offsets = vec![0];
    for &axis in axes {
        offsets = offsets
            .iter()
            .flat_map(|&offset| (0..shape[axis]).map(move |i| offset + i * strides[axis]))
            .collect();
    }
    offsets.into_iter().map(|offset| elements[offset]).collect()
}
