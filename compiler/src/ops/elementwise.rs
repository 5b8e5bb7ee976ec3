//! What the element-wise operators share: a node with broadcast inputs as a
//! `map` or an `integers` kernel.

use tract_onnx::tract_hir::internal::TypedNode;

use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::integers::{Function, Integers};
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::schedule::ValueId;

/// Binds the node's output to a map of all its inputs, in `f32`.
pub fn map(lowering: &mut Lowering, node: &TypedNode, expr: Expr) -> Result<(), CompileError> {
    let (output, shape) = lowering.output_type(node, 0)?;
    let (values, operands) = inputs(lowering, node, &shape)?;
    let unread = operands.iter().map(|o| o.dtype).find(|&dtype| !Map::reads(dtype));
    let unwritten = (!Map::writes(output)).then_some(output);
    if let Some(dtype) = unread.or(unwritten) {
        let detail = format!(
            "on tensors of type {dtype}, with real numbers; FP32, I32, U8, I8 and BOOL are \
             supported"
        );
        return Err(lowering.unsupported(node, detail));
    }
    let map = Map { shape: shape.clone(), operands, expr, output };
    let value = lowering.step(node, map, &values, output, shape);
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
            "on tensors of type {dtype}; FP32, I64, I32, U8, I8 and BOOL are supported, which the \
             ONNX operator Cast gives"
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
        operands.push(Operand { dtype: lowering.dtype(value), strides });
        values.push(value);
    }
    Ok((values, operands))
}
