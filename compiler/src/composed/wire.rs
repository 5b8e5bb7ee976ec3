//! Shorthands for the composition of tract's operators, some of them on tensors
//! `[rows, columns]`.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_hir::tract_core::ops::binary::BinMiniOp;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::change_axes::{AxisOp, wire_rank_broadcast};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseMiniOp;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::logic::{Iff, comp_gt};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

/// A typed graph to which one node of the file adds its operators.
pub struct Wire<'a> {
    prefix: String,
    model: &'a mut TypedModel,
    count: usize,
}

impl<'a> Wire<'a> {
    /// Operators are named after the node, `prefix`.
    pub fn new(prefix: &str, model: &'a mut TypedModel) -> Self {
        Self { prefix: prefix.into(), model, count: 0 }
    }

    /// The type and shape of a value.
    pub fn fact(&self, outlet: OutletId) -> TractResult<&TypedFact> {
        self.model.outlet_fact(outlet)
    }

    /// The size of one axis of a value.
    pub fn size(&self, outlet: OutletId, axis: usize) -> TractResult<usize> {
        Ok(self.fact(outlet)?.shape[axis].to_usize()?)
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("{}.{}", self.prefix, self.count)
    }

    /// Adds an operator with one output.
    pub fn op(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = self.name();
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: impl IntoArcTensor) -> TractResult<OutletId> {
        let name = self.name();
        self.model.add_const(name, tensor)
    }

    /// Adds a constant of this type.
    pub fn number(&mut self, number: f32, dtype: DatumType) -> TractResult<OutletId> {
        self.constant(tensor0(number).cast_to_dt(dtype)?.into_owned())
    }

    /// Adds a constant `[1, n]`.
    pub fn row(&mut self, values: &[f32]) -> TractResult<OutletId> {
        self.constant(tensor1(values).into_shape(&[1, values.len()])?)
    }

    /// A function of two values, broadcast.
    pub fn binary(
        &mut self,
        op: Box<dyn BinMiniOp>,
        a: OutletId,
        b: OutletId,
    ) -> TractResult<OutletId> {
        let name = self.name();
        let inputs = wire_rank_broadcast(&name, self.model, &[a, b])?;
        self.op(TypedBinOp(op, None), &inputs)
    }

    /// A function of one value.
    pub fn unary(
        &mut self,
        op: Box<dyn ElementWiseMiniOp>,
        input: OutletId,
    ) -> TractResult<OutletId> {
        self.op(ElementWiseOp(op, None), &[input])
    }

    /// A value plus a constant.
    pub fn plus(&mut self, input: OutletId, number: f32) -> TractResult<OutletId> {
        let number = self.constant(tensor0(number))?;
        self.binary(Box::new(tract_core::ops::math::Add), input, number)
    }

    /// A value times a constant.
    pub fn times(&mut self, input: OutletId, number: f32) -> TractResult<OutletId> {
        let number = self.constant(tensor0(number))?;
        self.binary(Box::new(tract_core::ops::math::Mul), input, number)
    }

    /// Whether a value is larger than a constant, as BOOL.
    pub fn is_above(&mut self, input: OutletId, number: f32) -> TractResult<OutletId> {
        let number = self.constant(tensor0(number))?;
        self.binary(comp_gt(), input, number)
    }

    /// The value where a condition holds, else the other one.
    pub fn select(
        &mut self,
        condition: OutletId,
        then: OutletId,
        otherwise: OutletId,
    ) -> TractResult<OutletId> {
        let name = self.name();
        let inputs = wire_rank_broadcast(&name, self.model, &[condition, then, otherwise])?;
        self.op(Iff, &inputs)
    }

    /// The value as elements of another type.
    pub fn cast(&mut self, input: OutletId, to: DatumType) -> TractResult<OutletId> {
        match self.fact(input)?.datum_type == to {
            true => Ok(input),
            false => self.op(cast(to), &[input]),
        }
    }

    /// The value as a matrix: one row for each sample. A vector is one sample.
    pub fn matrix(&mut self, input: OutletId) -> TractResult<OutletId> {
        match self.fact(input)?.rank() {
            2 => Ok(input),
            1 => self.op(AxisOp::Add(0), &[input]),
            rank => bail!("its input has {rank} dimensions, wanted [samples, features]"),
        }
    }

    /// The same as FP32.
    pub fn features(&mut self, input: OutletId) -> TractResult<OutletId> {
        let input = self.matrix(input)?;
        self.cast(input, f32::datum_type())
    }

    /// The product with a constant matrix `[k, n]`.
    pub fn product(&mut self, input: OutletId, matrix: &Arc<Tensor>) -> TractResult<OutletId> {
        let axes = AxesMapping::for_numpy_matmul(2, false, false, false)?;
        let (seen, wanted) = (self.size(input, 1)?, matrix.shape()[0]);
        ensure!(seen == wanted, "its input has {seen} features, its coefficients want {wanted}");
        let matrix = self.constant(matrix.clone())?;
        self.op(EinSum::new(axes, f32::datum_type()), &[input, matrix])
    }

    /// Values side by side.
    pub fn beside(&mut self, values: &[OutletId]) -> TractResult<OutletId> {
        match values {
            &[one] => Ok(one),
            _ => self.op(TypedConcat::new(1), values),
        }
    }

    /// Columns `from` to below `to`.
    pub fn columns(&mut self, input: OutletId, from: usize, to: usize) -> TractResult<OutletId> {
        self.op(Slice::new(1, from, to), &[input])
    }

    /// What is accumulated along the columns: `[rows, 1]`.
    pub fn reduce(&mut self, input: OutletId, reducer: Reducer) -> TractResult<OutletId> {
        self.op(Reduce::new(tvec!(1), reducer), &[input])
    }

    /// The elements of a constant vector at the indices: of `[rows, 1]`, `[rows]`.
    pub fn look_up(&mut self, table: Tensor, indices: OutletId) -> TractResult<OutletId> {
        let table = self.constant(table)?;
        let indices = self.op(AxisOp::Rm(1), &[indices])?;
        let indices = self.cast(indices, i64::datum_type())?;
        self.op(Gather::new(0), &[table, indices])
    }

    /// The column with the largest value of each row, the first one of several:
    /// `[rows, 1]`.
    pub fn largest(&mut self, input: OutletId) -> TractResult<OutletId> {
        self.reduce(input, Reducer::ArgMax(false))
    }
}
