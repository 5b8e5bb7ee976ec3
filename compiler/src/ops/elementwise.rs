//! What the element-wise operators share: a node with broadcast inputs as a
//! `map`, a `doubles` or an `integers` kernel.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;

use crate::emit::double;
use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::expr::{Expr, Node};
use crate::kernels::doubles::Doubles;
use crate::kernels::integers::{Function, Integers};
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::schedule::ValueId;

/// Binds the node's output to a map of all its inputs, in `f32` or `f64`.
pub fn map(lowering: &mut Lowering, node: &TypedNode, expr: Expr) -> Result<(), CompileError> {
    let (output, shape) = lowering.output_type(node, 0)?;
    let (values, operands) = inputs(lowering, node, &shape)?;
    let value = real(lowering, node, expr, operands, &values, output, shape)?;
    lowering.bind(node, 0, value);
    Ok(())
}

/// Adds a map of real numbers: in `f64` where any is of that type, or of one that
/// `f32` does not hold.
pub fn real(
    lowering: &mut Lowering,
    node: &TypedNode,
    expr: Expr,
    operands: Vec<Operand>,
    values: &[ValueId],
    output: DType,
    shape: Vec<usize>,
) -> Result<ValueId, CompileError> {
    let mut types = operands.iter().map(|o| o.dtype).chain([output]);
    if types.all(Map::handles) {
        let map = Map { shape: shape.clone(), operands, expr, output };
        return Ok(lowering.step(node, map, values, output, shape));
    }
    let mut functions = expr.nodes().iter().filter_map(|node| match node {
        Node::Unary(function, _) => Some(function),
        _ => None,
    });
    if let Some(function) = functions.find(|function| !double::has(**function)) {
        let detail = format!("{function:?} of type FP64 is not supported; of FP32 and FP16 it is");
        return Err(lowering.unsupported(node, detail));
    }
    let map = Doubles { shape: shape.clone(), operands, expr, output };
    Ok(lowering.step(node, map, values, output, shape))
}

/// Whether it is a type of real numbers.
pub fn is_real(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::F16)
}

/// The integer type that moves the same bits.
pub fn as_bits(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::I64,
        DType::F32 => DType::I32,
        DType::F16 | DType::BF16 => DType::U16,
        other => other,
    }
}

/// Binds the node's output to the second input where the first is not 0, else the
/// third.
pub fn select(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let (output, shape) = lowering.output_type(node, 0)?;
    let (values, mut operands) = inputs(lowering, node, &shape)?;
    operands.iter_mut().for_each(|operand| operand.dtype = as_bits(operand.dtype));
    let function = Function::Select;
    let kernel = Integers { shape: shape.clone(), operands, function, output: as_bits(output) };
    let value = lowering.step(node, kernel, &values, output, shape);
    lowering.bind(node, 0, value);
    Ok(())
}

/// Binds the node's output to a function of all its inputs, in `i64`.
pub fn integers(
    lowering: &mut Lowering,
    node: &TypedNode,
    function: Function,
) -> Result<(), CompileError> {
    let (output, shape) = lowering.output_type(node, 0)?;
    let (values, operands) = inputs(lowering, node, &shape)?;
    let mut types = operands.iter().map(|o| o.dtype).chain([output]);
    if let Some(dtype) = types.find(|&dtype| !Integers::supports(dtype)) {
        let detail = format!(
            "on tensors of type {dtype}; FP32 and integers are supported, which the ONNX operator Cast gives"
        );
        return Err(lowering.unsupported(node, detail));
    }
    let kernel = Integers { shape: shape.clone(), operands, function, output };
    let value = lowering.step(node, kernel, &values, output, shape);
    lowering.bind(node, 0, value);
    Ok(())
}

/// The inputs of a node, broadcast to a shape of the same rank.
fn inputs(
    lowering: &mut Lowering,
    node: &TypedNode,
    shape: &[usize],
) -> Result<(Vec<ValueId>, Vec<Operand>), CompileError> {
    let (mut values, mut operands) = (Vec::new(), Vec::new());
    for input in 0..node.inputs.len() {
        let value = lowering.input(node, input)?;
        let strides = broadcast_strides(&lowering.shape(value), shape);
        operands.push(Operand::new(lowering.dtype(value), strides));
        values.push(value);
    }
    Ok((values, operands))
}
