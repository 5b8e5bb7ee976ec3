//! `Gather` and `GatherElements`. An index outside the axis, which ONNX leaves
//! undefined, is taken as the nearest one inside.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::{Gather as Op, GatherElements};

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::gather::Gather;
use crate::lower::Lowering;
use crate::schedule::ValueId;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Op>()?;
    Some(lower_gather(lowering, node, op.axis))
}

pub fn lower_elements(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<GatherElements>()?;
    Some(gather_elements(lowering, node, op.axis))
}

fn lower_gather(
    lowering: &mut Lowering,
    node: &TypedNode,
    axis: usize,
) -> Result<(), CompileError> {
    let (data, indices) = inputs(lowering, node)?;
    let output = along(lowering, node, data, indices, axis);
    lowering.bind(node, 0, output);
    Ok(())
}

/// The slices of `data` along an axis that `indices` names, in the place of that
/// axis.
pub fn along(
    lowering: &mut Lowering,
    node: &TypedNode,
    data: ValueId,
    indices: ValueId,
    axis: usize,
) -> ValueId {
    let shape = lowering.shape(data);
    let index_shape = lowering.shape(indices);
    let count: usize = index_shape.iter().product();
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let dtype = lowering.dtype(data);
    let kernel = Gather {
        shape: vec![outer, count],
        index_dtype: lowering.dtype(indices),
        index_strides: vec![0, 1],
        data_strides: vec![shape[axis], 0],
        axis: shape[axis],
        axis_stride: 1,
        block_bytes: inner * dtype.size_bytes(),
    };
    let output = [&shape[..axis], &index_shape, &shape[axis + 1..]].concat();
    lowering.step(node, kernel, &[data, indices], dtype, output)
}

fn gather_elements(
    lowering: &mut Lowering,
    node: &TypedNode,
    axis: usize,
) -> Result<(), CompileError> {
    let (data, indices) = inputs(lowering, node)?;
    let shape = lowering.shape(indices);
    let data_shape = lowering.shape(data);
    let mut data_strides = dense_strides(&data_shape);
    let axis_stride = std::mem::replace(&mut data_strides[axis], 0);
    let dtype = lowering.dtype(data);
    let kernel = Gather {
        index_dtype: lowering.dtype(indices),
        index_strides: dense_strides(&shape),
        data_strides,
        axis: data_shape[axis],
        axis_stride,
        block_bytes: dtype.size_bytes(),
        shape: shape.clone(),
    };
    let output = lowering.step(node, kernel, &[data, indices], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

fn inputs(lowering: &mut Lowering, node: &TypedNode) -> Result<(ValueId, ValueId), CompileError> {
    let (data, indices) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    let dtype = lowering.dtype(indices);
    match dtype {
        DType::I64 | DType::I32 | DType::U8 | DType::I8 => Ok((data, indices)),
        _ => {
            let detail = format!("indices of type {dtype}; I64, I32, U8 and I8 are supported");
            Err(lowering.unsupported(node, detail))
        }
    }
}

/// The slices of `data` along an axis with these indices.
pub fn at_known(
    lowering: &mut Lowering,
    node: &TypedNode,
    data: ValueId,
    axis: usize,
    indices: &[usize],
) -> ValueId {
    let bytes = indices.iter().flat_map(|&index| (index as i32).to_le_bytes()).collect();
    let known = lowering.known(node, DType::I32, vec![indices.len()], bytes);
    along(lowering, node, data, known, axis)
}
