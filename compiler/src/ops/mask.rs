//! What chooses by position: `Trilu` keeps a triangle, `OneHot` marks an index.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{Tensor, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::array::{OneHot, Trilu};

use super::elementwise;
use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::expr::{Expr, Node};
use crate::kernels::integers::{Function, Integers};
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::schedule::ValueId;

pub fn lower_trilu(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Trilu>()?;
    Some(trilu(lowering, node, op))
}

pub fn lower_one_hot(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<OneHot>()?;
    Some(one_hot(lowering, node, op))
}

fn trilu(lowering: &mut Lowering, node: &TypedNode, op: &Trilu) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (dtype, shape) = (lowering.dtype(input), lowering.shape(input));
    let diagonal = lowering.constant(node, 1).and_then(|k| k.cast_to_scalar::<i64>().ok());
    let (Some(diagonal), &[.., rows, columns]) = (diagonal, &shape[..]) else {
        return Err(
            lowering.unsupported(node, "the diagonal k is computed; a constant is supported")
        );
    };
    let is_kept = |row: usize, column: usize| {
        let above = column as i64 - row as i64;
        if op.upper { above >= diagonal } else { above <= diagonal }
    };
    let kept = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let kept = kept.map(|(row, column)| u8::from(is_kept(row, column))).collect();
    let mut mask_shape = vec![1; shape.len() - 2];
    mask_shape.extend([rows, columns]);
    let mask = lowering.known(node, DType::Bool, mask_shape, kept);
    let zeros = lowering.known(node, dtype, vec![1; shape.len()], vec![0; dtype.size_bytes()]);
    let output = select(lowering, node, [mask, input, zeros], shape)?;
    lowering.bind(node, 0, output);
    Ok(())
}

fn one_hot(lowering: &mut Lowering, node: &TypedNode, op: &OneHot) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let index_dtype = lowering.dtype(input);
    if !Integers::supports(index_dtype) {
        let detail =
            format!("indices of type {index_dtype}; I64, I32, U8, I8 and FP32 are supported");
        return Err(lowering.unsupported(node, detail));
    }
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let mut index_shape = lowering.shape(input);
    index_shape.insert(op.axis, 1);
    let indices = lowering.view(node, input, index_shape);
    let mut axis_shape = vec![1; shape.len()];
    axis_shape[op.axis] = op.dim;

    // An index may count from the end.
    let is_at = |lowering: &mut Lowering, first: i64| {
        let positions = (0..op.dim as i64).flat_map(|i| (first + i).to_le_bytes()).collect();
        let positions = lowering.known(node, DType::I64, axis_shape.clone(), positions);
        integers(lowering, node, Function::Eq, &[indices, positions], DType::Bool, &shape)
    };
    let from_start = is_at(lowering, 0);
    let from_end = is_at(lowering, -(op.dim as i64));
    let either = [from_start, from_end];
    let marked = integers(lowering, node, Function::BitOr, &either, DType::Bool, &shape);
    let on = scalar(lowering, node, dtype, &op.on, shape.len())?;
    let off = scalar(lowering, node, dtype, &op.off, shape.len())?;
    let output = select(lowering, node, [marked, on, off], shape)?;
    lowering.bind(node, 0, output);
    Ok(())
}

/// A constant with one element, of this rank.
fn scalar(
    lowering: &mut Lowering,
    node: &TypedNode,
    dtype: DType,
    tensor: &Tensor,
    rank: usize,
) -> Result<ValueId, CompileError> {
    let bytes = tensor.try_as_plain_ram().map(|plain| plain.as_bytes().to_vec()).ok();
    match bytes.filter(|bytes| bytes.len() == dtype.size_bytes()) {
        Some(bytes) => Ok(lowering.known(node, dtype, vec![1; rank], bytes)),
        None => Err(lowering.unsupported(node, "one of its values is not of its output's type")),
    }
}

fn operands(lowering: &Lowering, values: &[ValueId], shape: &[usize]) -> Vec<Operand> {
    let operand = |&value: &ValueId| {
        Operand::new(lowering.dtype(value), broadcast_strides(&lowering.shape(value), shape))
    };
    values.iter().map(operand).collect()
}

fn integers(
    lowering: &mut Lowering,
    node: &TypedNode,
    function: Function,
    values: &[ValueId],
    output: DType,
    shape: &[usize],
) -> ValueId {
    let operands = operands(lowering, values, shape);
    let kernel = Integers { shape: shape.to_vec(), operands, function, output };
    lowering.step(node, kernel, values, output, shape.to_vec())
}

/// `values[1]` where `values[0]` is true, else `values[2]`.
fn select(
    lowering: &mut Lowering,
    node: &TypedNode,
    values: [ValueId; 3],
    shape: Vec<usize>,
) -> Result<ValueId, CompileError> {
    let dtype = lowering.dtype(values[1]);
    if dtype == DType::F32 {
        let operands = operands(lowering, &values, &shape);
        let nodes = (0..3).map(Node::Operand).chain([Node::Select(0, 1, 2)]);
        let map =
            Map { shape: shape.clone(), operands, expr: Expr::of(nodes.collect()), output: dtype };
        return Ok(lowering.step(node, map, &values, dtype, shape));
    }
    let mut operands = operands(lowering, &values, &shape);
    operands.iter_mut().for_each(|operand| operand.dtype = elementwise::as_bits(operand.dtype));
    let output = elementwise::as_bits(dtype);
    let kernel = Integers { shape: shape.clone(), operands, function: Function::Select, output };
    Ok(lowering.step(node, kernel, &values, dtype, shape))
}
