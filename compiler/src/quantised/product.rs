//! What the products of quantised tensors share: zero points that may be computed,
//! and what becomes of the sums.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::*;

use super::grid::{Along, Grid, want_8_bit};
use super::{Slots, integers, range, refuse};
use crate::expr::Expr;
use crate::kernels::quantised::outcome::Outcome;

/// The zero points of an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// One, or one for each channel.
    Known(Vec<i32>),
    /// One, which is the input with this index.
    Input(usize),
}

impl Zeros {
    /// The zero points of operand `inputs[0]`: an optional input of `node`. One that is
    /// computed becomes the next of `operands`.
    pub fn read(
        node: &str,
        model: &TypedModel,
        zero_point: Option<OutletId>,
        operands: &mut TVec<OutletId>,
    ) -> TractResult<Self> {
        let Some(outlet) = zero_point else { return Ok(Self::Known(vec![0])) };
        let fact = model.outlet_fact(outlet)?;
        match &fact.konst {
            Some(tensor) => Ok(Self::Known(integers(tensor)?)),
            None if fact.shape.volume() == 1.to_dim() => {
                operands.push(outlet);
                Ok(Self::Input(operands.len() - 1))
            }
            None => refuse(
                node,
                "several zero points that are computed; one, or constants are supported",
            ),
        }
    }

    /// The zero points when the inputs are known.
    pub fn of(&self, inputs: &[TValue]) -> TractResult<Vec<i32>> {
        match self {
            Self::Known(zeros) => Ok(zeros.clone()),
            &Self::Input(input) => integers(&inputs[input]),
        }
    }
}

/// A zero point of several, or the only one.
pub fn zero_of(zeros: &[i32], channel: usize) -> i32 {
    if let [one] = *zeros { one } else { zeros[channel] }
}

/// The scale and zero point of a whole tensor of this shape.
pub fn single(
    node: &str,
    model: &TypedModel,
    what: &str,
    (scale, zero_point): (OutletId, Option<OutletId>),
    shape: &[usize],
) -> TractResult<(f32, i32)> {
    let along = Along { axis: 0, block: 0 };
    let several = || refuse(node, format!("several scales of {what}; one is supported"));
    if model.outlet_fact(scale)?.shape.volume() != 1.to_dim() {
        return several();
    }
    let grid = Grid::read(node, model, scale, zero_point, shape, along)?;
    grid.single().map_or_else(several, Ok)
}

/// The inputs with the scale and zero point of a result, where it has them.
pub fn result(
    node: &str,
    model: &TypedModel,
    inputs: &[OutletId],
    slots: &Slots,
    scale: usize,
) -> TractResult<Option<(f32, i32, DatumType)>> {
    let Some(outlet) = slots.pick(inputs, scale) else { return Ok(None) };
    let zero_point = slots.pick(inputs, scale + 1);
    let dtype = match zero_point {
        Some(outlet) => model.outlet_fact(outlet)?.datum_type,
        None => DatumType::U8,
    };
    want_8_bit(node, dtype)?;
    let (scale, zero_point) = single(node, model, "its result", (outlet, zero_point), &[])?;
    Ok(Some((scale, zero_point, dtype)))
}

/// The outcome of sums that stand for `sum * scale[channel]`: reals, or integers with
/// the scale and zero point of `result`.
pub fn outcome(scale: Vec<f32>, result: Option<(f32, i32, DatumType)>) -> Outcome {
    match result {
        None => Outcome::Real { scale, shift: Vec::new(), then: Expr::identity() },
        Some((of_result, zero_point, dtype)) => {
            let (low, high) = range(dtype);
            Outcome::Quantised {
                scale: scale.into_iter().map(|scale| scale / of_result).collect(),
                zero_point,
                low,
                high,
                dtype: if dtype == DatumType::I8 { DType::I8 } else { DType::U8 },
            }
        }
    }
}

/// tract's type for what an outcome stores.
pub fn datum_type(outcome: &Outcome) -> DatumType {
    match outcome.dtype() {
        DType::I32 => DatumType::I32,
        DType::F32 => DatumType::F32,
        DType::I8 => DatumType::I8,
        _ => DatumType::U8,
    }
}

/// The tensor of what an outcome stores for sums, whose channels are given.
pub fn store(
    outcome: &Outcome,
    shape: &[usize],
    sums: impl Iterator<Item = (i32, usize)>,
) -> TractResult<Tensor> {
    let numbers = sums.map(|(sum, channel)| outcome.of(sum, channel));
    match datum_type(outcome) {
        DatumType::I32 => Tensor::from_shape(shape, &numbers.map(|x| x as i32).collect::<Vec<_>>()),
        DatumType::F32 => Tensor::from_shape(shape, &numbers.map(|x| x as f32).collect::<Vec<_>>()),
        dtype => super::tensor_of(dtype, shape, numbers.map(|x| x as i32)),
    }
}
