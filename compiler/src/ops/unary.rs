//! Element-wise functions of one tensor (`Exp`, `Tanh`, `Sigmoid`, `Sqrt`, ...).

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::math::{IsInf, PowConst};
use tract_onnx::tract_hir::tract_core::ops::nn::LeakyRelu;
use tract_onnx::tract_hir::tract_core::ops::nn::gelu_approximate::GeluApproximate;

use super::elementwise;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
use crate::kernels::integers::Function;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<ElementWiseOp>()?;
    Some(lower_unary(lowering, node, op))
}

fn lower_unary(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &ElementWiseOp,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let dtype = lowering.dtype(input);
    let name = op.0.name();
    if elementwise::is_real(dtype) || (dtype == DType::Bool && name == "Not") {
        match of_reals(op, &name) {
            Some(expr) => elementwise::map(lowering, node, expr),
            None => Err(lowering.unsupported(
                node,
                format!(
                    "the element-wise function {name} is not supported; the trigonometric and \
                     hyperbolic functions and their inverses, roots, powers, roundings, Exp, Ln, \
                     Erf, Sigmoid, Silu, HardSwish, LeakyRelu and Gelu are"
                ),
            )),
        }
    } else {
        match of_integers(&name) {
            Some(function) => elementwise::integers(lowering, node, function),
            None => {
                let detail = format!("{name} of type {dtype} is not supported; of FP32 it is");
                Err(lowering.unsupported(node, detail))
            }
        }
    }
}

fn of_reals(op: &ElementWiseOp, name: &str) -> Option<Expr> {
    let function = match name {
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sqrt" => Unary::Sqrt,
        "Recip" => Unary::Recip,
        "Rsqrt" => Unary::Rsqrt,
        "Square" => Unary::Square,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::RoundAway,
        "RoundHalfToEven" => Unary::RoundEven,
        "Sign" => Unary::Sign,
        "Not" => Unary::Not,
        "Exp" => Unary::Exp,
        "Ln" => Unary::Ln,
        "Erf" => Unary::Erf,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Tanh" => Unary::Tanh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        "Sigmoid" => Unary::Sigmoid,
        "Silu" => Unary::Silu,
        "HardSwish" => Unary::HardSwish,
        "IsNan" => Unary::IsNan,
        "IsInf" => {
            let wanted = op.0.downcast_ref::<IsInf>()?;
            Unary::IsInf { positive: wanted.detect_positive, negative: wanted.detect_negative }
        }
        "LeakyRelu" => Unary::LeakyRelu(op.0.downcast_ref::<LeakyRelu>()?.alpha),
        "PowConst" => Unary::Power(op.0.downcast_ref::<PowConst>()?.exponent),
        "GeluExact" => return Some(gelu()),
        "GeluApproximate" => {
            let fast = op.0.downcast_ref::<GeluApproximate>()?.fast_impl;
            return Some(gelu_by_tanh(if fast { 2.0 } else { 3.0 }));
        }
        _ => return None,
    };
    Some(Expr::of(vec![Node::Operand(0), Node::Unary(function, 0)]))
}

fn of_integers(name: &str) -> Option<Function> {
    Some(match name {
        "Neg" => Function::Neg,
        "Abs" => Function::Abs,
        "Sign" => Function::Sign,
        "BitNot" => Function::BitNot,
        "Floor" | "Ceil" | "Round" => Function::Cast,
        _ => return None,
    })
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`
fn gelu() -> Expr {
    Expr::of(vec![
        Node::Operand(0),
        Node::Constant(std::f32::consts::FRAC_1_SQRT_2),
        Node::Binary(Binary::Mul, 0, 1),
        Node::Unary(Unary::Erf, 2),
        Node::Constant(1.0),
        Node::Binary(Binary::Add, 3, 4),
        Node::Constant(0.5),
        Node::Binary(Binary::Mul, 0, 6),
        Node::Binary(Binary::Mul, 7, 5),
    ])
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^power)))`
fn gelu_by_tanh(power: f32) -> Expr {
    Expr::of(vec![
        Node::Operand(0),
        Node::Unary(Unary::Power(power), 0),
        Node::Constant(0.044_715),
        Node::Binary(Binary::Mul, 1, 2),
        Node::Binary(Binary::Add, 0, 3),
        Node::Constant((2.0 / std::f32::consts::PI).sqrt()),
        Node::Binary(Binary::Mul, 4, 5),
        Node::Unary(Unary::Tanh, 6),
        Node::Constant(1.0),
        Node::Binary(Binary::Add, 7, 8),
        Node::Constant(0.5),
        Node::Binary(Binary::Mul, 0, 10),
        Node::Binary(Binary::Mul, 11, 9),
    ])
}
