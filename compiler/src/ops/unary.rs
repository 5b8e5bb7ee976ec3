//! Element-wise functions of one tensor (`Exp`, `Tanh`, `Sigmoid`, `Sqrt`, ...).

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::nn::LeakyRelu;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::{Expr, Node, Unary};
use crate::kernels::map::{Map, Operand};
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
    let function = match op.0.name().as_str() {
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sqrt" => Unary::Sqrt,
        "Recip" => Unary::Recip,
        "Rsqrt" => Unary::Rsqrt,
        "Square" => Unary::Square,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "RoundHalfToEven" => Unary::RoundEven,
        "Exp" => Unary::Exp,
        "Tanh" => Unary::Tanh,
        "Sigmoid" => Unary::Sigmoid,
        "Silu" => Unary::Silu,
        "HardSwish" => Unary::HardSwish,
        "LeakyRelu" => match op.0.downcast_ref::<LeakyRelu>() {
            Some(leaky) => Unary::LeakyRelu(leaky.alpha),
            None => return Err(lowering.unsupported(node, "a LeakyRelu of an unknown kind")),
        },
        other => {
            let detail = format!(
                "the element-wise function {other} is not supported; Neg, Abs, Sqrt, Recip, \
                 Rsqrt, Square, Floor, Ceil, RoundHalfToEven, Exp, Tanh, Sigmoid, Silu, \
                 HardSwish and LeakyRelu are"
            );
            return Err(lowering.unsupported(node, detail));
        }
    };
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let (dtype, shape) = lowering.output_type(node, 0)?;
    if dtype != DType::F32 {
        let detail = format!("{function:?} gives {dtype}; only FP32 is supported");
        return Err(lowering.unsupported(node, detail));
    }
    let operands = vec![Operand { dtype: DType::F32, strides: dense_strides(&shape) }];
    let expr = Expr::of(vec![Node::Operand(0), Node::Unary(function, 0)]);
    let map = Map { shape: shape.clone(), operands, expr, output: DType::F32 };
    let output = lowering.step(node, map, &[input], DType::F32, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
