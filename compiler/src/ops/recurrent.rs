//! The cells of `LSTM` and `GRU`, which tract keeps whole: what is done with the
//! products of a step's input and state with the weights.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::gru_cell::GruEpilogue;
use tract_onnx::tract_hir::tract_core::ops::lstm_cell::LstmEpilogue;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
use crate::kernels::copy::Part;
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::schedule::ValueId;

pub fn lower_lstm(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<LstmEpilogue>()?;
    Some(lstm(lowering, node, op.hidden))
}

pub fn lower_gru(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<GruEpilogue>()?;
    Some(gru(lowering, node, op.hidden))
}

/// Gates i, o, f, c: `C' = s(f) C + s(i) tanh(c)` and `H' = s(o) tanh(C')`.
fn lstm(lowering: &mut Lowering, node: &TypedNode, hidden: usize) -> Result<(), CompileError> {
    let (gates, cell) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    lowering.want_f32(node, &[gates, cell])?;
    let shape = lowering.shape(cell);
    let gates = Gates { value: gates, first: 0, row: 4 * hidden };
    let [i, o, f, c] = std::array::from_fn(|at| gates.take(lowering, node, at, hidden, &shape));
    let new_cell = Expr::of(vec![
        Node::Operand(0),
        Node::Unary(Unary::Sigmoid, 0),
        Node::Operand(1),
        Node::Binary(Binary::Mul, 1, 2),
        Node::Operand(2),
        Node::Unary(Unary::Sigmoid, 4),
        Node::Operand(3),
        Node::Unary(Unary::Tanh, 6),
        Node::Binary(Binary::Mul, 5, 7),
        Node::Binary(Binary::Add, 3, 8),
    ]);
    let new_cell = map(lowering, node, new_cell, &[f, cell, i, c], &shape);
    let new_state = Expr::of(vec![
        Node::Operand(0),
        Node::Unary(Unary::Sigmoid, 0),
        Node::Operand(1),
        Node::Unary(Unary::Tanh, 2),
        Node::Binary(Binary::Mul, 1, 3),
    ]);
    let new_state = map(lowering, node, new_state, &[o, new_cell], &shape);
    lowering.bind(node, 0, new_state);
    lowering.bind(node, 1, new_cell);
    Ok(())
}

fn gru(lowering: &mut Lowering, node: &TypedNode, hidden: usize) -> Result<(), CompileError> {
    let (of_input, of_state) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    let state = lowering.input(node, 2)?;
    lowering.want_f32(node, &[of_input, of_state, state])?;
    let shape = lowering.shape(state);
    let gates = [of_input, of_state].map(|value| Gates { value, first: 0, row: 3 * hidden });
    let output = gru_cell(lowering, node, gates, state, hidden, &shape);
    lowering.bind(node, 0, output);
    Ok(())
}

/// Gates z, r, h of the input (x) and of the state (s): `n = tanh(xh + s(xr + sr) sh)`
/// and `H' = n + s(xz + sz) (H - n)`.
pub fn gru_cell(
    lowering: &mut Lowering,
    node: &TypedNode,
    [of_input, of_state]: [Gates; 2],
    state: ValueId,
    hidden: usize,
    shape: &[usize],
) -> ValueId {
    let mut operands = Vec::new();
    for at in 0..3 {
        operands.push(of_input.take(lowering, node, at, hidden, shape));
        operands.push(of_state.take(lowering, node, at, hidden, shape));
    }
    operands.push(state);
    let mut nodes: Vec<Node> = (0..7).map(Node::Operand).collect();
    nodes.extend([
        Node::Binary(Binary::Add, 0, 1),
        Node::Unary(Unary::Sigmoid, 7),
        Node::Binary(Binary::Add, 2, 3),
        Node::Unary(Unary::Sigmoid, 9),
        Node::Binary(Binary::Mul, 10, 5),
        Node::Binary(Binary::Add, 4, 11),
        Node::Unary(Unary::Tanh, 12),
        Node::Binary(Binary::Sub, 6, 13),
        Node::Binary(Binary::Mul, 8, 14),
        Node::Binary(Binary::Add, 13, 15),
    ]);
    map(lowering, node, Expr::of(nodes), &operands, shape)
}

/// Where the values of several gates lie beside each other.
#[derive(Clone, Copy)]
pub struct Gates {
    /// The tensor.
    pub value: ValueId,
    /// Its first element of the first gate.
    pub first: usize,
    /// From one row of the batch to the next, in elements.
    pub row: usize,
}

impl Gates {
    /// The values of one gate, in the shape of the state.
    fn take(
        self,
        lowering: &mut Lowering,
        node: &TypedNode,
        at: usize,
        hidden: usize,
        shape: &[usize],
    ) -> ValueId {
        let rows = shape.iter().product::<usize>() / hidden;
        let part = Part {
            input: 0,
            shape: vec![rows, hidden],
            from: self.first + at * hidden,
            from_strides: vec![self.row, 1],
            to: 0,
            to_strides: vec![hidden, 1],
        };
        lowering.copy(node, "gate", &[self.value], None, vec![part], shape.to_vec())
    }
}

fn map(
    lowering: &mut Lowering,
    node: &TypedNode,
    expr: Expr,
    inputs: &[ValueId],
    shape: &[usize],
) -> ValueId {
    let operand = || Operand { dtype: DType::F32, strides: dense_strides(shape) };
    let operands = inputs.iter().map(|_| operand()).collect();
    let map = Map { shape: shape.to_vec(), operands, expr, output: DType::F32 };
    lowering.step(node, map, inputs, DType::F32, shape.to_vec())
}
