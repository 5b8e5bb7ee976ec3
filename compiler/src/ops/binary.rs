//! Element-wise functions of two tensors, broadcast (`Add`, `Sub`, `Mul`, `Div`,
//! `Min`, `Max`; `Relu` and `Clip` arrive as these).

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;

use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node};
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<TypedBinOp>()?;
    Some(lower_binary(lowering, node, op))
}

fn lower_binary(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &TypedBinOp,
) -> Result<(), CompileError> {
    let function = match op.0.name() {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        other => {
            let detail = format!(
                "the element-wise function {other} is not supported; \
                 Add, Sub, Mul, Div, Min and Max are"
            );
            return Err(lowering.unsupported(node, detail));
        }
    };
    let (dtype, shape) = lowering.output_type(node, 0)?;
    if dtype != DType::F32 {
        let detail = format!("{function:?} gives {dtype}; only FP32 is supported");
        return Err(lowering.unsupported(node, detail));
    }

    let mut nodes = Vec::new();
    let (mut inputs, mut operands) = (Vec::new(), Vec::new());
    for input in 0..2 {
        match uniform(lowering, node, input) {
            Some(value) => nodes.push(Node::Constant(value)),
            None => {
                let value = lowering.input(node, input)?;
                lowering.want_f32(node, &[value])?;
                let strides = broadcast_strides(&lowering.shape(value), &shape);
                nodes.push(Node::Operand(operands.len()));
                operands.push(Operand { dtype: DType::F32, strides });
                inputs.push(value);
            }
        }
    }
    // Constants go to the right, where the emitted code is shorter.
    let swapped = matches!(nodes[0], Node::Constant(_)) && commutes(function);
    let (a, b) = if swapped { (1, 0) } else { (0, 1) };
    nodes.push(Node::Binary(function, a, b));
    let map = Map { shape: shape.clone(), operands, expr: Expr::of(nodes), output: dtype };
    let output = lowering.step(node, map, &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

fn commutes(function: Binary) -> bool {
    matches!(function, Binary::Add | Binary::Mul | Binary::Min | Binary::Max)
}

/// The number that all elements of an input are, where they are known and the
/// same, and the other input is not as well.
fn uniform(lowering: &Lowering, node: &TypedNode, input: usize) -> Option<f32> {
    lowering.constant(node, 1 - input).is_none().then_some(())?;
    let elements = lowering.constant_f32(node, input)?;
    let (&first, rest) = elements.split_first()?;
    rest.iter().all(|x| x.to_bits() == first.to_bits()).then_some(first)
}
