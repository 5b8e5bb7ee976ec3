//! Products of quantised matrices: `MatMulInteger`, `QLinearMatMul`, and ONNX
//! Runtime's `QGemm`.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::matmul::compute_shapes;

use super::grid::{Along, Grid, want_8_bit};
use super::product::{self, Bias, Zeros, zero_of};
use super::{Slots, integers};
use crate::kernels::quantised::outcome::Outcome;

/// The products of two tensors of matrices, `[.., m, k]` and `[.., k, n]`, of the same
/// rank. Further inputs are zero points that are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMul {
    /// Of the left matrices: one.
    pub left: Zeros,
    /// Of the right matrices: one, or one for each column.
    pub right: Zeros,
    /// What is added to the sums of each column; none for zeros.
    pub bias: Vec<i32>,
    /// What becomes of the sums; its channels are the columns.
    pub outcome: Outcome,
}

/// Reads `MatMulInteger`.
pub fn mat_mul_integer(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(ReadInteger { slots: Slots::of(node, 4).want(node, 2)? }), vec![]))
}

/// Reads `QLinearMatMul`.
pub fn q_linear_mat_mul(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    // What the fold makes has no scale for a result that is FP32.
    let slots = Slots::of(node, 8).want(node, 5)?;
    let inputs = Numbers { bias: None, result: 6 };
    let gemm = Gemm { left: false, right: false, alpha: 1.0 };
    let clamp = product::clamp(node)?;
    Ok((expand(ReadLinear { name: "QLinearMatMul", slots, inputs, gemm, clamp }), vec![]))
}

/// Reads `QGemm`.
pub fn q_gemm(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let slots = Slots::of(node, 10).want(node, 5)?;
    let inputs = Numbers { bias: Some(6), result: 7 };
    let clamp = product::clamp(node)?;
    let gemm = Gemm {
        left: node.get_attr_opt::<bool>("transA")?.unwrap_or(false),
        right: node.get_attr_opt::<bool>("transB")?.unwrap_or(false),
        alpha: node.get_attr_opt("alpha")?.unwrap_or(1.0),
    };
    Ok((expand(ReadLinear { name: "QGemm", slots, inputs, gemm, clamp }), vec![]))
}

#[derive(Clone, Debug)]
struct ReadInteger {
    slots: Slots,
}

/// The numbers of inputs that differ between operators.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    bias: Option<usize>,
    /// The scale of the result, after which its zero point comes.
    result: usize,
}

/// What `QGemm` has more than a matrix product: transpositions and a factor.
#[derive(Clone, Copy, Debug)]
struct Gemm {
    left: bool,
    right: bool,
    alpha: f32,
}

#[derive(Clone, Debug)]
struct ReadLinear {
    name: &'static str,
    slots: Slots,
    inputs: Numbers,
    gemm: Gemm,
    /// The bounds of the result.
    clamp: Option<(f32, f32)>,
}

/// The rule for the shape of a product of these inputs.
fn shape_rule<'r, 'p: 'r>(
    s: &mut Solver<'r>,
    (left, right): (&'p TensorProxy, &'p TensorProxy),
    output: &'p TensorProxy,
    (transpose_left, transpose_right): (bool, bool),
) -> InferenceResult {
    s.given_2(&left.shape, &right.shape, move |s, left, right| {
        let shapes = compute_shapes(left, right, transpose_left, transpose_right, false)?;
        s.equals(&output.shape, shapes.3)
    })
}

impl Expansion for ReadInteger {
    fn name(&self) -> StaticName {
        "MatMulInteger".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, DatumType::I32)?;
        shape_rule(s, (&inputs[0], &inputs[1]), &outputs[0], (false, false))
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut operands: TVec<OutletId> = inputs[..2].into();
        let mut zeros =
            |number| Zeros::read(prefix, model, self.slots.pick(inputs, number), &mut operands);
        let (left, right) = (zeros(2)?, zeros(3)?);
        let op = MatMul { left, right, bias: Vec::new(), outcome: Outcome::Sums };
        op.wire(prefix, model, operands)
    }
}

