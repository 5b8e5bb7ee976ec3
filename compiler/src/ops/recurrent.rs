//! The cells of `LSTM` and `GRU`, which tract keeps whole: what is done with the
//! products of a step's input and state with the weights.

use std::ops::Range;

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
    let sigmoid = Expr::of(vec![Node::Operand(0), Node::Unary(Unary::Sigmoid, 0)]);
    let open = gates_of(lowering, node, sigmoid, &[gates.gates(0..3, hidden)]);
    let ([i, o, f], c) = (std::array::from_fn(|at| open.gate(at, hidden)), gates.gate(3, hidden));
    let new_cell = Expr::of(vec![
        Node::Operand(0),
        Node::Operand(1),
        Node::Binary(Binary::Mul, 0, 1),
        Node::Operand(2),
        Node::Operand(3),
        Node::Unary(Unary::Tanh, 4),
        Node::Binary(Binary::Mul, 3, 5),
        Node::Binary(Binary::Add, 2, 6),
    ]);
    let new_cell = map(lowering, node, new_cell, &[f, state(cell, hidden), i, c], &shape);
    let new_state = Expr::of(vec![
        Node::Operand(0),
        Node::Operand(1),
        Node::Unary(Unary::Tanh, 1),
        Node::Binary(Binary::Mul, 0, 2),
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
    let sum = vec![Node::Operand(0), Node::Operand(1), Node::Binary(Binary::Add, 0, 1)];
    let sigmoid = Expr::of([sum, vec![Node::Unary(Unary::Sigmoid, 2)]].concat());
    let both = [of_input, of_state].map(|gates| gates.gates(0..2, hidden));
    let open = gates_of(lowering, node, sigmoid, &both);
    let parts = [
        of_input.gate(2, hidden),
        of_state.gate(2, hidden),
        open.gate(1, hidden),
        open.gate(0, hidden),
        state(before, hidden),
    ];
    let mut nodes: Vec<Node> = (0..parts.len()).map(Node::Operand).collect();
    nodes.extend([
        Node::Binary(Binary::Mul, 2, 1),
        Node::Binary(Binary::Add, 0, 5),
        Node::Unary(Unary::Tanh, 6),
        Node::Binary(Binary::Sub, 4, 7),
        Node::Binary(Binary::Mul, 3, 8),
        Node::Binary(Binary::Add, 7, 9),
    ]);
    map(lowering, node, Expr::of(nodes), &parts, shape)
}

/// An expression of several gates at once, in a step of its own: what waits for a
/// long function is not in the code that computes it, of which the processor then has
/// several in hand.
fn gates_of(lowering: &mut Lowering, node: &TypedNode, expr: Expr, parts: &[Part]) -> Gates {
    let width = parts[0].hidden;
    let rows = lowering.shape(parts[0].value).iter().product::<usize>() / parts[0].row;
    let value = map(lowering, node, expr, parts, &[rows, width]);
    Gates { value, first: 0, row: width }
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
        self.gates(at..at + 1, hidden)
    }

    /// The values of neighbouring gates.
    fn gates(self, gates: Range<usize>, hidden: usize) -> Part {
        let Self { value, first, row } = self;
        Part { value, first: first + gates.start * hidden, row, hidden: gates.len() * hidden }
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
