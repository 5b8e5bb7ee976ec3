//! The cells of `LSTM` and `GRU`, which tract keeps whole: what is done with the
//! products of a step's input and state with the weights.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::gru_cell::GruEpilogue;
use tract_onnx::tract_hir::tract_core::ops::lstm_cell::LstmEpilogue;

use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
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
    let [i, o, f, c] = std::array::from_fn(|at| gates.gate(at, hidden));
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
    let new_cell = map(lowering, node, new_cell, &[f, state(cell, hidden), i, c], &shape);
    let new_state = Expr::of(vec![
        Node::Operand(0),
        Node::Unary(Unary::Sigmoid, 0),
        Node::Operand(1),
        Node::Unary(Unary::Tanh, 2),
        Node::Binary(Binary::Mul, 1, 3),
    ]);
    let new_state = map(lowering, node, new_state, &[o, state(new_cell, hidden)], &shape);
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
    before: ValueId,
    hidden: usize,
    shape: &[usize],
) -> ValueId {
    let gates = (0..3).flat_map(|at| [of_input, of_state].map(|gates| gates.gate(at, hidden)));
    let parts: Vec<Part> = gates.chain([state(before, hidden)]).collect();
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
    map(lowering, node, Expr::of(nodes), &parts, shape)
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
    /// The values of one gate.
    fn gate(self, at: usize, hidden: usize) -> Part {
        let Self { value, first, row } = self;
        Part { value, first: first + at * hidden, row, hidden }
    }
}

/// The values of a state.
fn state(value: ValueId, hidden: usize) -> Part {
    Part { value, first: 0, row: hidden, hidden }
}

/// Rows of `hidden` elements inside a tensor.
#[derive(Clone, Copy)]
struct Part {
    value: ValueId,
    first: usize,
    row: usize,
    hidden: usize,
}

/// An expression of parts, which have as many elements as a tensor of this shape.
fn map(
    lowering: &mut Lowering,
    node: &TypedNode,
    expr: Expr,
    parts: &[Part],
    shape: &[usize],
) -> ValueId {
    let hidden = parts[0].hidden;
    let rows = shape.iter().product::<usize>() / hidden;
    let operand =
        |part: &Part| Operand { first: part.first, ..Operand::new(DType::F32, vec![part.row, 1]) };
    let operands = parts.iter().map(operand).collect();
    let values: Vec<ValueId> = parts.iter().map(|part| part.value).collect();
    let map = Map { shape: vec![rows, hidden], operands, expr, output: DType::F32 };
    lowering.step(node, map, &values, DType::F32, shape.to_vec())
}
