//! `QuantizeLinear` and `DequantizeLinear` as element-wise expressions, which
//! others can be merged with.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;

use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node, Unary};
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::quantised::Grid;
use crate::quantised::linear::{Dequantize, Quantize};
use crate::schedule::ValueId;

pub fn lower_quantize(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Quantize>()?;
    Some(lower(lowering, node, &op.grid, |parts| {
        parts.scale(Binary::Div);
        parts.push(Node::Unary(Unary::RoundEven, parts.last()));
        parts.zero_point(Binary::Add);
    }))
}

pub fn lower_dequantize(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Dequantize>()?;
    Some(lower(lowering, node, &op.grid, |parts| {
        parts.zero_point(Binary::Sub);
        parts.scale(Binary::Mul);
    }))
}

/// An expression under construction, whose operand 0 is the node's input.
struct Parts<'a> {
    nodes: Vec<Node>,
    grid: &'a Grid,
    /// The parameters that are operands, as `f32`, from operand 1 on.
    operands: Vec<Vec<f32>>,
}

impl Parts<'_> {
    fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }

    fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// `function(last, scale)`
    fn scale(&mut self, function: Binary) {
        self.parameter(function, self.grid.scale.clone());
    }

    /// `function(last, zero_point)`
    fn zero_point(&mut self, function: Binary) {
        let zeros: Vec<f32> = self.grid.zero_point.iter().map(|&zero| zero as f32).collect();
        if zeros.iter().any(|&zero| zero != 0.0) {
            self.parameter(function, zeros);
        }
    }

    fn parameter(&mut self, function: Binary, numbers: Vec<f32>) {
        let last = self.last();
        match numbers[..] {
            [one] => self.push(Node::Constant(one)),
            _ => {
                self.operands.push(numbers);
                self.push(Node::Operand(self.operands.len()));
            }
        }
        self.push(Node::Binary(function, last, self.last()));
    }
}

fn lower(
    lowering: &mut Lowering,
    node: &TypedNode,
    grid: &Grid,
    build: impl FnOnce(&mut Parts),
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (output, shape) = lowering.output_type(node, 0)?;
    let mut parts = Parts { nodes: vec![Node::Operand(0)], grid, operands: Vec::new() };
    build(&mut parts);
    let mut values: Vec<ValueId> = vec![input];
    let mut operands = vec![Operand::new(lowering.dtype(input), broadcast_strides(&shape, &shape))];
    for numbers in &parts.operands {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        values.push(lowering.known(node, DType::F32, grid.shape.to_vec(), bytes));
        operands.push(Operand::new(DType::F32, broadcast_strides(&grid.shape, &shape)));
    }
    let map = Map { shape: shape.clone(), operands, expr: Expr::of(parts.nodes), output };
    let value = lowering.step(node, map, &values, output, shape);
    lowering.bind(node, 0, value);
    Ok(())
}
