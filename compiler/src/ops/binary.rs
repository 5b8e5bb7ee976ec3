//! Element-wise functions of two tensors, broadcast: arithmetic (`Relu` and
//! `Clip` arrive as `Min` and `Max`), comparisons, logic and bits.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;

use super::elementwise;
use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node};
use crate::kernels::integers::Function;
use crate::kernels::map::Operand;
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
    let name = op.0.name();
    let inputs = [lowering.input(node, 0)?, lowering.input(node, 1)?];
    let types = inputs.map(|input| lowering.dtype(input));
    let real = types.iter().any(|&dtype| elementwise::is_real(dtype));
    match (of_reals(name), of_integers(name)) {
        (Some(function), _) if real || (types == [DType::Bool; 2] && is_logical(function)) => {
            lower_reals(lowering, node, function)
        }
        (_, Some(function)) if !real => elementwise::integers(lowering, node, function),
        _ => {
            let detail = format!(
                "the element-wise function {name} of {} and {} is not supported; arithmetic, Pow, \
                 Rem, comparisons, Min and Max of real numbers and of integers are, logical functions of \
                 BOOL, bits of integers",
                types[0], types[1]
            );
            Err(lowering.unsupported(node, detail))
        }
    }
}

fn of_reals(name: &str) -> Option<Binary> {
    Some(match name {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        "Pow" => Binary::Pow,
        "Rem" => Binary::Rem,
        "Eq" => Binary::Eq,
        "NE" => Binary::Ne,
        "LT" => Binary::Lt,
        "LTE" => Binary::Le,
        "GT" => Binary::Gt,
        "GTE" => Binary::Ge,
        "And" => Binary::And,
        "Or" => Binary::Or,
        "Xor" => Binary::Xor,
        _ => return None,
    })
}

fn is_logical(function: Binary) -> bool {
    matches!(function, Binary::And | Binary::Or | Binary::Xor)
}

fn of_integers(name: &str) -> Option<Function> {
    Some(match name {
        "Add" => Function::Add,
        "Sub" => Function::Sub,
        "Mul" => Function::Mul,
        "Div" => Function::Div,
        "Pow" => Function::Pow,
        "Rem" => Function::Rem,
        "Min" => Function::Min,
        "Max" => Function::Max,
        "Eq" => Function::Eq,
        "NE" => Function::Ne,
        "LT" => Function::Lt,
        "LTE" => Function::Le,
        "GT" => Function::Gt,
        "GTE" => Function::Ge,
        "BitAnd" => Function::BitAnd,
        "BitOr" => Function::BitOr,
        "BitXor" => Function::BitXor,
        "ShiftLeft" => Function::ShiftLeft,
        "ShiftRight" => Function::ShiftRight,
        _ => return None,
    })
}

fn lower_reals(
    lowering: &mut Lowering,
    node: &TypedNode,
    function: Binary,
) -> Result<(), CompileError> {
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let mut nodes = Vec::new();
    let (mut inputs, mut operands) = (Vec::new(), Vec::new());
    for input in 0..2 {
        match uniform(lowering, node, input) {
            Some(value) => nodes.push(Node::Constant(value)),
            None => {
                let value = lowering.input(node, input)?;
                let strides = broadcast_strides(&lowering.shape(value), &shape);
                nodes.push(Node::Operand(operands.len()));
                operands.push(Operand::new(lowering.dtype(value), strides));
                inputs.push(value);
            }
        }
    }
    // Constants go to the right, where the emitted code is shorter.
    let swapped = matches!(nodes[0], Node::Constant(_)) && commutes(function);
    let (a, b) = if swapped { (1, 0) } else { (0, 1) };
    nodes.push(Node::Binary(function, a, b));
    let expr = Expr::of(nodes);
    let output = elementwise::real(lowering, node, expr, operands, &inputs, dtype, shape)?;
    lowering.bind(node, 0, output);
    Ok(())
}

fn commutes(function: Binary) -> bool {
    matches!(function, Binary::Add | Binary::Mul | Binary::Min | Binary::Max)
}

/// The number that all elements of an input are, where they are known and the
/// same, an `f32` holds it, and the other input is not known as well.
fn uniform(lowering: &Lowering, node: &TypedNode, input: usize) -> Option<f32> {
    lowering.constant(node, 1 - input).is_none().then_some(())?;
    let tensor = lowering.constant(node, input)?;
    let exact = tensor.cast_to::<f64>().ok()?;
    let exact = exact.to_plain_array_view::<f64>().ok()?;
    let mut elements = exact.iter();
    let &first = elements.next()?;
    let narrow = first as f32;
    let is_exact = f64::from(narrow).to_bits() == first.to_bits();
    (is_exact && elements.all(|x| x.to_bits() == first.to_bits())).then_some(narrow)
}
