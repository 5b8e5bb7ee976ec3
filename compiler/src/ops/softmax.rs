//! `Softmax` and `LogSoftmax`.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::nn::{Softmax as Op, SoftmaxKind};

use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
use crate::kernels::double_fold::DoubleFold;
use crate::kernels::doubles::Doubles;
use crate::kernels::map::Operand;
use crate::kernels::rows::{Fold, Rows, Softmax};
use crate::lower::Lowering;
use crate::schedule::ValueId;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Op>()?;
    Some(lower_softmax(lowering, node, op))
}

fn lower_softmax(lowering: &mut Lowering, node: &TypedNode, op: &Op) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let is_double = lowering.dtype(input) == DType::F64;
    if !is_double {
        lowering.want_f32(node, &[input])?;
    }
    let logarithm = op.kind == SoftmaxKind::LogSoftmax;
    let shape = lowering.shape(input);
    let Some(rows) = Rows::along(&shape, &op.axes) else {
        let detail = format!("the axes {:?} are not next to each other", op.axes);
        return Err(lowering.unsupported(node, detail));
    };
    let dtype = lowering.dtype(input);
    if is_double {
        let output = in_double(lowering, node, input, rows, logarithm);
        lowering.bind(node, 0, output);
        return Ok(());
    }
    let output = lowering.step(node, Softmax { rows, logarithm }, &[input], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

/// Of FP64, in steps: the maximum, `e^(x - max)`, the sum, and the quotient or the
/// difference of logarithms.
fn in_double(
    lowering: &mut Lowering,
    node: &TypedNode,
    input: ValueId,
    rows: Rows,
    logarithm: bool,
) -> ValueId {
    let shape = lowering.shape(input);
    let of_rows = vec![rows.outer, rows.axis, rows.inner];
    let fold = |lowering: &mut Lowering, of: ValueId, fold: Fold| {
        let kernel = DoubleFold { rows, fold, scale: 1.0 };
        lowering.step(node, kernel, &[of], DType::F64, vec![rows.outer, 1, rows.inner])
    };
    let map = |lowering: &mut Lowering, of: [ValueId; 2], nodes: &[Node], shape: Vec<usize>| {
        let operand = |strides| Operand::new(DType::F64, strides);
        let operands = vec![
            operand(vec![rows.axis * rows.inner, rows.inner, 1]),
            operand(vec![rows.inner, 0, 1]),
        ];
        let nodes = [&[Node::Operand(0), Node::Operand(1)], nodes].concat();
        let (expr, output) = (Expr::of(nodes), DType::F64);
        let kernel = Doubles { shape: of_rows.clone(), operands, expr, output };
        lowering.step(node, kernel, &of, DType::F64, shape)
    };
    let less = Node::Binary(Binary::Sub, 0, 1);
    let exp = Node::Unary(Unary::Exp, 2);
    let max = fold(lowering, input, Fold::Max);
    let powers = map(lowering, [input, max], &[less, exp], shape.clone());
    let sum = fold(lowering, powers, Fold::Sum);
    if !logarithm {
        return map(lowering, [powers, sum], &[Node::Binary(Binary::Div, 0, 1)], shape);
    }
    let difference = map(lowering, [input, max], &[less], shape.clone());
    let nodes = [Node::Unary(Unary::Ln, 1), Node::Binary(Binary::Sub, 0, 2)];
    map(lowering, [difference, sum], &nodes, shape)
}
