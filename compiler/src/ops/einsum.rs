//! `Gemm`, `MatMul` and `Einsum` of two tensors: where the axes lie as in images, a
//! 1x1 convolution, which is how tract writes one; else, after moving axes, a
//! matrix times constant weights, or products of two computed matrices.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{DatumType, InOut, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

use super::contract;
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::conv::{Conv, Window};
use crate::kernels::dense::Dense;
use crate::kernels::matmul::MatMul;
use crate::lower::Lowering;
use crate::schedule::{Kernel, ValueId};

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

/// The axes of a matrix product. Those of size 1 are none.
#[derive(Default)]
struct Axes {
    /// In all three.
    batch: Vec<Axis>,
    /// In the data and the output.
    m: Vec<Axis>,
    /// In the data and the weights.
    k: Vec<Axis>,
    /// In the weights and the output.
    n: Vec<Axis>,
}

fn lower_einsum(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &EinSum,
) -> Result<(), CompileError> {
    if op.q_params.is_some() {
        let detail = "quantised matrix products are not supported; FP32 is";
        return Err(lowering.unsupported(node, detail));
    }
    let (dtype, _) = lowering.output_type(node, 0)?;
    if node.inputs.len() != 2 || dtype != DType::F32 {
        return contract::lower(lowering, node, op);
    }
    let constants = [0, 1].map(|input| lowering.constant(node, input).is_some());
    let (data_slot, weights_slot) = if constants == [true, false] { (1, 0) } else { (0, 1) };
    let data = lowering.input(node, data_slot)?;
    lowering.want_f32(node, &[data])?;
    let data_shape = lowering.shape(data);
    let slots = [data_slot, weights_slot];
    // Weights that a kernel packs are no value of the schedule.
    if let Some(weights) = Weights::of(lowering, node, weights_slot) {
        let Some(axes) = axes(lowering, node, op, slots, [&data_shape, &weights.shape])? else {
            return contract::lower(lowering, node, op);
        };
        if let Some(images) = Images::of(&axes) {
            return convolution(lowering, node, &axes, images, data, weights);
        }
        if axes.batch.is_empty() {
            return dense(lowering, node, axes, data, weights);
        }
    }
    let right = lowering.input(node, weights_slot)?;
    lowering.want_f32(node, &[right])?;
    let Some(axes) = axes(lowering, node, op, slots, [&data_shape, &lowering.shape(right)])? else {
        return contract::lower(lowering, node, op);
    };
    matmul(lowering, node, axes, data, right)
}

/// A constant operand.
struct Weights {
    shape: Vec<usize>,
    elements: Vec<f32>,
}

impl Weights {
    fn of(lowering: &Lowering, node: &TypedNode, input: usize) -> Option<Self> {
        let tensor = lowering.constant(node, input)?;
        let is_f32 = matches!(tensor.datum_type(), DatumType::F32 | DatumType::F16);
        let elements = is_f32.then(|| lowering.constant_f32(node, input))??;
        Some(Self { shape: tensor.shape().to_vec(), elements })
    }

    /// The elements in the order of these axes, which are all but those of size 1.
    fn ordered(self, axes: &[&[Axis]]) -> Vec<f32> {
        let axes = axes.iter().copied().flatten();
        let axes: Vec<usize> = axes.filter_map(|axis| axis.weights).collect();
        let (false, Some((&last, outer))) = (axes.is_sorted(), axes.split_last()) else {
            return self.elements;
        };
        let strides = dense_strides(&self.shape);
        let mut offsets = vec![0];
        for &axis in outer {
            let (size, stride) = (self.shape[axis], strides[axis]);
            let along = |offset| (0..size).map(move |i| offset + i * stride);
            offsets = offsets.into_iter().flat_map(along).collect();
        }
        let mut ordered = Vec::with_capacity(self.elements.len());
        for offset in offsets {
            let along = self.elements[offset..].iter().step_by(strides[last]);
            ordered.extend(along.take(self.shape[last]));
        }
        ordered
    }
}

/// The axes of a product of matrices; `None` for another expression.
fn axes(
    lowering: &Lowering,
    node: &TypedNode,
    op: &EinSum,
    [data_slot, weights_slot]: [usize; 2],
    [data_shape, weights_shape]: [&[usize]; 2],
) -> Result<Option<Axes>, CompileError> {
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let mut axes = Axes::default();
    for axis in op.axes.iter_all_axes() {
        let at = |io: InOut| match axis.interface(io) {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(()),
        };
        let (Ok(data), Ok(weights), Ok(output)) =
            (at(InOut::In(data_slot)), at(InOut::In(weights_slot)), at(InOut::Out(0)))
        else {
            return Ok(None);
        };
        let axis = Axis {
            data: data.filter(|&at| data_shape[at] > 1),
            weights: weights.filter(|&at| weights_shape[at] > 1),
            output: output.filter(|&at| output_shape[at] > 1),
        };
        match axis {
            Axis { data: None, weights: None, .. } => {}
            Axis { data: Some(_), weights: None, output: Some(_) } => axes.m.push(axis),
            Axis { data: Some(_), weights: Some(_), output: None } => axes.k.push(axis),
            Axis { data: None, weights: Some(_), output: Some(_) } => axes.n.push(axis),
            Axis { data: Some(_), weights: Some(_), output: Some(_) } => axes.batch.push(axis),
            _ => return Ok(None),
        }
    }
    axes.batch.sort_by_key(|axis| axis.output);
    axes.m.sort_by_key(|axis| axis.output);
    axes.k.sort_by_key(|axis| axis.data);
    axes.n.sort_by_key(|axis| axis.output);
    Ok(Some(axes))
}

