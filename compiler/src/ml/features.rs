//! What prepares features: `Scaler`, `Normalizer`, `Binarizer`, `Imputer`,
//! `FeatureVectorizer` and `ArrayFeatureExtractor`.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::tract_core::ops::logic::{comp_eq, comp_ne};
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

use super::attributes::{floats, ints, string, want};
use crate::composed::wire::Wire;
use crate::composed::{Read, composed};

/// Reads a `Scaler`: `(x - offset) * scale`.
pub fn scaler(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let (offset, scale) = (floats(node, "offset")?.to_vec(), floats(node, "scale")?.to_vec());
    node.expect_attr("offset", !offset.is_empty(), "one number, or one for each feature")?;
    want(node, "scale", scale.len(), offset.len())?;
    composed("Scaler", 1, move |wire, inputs| {
        let input = wire.cast(inputs[0], f32::datum_type())?;
        let offset = per_feature(wire, input, "offset", &offset)?;
        let scale = per_feature(wire, input, "scale", &scale)?;
        let centred = wire.binary(Box::new(math::Sub), input, offset)?;
        Ok(tvec!(wire.binary(Box::new(math::Mul), centred, scale)?))
    })
}

/// A constant with one number for all features, or one for each.
fn per_feature<T: Datum + Copy>(
    wire: &mut Wire,
    input: OutletId,
    attribute: &str,
    numbers: &[T],
) -> TractResult<OutletId> {
    let shape = &wire.fact(input)?.shape;
    let features = shape.last().map_or(Ok(1), |size| size.to_usize())?;
    match numbers {
        &[one] => wire.constant(tensor0(one)),
        _ => {
            let seen = numbers.len();
            ensure!(
                seen == features,
                "its attribute {attribute} has {seen} elements, its input {features} features"
            );
            wire.constant(tensor1(numbers))
        }
    }
}

