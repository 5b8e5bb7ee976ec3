//! What the products of quantised tensors share: zero points that may be computed,
//! and what becomes of the sums.

use leeway_contract::DType;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::grid::{Along, Grid, quantized, want_8_bit};
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

/// How a result is quantised.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its scale.
    pub scale: f32,
    /// Its zero point.
    pub zero_point: i32,
    /// I8 or U8.
    pub dtype: DatumType,
}

/// How the result of a node is quantised, where it is. `scale` is the number of the
/// input with its scale, after which its zero point comes.
pub fn result(
    node: &str,
    model: &TypedModel,
    inputs: &[OutletId],
    slots: &Slots,
    scale: usize,
) -> TractResult<Option<Target>> {
    let Some(outlet) = slots.pick(inputs, scale) else { return Ok(None) };
    let zero_point = slots.pick(inputs, scale + 1);
    let dtype = match zero_point {
        Some(outlet) => model.outlet_fact(outlet)?.datum_type,
        None => DatumType::U8,
    };
    want_8_bit(node, dtype)?;
    let (scale, zero_point) = single(node, model, "its result", (outlet, zero_point), &[])?;
    Ok(Some(Target { scale, zero_point, dtype }))
}

/// The outcome of sums that stand for `sum * scale[channel]`: reals, or integers with
/// the scale and zero point of `result`.
pub fn outcome(scale: Vec<f32>, result: Option<Target>) -> Outcome {
    match result {
        None => Outcome::Real { scale, shift: Vec::new(), then: Expr::identity() },
        Some(Target { scale: of_result, zero_point, dtype }) => {
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

/// The rule for the type of a result, by its scale and zero point.
pub fn result_rule<'r, 'p: 'r>(
    s: &mut Solver<'r>,
    scale: Option<&'p TensorProxy>,
    zero_point: Option<&'p TensorProxy>,
    output: &'p TensorProxy,
) -> InferenceResult {
    match (scale, zero_point) {
        (Some(_), Some(zero_point)) => s.equals(&output.datum_type, &zero_point.datum_type),
        (Some(_), None) => s.equals(&output.datum_type, DatumType::U8),
        (None, _) => s.equals(&output.datum_type, DatumType::F32),
    }
}

/// The bounds between which a result lies, if the node has attributes that say so:
/// those that [`super::fold`] adds.
pub fn clamp(node: &NodeProto) -> TractResult<Option<(f32, f32)>> {
    let (low, high) = (node.get_attr_opt(CLAMP[0])?, node.get_attr_opt(CLAMP[1])?);
    Ok(match (low, high) {
        (None, None) => None,
        _ => Some((low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY))),
    })
}

/// The attributes with the bounds of a result, which are ours and not ONNX's.
pub const CLAMP: [&str; 2] = ["leeway.low", "leeway.high"];

/// One for each channel, of one for all or of those.
fn repeated<T: Copy>(numbers: &[T], channels: usize) -> Vec<T> {
    match *numbers {
        [one] => vec![one; channels],
        _ => numbers.to_vec(),
    }
}

/// What is added to the sums of each channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Bias {
    /// Sums: integers whose scale is that of the sums. None for zeros.
    Sums(Vec<i32>),
    /// Real numbers, one for each channel; and the scales of the sums.
    Real(Vec<f32>, Vec<f32>),
}

impl Bias {
    /// Reads the bias of `channels` channels whose sums have these scales: an input of
    /// I32 or FP32, and the scale of the former where it is not that of the sums.
    pub fn read(
        node: &str,
        model: &TypedModel,
        (bias, scale): (Option<OutletId>, Option<OutletId>),
        of_sums: &[f32],
        channels: usize,
    ) -> TractResult<Self> {
        let Some(outlet) = bias else { return Ok(Self::Sums(Vec::new())) };
        let Some(tensor) = model.outlet_fact(outlet)?.konst.clone() else {
            return refuse(node, "its bias is computed; a constant is supported");
        };
        if tensor.len() != 1 && (tensor.len(), tensor.shape().last()) != (channels, Some(&channels))
        {
            let detail = format!(
                "a bias of shape {:?}; one for each of {channels} channels is supported",
                tensor.shape()
            );
            return refuse(node, detail);
        }
        let of_sums = repeated(of_sums, channels);
        match tensor.datum_type() {
            DatumType::I32 => {
                let numbers = repeated(&integers(&tensor)?, channels);
                let Some(scale) = scale else { return Ok(Self::Sums(numbers)) };
                let along = Along { axis: 0, block: 0 };
                let grid = Grid::read(node, model, scale, None, &[channels], along)?;
                let scale = repeated(&grid.scale, channels);
                if scale == of_sums {
                    return Ok(Self::Sums(numbers));
                }
                let reals = numbers.iter().zip(scale).map(|(&q, scale)| q as f32 * scale);
                Ok(Self::Real(reals.collect(), of_sums))
            }
            DatumType::F32 => {
                let reals: Vec<f32> =
                    tensor.to_plain_array_view::<f32>()?.iter().copied().collect();
                Ok(Self::Real(repeated(&reals, channels), of_sums))
            }
            other => refuse(node, format!("a bias of type {other:?}; I32 and FP32 are supported")),
        }
    }

    /// What is added to the sums, and the outcome that adds the rest and clamps integers.
    /// A real bias of integers is rounded to the scale of the sums, which is
    /// far finer than that of the integers.
    pub fn into(
        self,
        mut outcome: Outcome,
        clamp: Option<(f32, f32)>,
        result: Option<Target>,
    ) -> (Vec<i32>, Outcome) {
        let sums = match (self, &mut outcome) {
            (Self::Real(reals, _), Outcome::Real { shift, .. }) => {
                *shift = reals;
                Vec::new()
            }
            (Self::Real(reals, of_sums), _) => {
                let in_sums = |(real, scale): (f32, f32)| {
                    (f64::from(real) / f64::from(scale)).round_ties_even() as i32
                };
                reals.into_iter().zip(of_sums).map(in_sums).collect()
            }
            (Self::Sums(sums), _) => sums,
        };
        if let (
            Outcome::Quantised { low, high, .. },
            Some((least, most)),
            Some(Target { scale, zero_point, dtype }),
        ) = (&mut outcome, clamp, result)
        {
            // Rounding keeps the order of numbers: their bounds may be rounded.
            *low = quantized(least / scale, zero_point, range(dtype));
            *high = quantized(most / scale, zero_point, range(dtype));
        }
        (sums, outcome)
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