/// The order of a tensor's axes that begins with these; those of size 1 follow.
fn order(axes: &[&[Axis]], rank: usize, at: fn(&Axis) -> Option<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = axes.iter().copied().flatten().filter_map(at).collect();
    let single: Vec<usize> = (0..rank).filter(|axis| !order.contains(axis)).collect();
    order.extend(single);
    order
}

fn size(axes: &[Axis], shape: &[usize], at: fn(&Axis) -> Option<usize>) -> usize {
    axes.iter().filter_map(at).map(|at| shape[at]).product()
}

/// The axes of the data that are in the output, where they lie as in images: the
/// data as [images.., groups.., k.., pixels..], the output as [images.., groups..,
/// n.., pixels..].
struct Images<'a> {
    images: &'a [Axis],
    pixels: &'a [Axis],
}

impl<'a> Images<'a> {
    fn of(axes: &'a Axes) -> Option<Self> {
        let first = axes.k.first()?.data;
        let (images, pixels) = axes.m.split_at(axes.m.partition_point(|axis| axis.data < first));
        let ordered = |inner: &[Axis], at: fn(&Axis) -> Option<usize>| {
            let parts = [images, &axes.batch, inner, pixels];
            parts.iter().copied().flatten().map(at).is_sorted()
        };
        let fits = !pixels.is_empty()
            && ordered(&axes.k, |axis| axis.data)
            && ordered(&axes.n, |axis| axis.output);
        fits.then_some(Self { images, pixels })
    }
}

fn convolution(
    lowering: &mut Lowering,
    node: &TypedNode,
    axes: &Axes,
    Images { images, pixels }: Images,
    data: ValueId,
    weights: Weights,
) -> Result<(), CompileError> {
    let data_shape = lowering.shape(data);
    let groups = size(&axes.batch, &data_shape, |axis| axis.data);
    let outputs = size(&axes.n, &weights.shape, |axis| axis.weights);
    let pixel_count = size(pixels, &data_shape, |axis| axis.data);
    let row =
        |size| Window { input: size, output: size, taps: 1, stride: 1, dilation: 1, before: 0 };
    let kernel = Conv {
        batch: size(images, &data_shape, |axis| axis.data),
        groups,
        inputs: size(&axes.k, &data_shape, |axis| axis.data),
        outputs,
        y: row(1),
        x: row(pixel_count),
        weights: weights.ordered(&[&axes.batch, &axes.n, &axes.k]),
        bias: vec![0.0; groups * outputs],
        then: Expr::identity(),
        choice: None,
    };
    finish(lowering, node, &[images, &axes.batch, &axes.n, pixels], kernel, &[data])
}

fn dense(
    lowering: &mut Lowering,
    node: &TypedNode,
    Axes { m, k, n, .. }: Axes,
    data: ValueId,
    weights: Weights,
) -> Result<(), CompileError> {
    let data_shape = lowering.shape(data);
    // The data as [m.., k..], the weights as [k.., n..].
    let data_order = order(&[&m, &k], data_shape.len(), |axis| axis.data);
    let data = lowering.transpose(node, data, &data_order);
    let columns = size(&n, &weights.shape, |axis| axis.weights);
    let kernel = Dense {
        m: size(&m, &data_shape, |axis| axis.data),
        k: size(&k, &data_shape, |axis| axis.data),
        n: columns,
        weights: weights.ordered(&[&k, &n]),
        bias: vec![0.0; columns],
        then: Expr::identity(),
        form: None,
    };
    finish(lowering, node, &[&m, &n], kernel, &[data])
}

fn matmul(
    lowering: &mut Lowering,
    node: &TypedNode,
    Axes { batch, m, k, n }: Axes,
    left: ValueId,
    right: ValueId,
) -> Result<(), CompileError> {
    let (left_shape, right_shape) = (lowering.shape(left), lowering.shape(right));
    let left_order = order(&[&batch, &m, &k], left_shape.len(), |axis| axis.data);
    let left = lowering.transpose(node, left, &left_order);
    let right_order = order(&[&batch, &k, &n], right_shape.len(), |axis| axis.weights);
    let right = lowering.transpose(node, right, &right_order);
    let kernel = MatMul {
        batch: size(&batch, &left_shape, |axis| axis.data),
        m: size(&m, &left_shape, |axis| axis.data),
        k: size(&k, &left_shape, |axis| axis.data),
        n: size(&n, &right_shape, |axis| axis.weights),
        then: Expr::identity(),
        form: None,
    };
    finish(lowering, node, &[&batch, &m, &n], kernel, &[left, right])
}

/// Adds the step, whose output has just these axes, and binds the node's output,
/// with its order of axes and those of size 1, to it.
fn finish(
    lowering: &mut Lowering,
    node: &TypedNode,
    axes: &[&[Axis]],
    kernel: impl Kernel,
    inputs: &[ValueId],
) -> Result<(), CompileError> {
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let axes = axes.iter().copied().flatten();
    let from: Vec<usize> = axes.filter_map(|axis| axis.output).collect();
    let in_place = from.is_sorted();
    let step_shape = match in_place {
        true => output_shape.clone(),
        false => from.iter().map(|&axis| output_shape[axis]).collect(),
    };
    let step = lowering.step(node, kernel, inputs, DType::F32, step_shape);
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