impl Expansion for ReadLinear {
    fn name(&self) -> StaticName {
        self.name.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        let at = |number| self.slots.get(number).map(|slot| &inputs[slot]);
        let (scale, zero_point) = (at(self.inputs.result), at(self.inputs.result + 1));
        product::result_rule(s, scale, zero_point, &outputs[0])?;
        // The fourth input is not optional, nor is any before it but a zero point.
        let right = at(3).unwrap_or(&inputs[0]);
        shape_rule(s, (&inputs[0], right), &outputs[0], (self.gemm.left, self.gemm.right))
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let at = |number| self.slots.pick(inputs, number);
        let of = |number: usize| -> TractResult<OutletId> {
            at(number).with_context(|| format!("input {number} is missing"))
        };
        let mut operands: TVec<OutletId> = tvec!(inputs[0], of(3)?);
        for (operand, (transpose, what)) in
            operands.iter_mut().zip([(self.gemm.left, "left"), (self.gemm.right, "right")])
        {
            if transpose {
                let name = format!("{prefix}.{what}");
                *operand = model.wire_node(name, AxisOp::Move(0, 1), &[*operand])?[0];
            }
        }
        let left = single_of(prefix, model, "the left matrix", operands[0], (of(1)?, at(2)))?;
        let right = columns(prefix, model, operands[1], (of(4)?, at(5)))?;
        let factor = left.0 * self.gemm.alpha;
        let scale: Vec<f32> = right.scale.iter().map(|scale| factor * scale).collect();
        let columns = model.outlet_fact(operands[1])?.shape.dims().last().cloned();
        let columns = columns.context("a matrix")?.to_usize()?;
        // The scale of the bias, where it is not that of the sums, is the last input.
        let inputs_of_bias = self.inputs.bias.map_or((None, None), |number| (at(number), at(9)));
        let bias = Bias::read(prefix, model, inputs_of_bias, &scale, columns)?;
        let result = product::result(prefix, model, inputs, &self.slots, self.inputs.result)?;
        let outcome = product::outcome(scale, result);
        let (bias, outcome) = bias.into(outcome, self.clamp, result);
        let left = Zeros::Known(vec![left.1]);
        let op = MatMul { left, right: Zeros::Known(right.zero_point), bias, outcome };
        op.wire(prefix, model, operands)
    }
}

fn shape_of(model: &TypedModel, outlet: OutletId) -> TractResult<TVec<usize>> {
    let shape = &model.outlet_fact(outlet)?.shape;
    Ok(shape.as_concrete().context("a shape that is not known")?.into())
}

fn single_of(
    node: &str,
    model: &TypedModel,
    what: &str,
    tensor: OutletId,
    numbers: (OutletId, Option<OutletId>),
) -> TractResult<(f32, i32)> {
    product::single(node, model, what, numbers, &shape_of(model, tensor)?)
}

/// The scales and zero points of the right matrices: one, or one for each column.
fn columns(
    node: &str,
    model: &TypedModel,
    tensor: OutletId,
    (scale, zero_point): (OutletId, Option<OutletId>),
) -> TractResult<Grid> {
    let along = Along { axis: -1, block: 0 };
    Grid::read(node, model, scale, zero_point, &shape_of(model, tensor)?, along)
}

