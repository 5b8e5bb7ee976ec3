//! `ScatterElements`, `ScatterND`, and `GatherND`, their opposite. An index outside
//! its axis, which ONNX leaves undefined, is taken as the nearest one inside.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::{
    GatherNd, ScatterElements, ScatterNd, ScatterReduction,
};

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::gather_nd::GatherNd as Kernel;
use crate::kernels::indices::Component;
use crate::kernels::scatter::{Combine, Scatter};
use crate::lower::Lowering;
use crate::schedule::ValueId;

pub fn lower_elements(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<ScatterElements>()?;
    Some(elements(lowering, node, op))
}

pub fn lower_nd(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<ScatterNd>()?;
    Some(nd(lowering, node, op))
}

pub fn lower_gather_nd(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<GatherNd>()?;
    Some(gather_nd(lowering, node, op.batch_dims))
}

fn combine(reduction: ScatterReduction) -> Combine {
    match reduction {
        ScatterReduction::None => Combine::Replace,
        ScatterReduction::Add => Combine::Add,
        ScatterReduction::Mul => Combine::Multiply,
        ScatterReduction::Min => Combine::Min,
        ScatterReduction::Max => Combine::Max,
    }
}

/// The data, the indices and the updates, of types that fit.
fn inputs(lowering: &mut Lowering, node: &TypedNode) -> Result<Vec<ValueId>, CompileError> {
    let inputs: Result<Vec<_>, _> =
        (0..node.inputs.len()).map(|input| lowering.input(node, input)).collect();
    let inputs = inputs?;
    let dtype = lowering.dtype(inputs[1]);
    match dtype {
        DType::I64 | DType::I32 => Ok(inputs),
        _ => {
            let detail = format!("indices of type {dtype}; I64 and I32 are supported");
            Err(lowering.unsupported(node, detail))
        }
    }
}

fn elements(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &ScatterElements,
) -> Result<(), CompileError> {
    let inputs = inputs(lowering, node)?;
    let (dtype, shape) = (lowering.dtype(inputs[0]), lowering.shape(inputs[0]));
    let updates = lowering.shape(inputs[2]);
    let mut data_strides = dense_strides(&shape);
    let stride = std::mem::replace(&mut data_strides[op.axis], 0);
    let component = Component { axis: shape[op.axis], step_bytes: stride * dtype.size_bytes() };
    let kernel = Scatter {
        dtype,
        data_bytes: lowering.schedule.value(inputs[0]).size_bytes(),
        index_strides: dense_strides(&lowering.shape(inputs[1])),
        shape: updates,
        block: 1,
        index_dtype: lowering.dtype(inputs[1]),
        components: vec![component],
        data_strides,
        combine: combine(op.reduction),
    };
    let output = lowering.step(node, kernel, &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

/// The last axis of the indices is of indices that name a block together.
fn components(shape: &[usize], count: usize, size_bytes: usize) -> Vec<Component> {
    let strides = dense_strides(shape);
    let component =
        |axis: usize| Component { axis: shape[axis], step_bytes: strides[axis] * size_bytes };
    (0..count).map(component).collect()
}

fn nd(lowering: &mut Lowering, node: &TypedNode, op: &ScatterNd) -> Result<(), CompileError> {
    let inputs = inputs(lowering, node)?;
    let (dtype, shape) = (lowering.dtype(inputs[0]), lowering.shape(inputs[0]));
    let index_shape = lowering.shape(inputs[1]);
    let (&count, blocks) = index_shape.split_last().expect("indices have an axis");
    let kernel = Scatter {
        dtype,
        data_bytes: lowering.schedule.value(inputs[0]).size_bytes(),
        shape: vec![blocks.iter().product()],
        block: shape[count..].iter().product(),
        index_dtype: lowering.dtype(inputs[1]),
        components: components(&shape, count, dtype.size_bytes()),
        index_strides: vec![count],
        data_strides: vec![0],
        combine: combine(op.reduction),
    };
    let output = lowering.step(node, kernel, &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

fn gather_nd(
    lowering: &mut Lowering,
    node: &TypedNode,
    batch_dims: usize,
) -> Result<(), CompileError> {
    let inputs = inputs(lowering, node)?;
    let (dtype, shape) = (lowering.dtype(inputs[0]), lowering.shape(inputs[0]));
    let index_shape = lowering.shape(inputs[1]);
    let (&count, blocks) = index_shape.split_last().expect("indices have an axis");
    let inner = &shape[batch_dims..];
    let kernel = Kernel {
        batches: shape[..batch_dims].iter().product(),
        blocks: blocks[batch_dims..].iter().product(),
        index_dtype: lowering.dtype(inputs[1]),
        components: components(inner, count, dtype.size_bytes()),
        batch_bytes: inner.iter().product::<usize>() * dtype.size_bytes(),
        block_bytes: inner[count..].iter().product::<usize>() * dtype.size_bytes(),
    };
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let output = lowering.step(node, kernel, &inputs, dtype, output_shape);
    lowering.bind(node, 0, output);
    Ok(())
}
