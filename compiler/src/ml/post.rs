//! The transforms of scores after a model: `SOFTMAX`, `LOGISTIC`, `SOFTMAX_ZERO`,
//! `PROBIT`.
//!
//! The specification only names them; what they compute is what ONNX Runtime
//! does: a probit by the approximation of S. Winitzki ("A handy approximation for
//! the error function and its inverse", 2008), scores below 1e-7 left out of
//! `SOFTMAX_ZERO`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::logic::comp_gt;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reducer, Sigmoid, Softmax};

use super::attributes;
use crate::composed::wire::Wire;

/// A transform of the scores of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The scores themselves.
    None,
    /// `e^x / sum(e^x)`
    Softmax,
    /// `1 / (1 + e^-x)`
    Logistic,
    /// As softmax, where scores that are zero stay zero.
    SoftmaxZero,
    /// The inverse of the distribution function of the normal distribution.
    Probit,
}

const ALL: [(&str, Transform); 5] = [
    ("NONE", Transform::None),
    ("SOFTMAX", Transform::Softmax),
    ("LOGISTIC", Transform::Logistic),
    ("SOFTMAX_ZERO", Transform::SoftmaxZero),
    ("PROBIT", Transform::Probit),
];

impl Transform {
    /// What the attribute `post_transform` names.
    pub fn read(node: &NodeProto) -> TractResult<Self> {
        let name = attributes::string(node, "post_transform", "NONE")?;
        match ALL.iter().find(|(known, _)| *known == name) {
            Some(&(_, transform)) => Ok(transform),
            None => node.bail_attr("post_transform", &format!("{name:?} is none of {}", names())),
        }
    }

    /// What the attribute `post_transform` of `TreeEnsemble` numbers.
    pub fn read_number(node: &NodeProto) -> TractResult<Self> {
        let number = node.get_attr_opt::<i64>("post_transform")?.unwrap_or(0);
        match usize::try_from(number).ok().and_then(|number| ALL.get(number)) {
            Some(&(_, transform)) => Ok(transform),
            None => node.bail_attr("post_transform", &format!("{number} is none of 0 to 4")),
        }
    }

    /// The transform of each row of `scores`.
    pub fn wire(self, wire: &mut Wire, scores: OutletId) -> TractResult<OutletId> {
        match self {
            Transform::None => Ok(scores),
            Transform::Softmax => {
                wire.op(Softmax { axes: tvec!(1), ..Softmax::default() }, &[scores])
            }
            Transform::Logistic => wire.unary(Box::new(Sigmoid {}), scores),
            Transform::SoftmaxZero => softmax_zero(wire, scores),
            Transform::Probit => probit(wire, scores),
        }
    }
}

fn names() -> String {
    ALL.map(|(name, _)| name).join(", ")
}

/// `e^(x - max)` where x is not zero, `x e^-max` where it is, over the sum of the
/// former.
fn softmax_zero(wire: &mut Wire, scores: OutletId) -> TractResult<OutletId> {
    const ZERO: f32 = 1e-7;
    let magnitude = wire.unary(Box::new(math::Abs {}), scores)?;
    let zero = wire.constant(tensor0(ZERO))?;
    let is_some = wire.binary(comp_gt(), magnitude, zero)?;
    let max = wire.reduce(scores, Reducer::Max)?;
    let below = wire.binary(Box::new(math::Sub), scores, max)?;
    let exp = wire.unary(Box::new(math::Exp {}), below)?;
    let none = wire.constant(tensor0(0f32))?;
    let counted = wire.select(is_some, exp, none)?;
    let sum = wire.reduce(counted, Reducer::Sum)?;
    let negative = wire.unary(Box::new(math::Neg {}), max)?;
    let scale = wire.unary(Box::new(math::Exp {}), negative)?;
    let scaled = wire.binary(Box::new(math::Mul), scores, scale)?;
    let kept = wire.select(is_some, exp, scaled)?;
    wire.binary(Box::new(math::Div), kept, sum)
}

/// `sqrt(2) erf^-1(2 x - 1)`
fn probit(wire: &mut Wire, scores: OutletId) -> TractResult<OutletId> {
    const A: f32 = 0.147;
    let twice = wire.times(scores, 2.0)?;
    let x = wire.plus(twice, -1.0)?;
    let sign = wire.unary(Box::new(math::Sign {}), x)?;
    let negative = wire.times(x, -1.0)?;
    let (low, high) = (wire.plus(negative, 1.0)?, wire.plus(x, 1.0)?);
    let product = wire.binary(Box::new(math::Mul), low, high)?;
    let log = wire.unary(Box::new(math::Ln {}), product)?;
    let half = wire.times(log, 0.5)?;
    let v = wire.plus(half, 2.0 / (std::f32::consts::PI * A))?;
    let over_a = wire.times(log, 1.0 / A)?;
    let square = wire.binary(Box::new(math::Mul), v, v)?;
    let under = wire.binary(Box::new(math::Sub), square, over_a)?;
    let root = wire.unary(Box::new(math::Sqrt {}), under)?;
    let difference = wire.binary(Box::new(math::Sub), root, v)?;
    let inverse = wire.unary(Box::new(math::Sqrt {}), difference)?;
    let signed = wire.binary(Box::new(math::Mul), inverse, sign)?;
    wire.times(signed, std::f32::consts::SQRT_2)
}