impl MatMul {
    /// Adds the node, after axes that make the operands' ranks the same.
    fn wire(
        self,
        prefix: &str,
        model: &mut TypedModel,
        mut operands: TVec<OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let mut types = [DatumType::I8; 2];
        for (dtype, &operand) in types.iter_mut().zip(&operands) {
            *dtype = model.outlet_fact(operand)?.datum_type;
            want_8_bit(prefix, *dtype)?;
        }
        let ranks = [0, 1].map(|i| model.outlet_fact(operands[i]).map(|fact| fact.rank()));
        let [left, right] = ranks;
        let (left, right) = (left?, right?);
        let rank = left.max(right).max(2);
        let mut add = |operand: usize, axis: usize, number: usize| -> TractResult<()> {
            let name = format!("{prefix}.axis{operand}.{number}");
            operands[operand] =
                model.wire_node(name, AxisOp::Add(axis), &operands[operand..=operand])?[0];
            Ok(())
        };
        if right == 1 {
            add(1, 1, 0)?;
        }
        for number in left..rank {
            add(0, 0, number)?;
        }
        for number in right.max(2)..rank {
            add(1, 0, number)?;
        }
        let mut wires = model.wire_node(prefix, self, &operands)?;
        if left == 1 {
            wires = model.wire_node(format!("{prefix}.row"), AxisOp::Rm(rank - 2), &wires)?;
        }
        if right == 1 {
            let last = model.outlet_fact(wires[0])?.rank() - 1;
            wires = model.wire_node(format!("{prefix}.column"), AxisOp::Rm(last), &wires)?;
        }
        Ok(wires)
    }
}

/// The shape of the products of two tensors of matrices.
fn output_shape(left: &[TDim], right: &[TDim]) -> TractResult<TVec<TDim>> {
    let axes = left.len().checked_sub(2).context("a matrix")?;
    ensure!(left.len() == right.len(), "matrices of different ranks");
    ensure!(left[axes + 1] == right[axes], "a product of {left:?} and {right:?}");
    let mut shape = tract_core::broadcast::multi_broadcast(&[&left[..axes], &right[..axes]])?;
    shape.extend([left[axes].clone(), right[axes + 1].clone()]);
    Ok(shape)
}

impl Op for MatMul {
    fn name(&self) -> StaticName {
        "QuantisedMatMul".into()
    }

    op_as_typed_op!();
}

impl EvalOp for MatMul {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let dims = |i: usize| inputs[i].shape().iter().map(|d| d.to_dim()).collect::<TVec<_>>();
        let shape = output_shape(&dims(0), &dims(1))?;
        let shape: TVec<usize> =
            shape.iter().map(|dim| dim.to_usize()).collect::<Result<_, _>>()?;
        let axes = shape.len() - 2;
        let (k, n) = (inputs[1].shape()[axes], shape[axes + 1]);
        // Without their zero points, and broadcast to all matrices of the result.
        let operand = |i: usize, zeros: &Zeros| -> TractResult<_> {
            let zeros = zeros.of(&inputs)?;
            let columns = inputs[i].shape()[axes + 1];
            let numbers = integers(&inputs[i])?.into_iter().enumerate();
            let numbers: Vec<i32> =
                numbers.map(|(at, q)| q - zero_of(&zeros, at % columns)).collect();
            let mut to = shape.clone();
            to[axes] = inputs[i].shape()[axes];
            to[axes + 1] = columns;
            let tensor = Tensor::from_shape(inputs[i].shape(), &numbers)?;
            integers(&tensor.broadcast_to_shape(&to)?)
        };
        let (left, right) = (operand(0, &self.left)?, operand(1, &self.right)?);
        let m = shape[axes];
        let count = shape.iter().product::<usize>();
        let sums = (0..count).map(|at| {
            let (matrix, row, column) = (at / (m * n), at / n % m, at % n);
            let bias = self.bias.get(column).copied().unwrap_or(0);
            let sum = (0..k).fold(bias, |sum, i| {
                let product =
                    left[(matrix * m + row) * k + i] * right[(matrix * k + i) * n + column];
                sum.wrapping_add(product)
            });
            (sum, column)
        });
        Ok(tvec!(product::store(&self.outcome, &shape, sums)?.into_tvalue()))
    }
}

impl TypedOp for MatMul {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = output_shape(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        Ok(tvec!(product::datum_type(&self.outcome).fact(shape)))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let k = inputs[1].shape[inputs[1].rank() - 2].clone();
        let outputs = output_shape(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        let outputs: TDim = outputs.iter().product();
        Ok(tvec!((Cost::FMA(DatumType::I32), outputs * k)))
    }

    as_op!();
}