/// Reads a `Normalizer`: each row over its largest element (`MAX`), the sum of its
/// magnitudes (`L1`), or its length (`L2`), where that is not zero.
pub fn normalizer(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let norm = match string(node, "norm", "MAX")? {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return node.bail_attr("norm", &format!("{other:?} is none of MAX, L1, L2")),
    };
    composed("Normalizer", 1, move |wire, inputs| {
        let input = wire.cast(inputs[0], f32::datum_type())?;
        let last = match wire.fact(input)?.rank() {
            0 => bail!("its input has no dimension, wanted [samples, features]"),
            rank => rank - 1,
        };
        let of_row = |wire: &mut Wire, value: OutletId, reducer: Reducer| {
            wire.op(Reduce::new(tvec!(last), reducer), &[value])
        };
        let zero = wire.constant(tensor0(0f32))?;
        let square = wire.binary(Box::new(math::Mul), input, input)?;
        let norm_of_row = match norm {
            Norm::Max => of_row(wire, input, Reducer::Max)?,
            Norm::L1 => {
                let magnitude = wire.unary(Box::new(math::Abs {}), input)?;
                of_row(wire, magnitude, Reducer::Sum)?
            }
            Norm::L2 => of_row(wire, square, Reducer::Sum)?,
        };
        let is_some = wire.binary(comp_ne(), norm_of_row, zero)?;
        let one = wire.constant(tensor0(1f32))?;
        let divisor = wire.select(is_some, norm_of_row, one)?;
        if norm != Norm::L2 {
            return Ok(tvec!(wire.binary(Box::new(math::Div), input, divisor)?));
        }
        let share = wire.binary(Box::new(math::Div), square, divisor)?;
        let root = wire.unary(Box::new(math::Sqrt {}), share)?;
        let sign = wire.unary(Box::new(math::Sign {}), input)?;
        let signed = wire.binary(Box::new(math::Mul), root, sign)?;
        // Of a row whose squares are all zero, the row itself.
        Ok(tvec!(wire.select(is_some, signed, input)?))
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Norm {
    Max,
    L1,
    L2,
}

/// Reads a `Binarizer`: 1 above the threshold, else 0.
pub fn binarizer(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let threshold = node.get_attr_opt::<f32>("threshold")?.unwrap_or(0.0);
    composed("Binarizer", 1, move |wire, inputs| {
        let datum_type = wire.fact(inputs[0])?.datum_type;
        let input = wire.cast(inputs[0], f32::datum_type())?;
        let is_above = wire.is_above(input, threshold)?;
        Ok(tvec!(wire.cast(is_above, datum_type)?))
    })
}

/// Reads an `Imputer`: another number in the place of one, which may be NaN.
pub fn imputer(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let replaced = node.get_attr_opt::<f32>("replaced_value_float")?.unwrap_or(0.0);
    let replaced_int = node.get_attr_opt::<i64>("replaced_value_int64")?.unwrap_or(0);
    let imputed = floats(node, "imputed_value_floats")?.to_vec();
    let imputed_ints = ints(node, "imputed_value_int64s")?.to_vec();
    if imputed.is_empty() == imputed_ints.is_empty() {
        let what = "expected one of imputed_value_floats and imputed_value_int64s";
        return node.bail_attr("imputed_value_floats", what);
    }
    composed("Imputer", 1, move |wire, inputs| {
        let input = inputs[0];
        let datum_type = wire.fact(input)?.datum_type;
        let (is_missing, imputed) = match imputed.is_empty() {
            false if datum_type == f32::datum_type() => {
                let is_missing = match replaced.is_nan() {
                    true => wire.binary(comp_ne(), input, input)?,
                    false => {
                        let replaced = wire.constant(tensor0(replaced))?;
                        wire.binary(comp_eq(), input, replaced)?
                    }
                };
                (is_missing, per_feature(wire, input, "imputed_value_floats", &imputed)?)
            }
            true if datum_type == i64::datum_type() => {
                let replaced = wire.constant(tensor0(replaced_int))?;
                let is_missing = wire.binary(comp_eq(), input, replaced)?;
                (is_missing, per_feature(wire, input, "imputed_value_int64s", &imputed_ints)?)
            }
            _ => bail!(
                "its input is of type {datum_type:?}; FP32 with imputed_value_floats, and I64 with \
                 imputed_value_int64s, are supported"
            ),
        };
        Ok(tvec!(wire.select(is_missing, imputed, input)?))
    })
}

/// Reads a `FeatureVectorizer`: matrices side by side.
pub fn feature_vectorizer(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let sizes = ints(node, "inputdimensions")?.to_vec();
    composed("FeatureVectorizer", 1, move |wire, inputs| {
        ensure!(!inputs.is_empty(), "it has no inputs");
        let mut parts = Vec::new();
        for (index, &input) in inputs.iter().enumerate() {
            let part = wire.features(input)?;
            let (seen, wanted) = (wire.size(part, 1)?, sizes.get(index).copied());
            ensure!(
                wanted.is_none_or(|wanted| wanted == seen as i64),
                "its attribute inputdimensions has {wanted:?} for input {index}, which has {seen} \
                 features; as many are supported"
            );
            parts.push(part);
        }
        Ok(tvec!(wire.beside(&parts)?))
    })
}

/// Reads an `ArrayFeatureExtractor`: elements along the last axis, by index.
pub fn array_feature_extractor(_ctx: &ParsingContext, _node: &NodeProto) -> Read {
    composed("ArrayFeatureExtractor", 1, |wire, inputs| {
        let (data, indices) = (inputs[0], inputs[1]);
        let data = match wire.fact(data)?.rank() {
            0 => bail!("its input has no dimension, wanted [samples, features]"),
            1 => wire.op(AxisOp::Add(0), &[data])?,
            _ => data,
        };
        let shape = wire.fact(indices)?.shape.to_tvec();
        let count: TDim = shape.iter().product();
        let indices = match shape.len() {
            1 => indices,
            _ => wire.op(AxisOp::Reshape(0, shape, tvec!(count)), &[indices])?,
        };
        let last = wire.fact(data)?.rank() - 1;
        Ok(tvec!(wire.op(Gather::new(last), &[data, indices])?))
    })
}
