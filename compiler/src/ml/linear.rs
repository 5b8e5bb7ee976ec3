//! `LinearClassifier` and `LinearRegressor`.
//!
//! A classifier with coefficients for one class only is one of two classes, and
//! its score that of the second one.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::math;

use super::attributes::{class_labels, floats, want};
use super::post::Transform;
use super::trees::second_class;
use crate::composed::{Read, composed};

/// Reads a `LinearRegressor`.
pub fn regressor(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let targets = node.get_attr_opt::<i64>("targets")?.unwrap_or(1);
    let coefficients = floats(node, "coefficients")?;
    let targets = usize::try_from(targets).ok().filter(|&targets| targets > 0);
    let Some(targets) = targets.filter(|&targets| coefficients.len().is_multiple_of(targets))
    else {
        let what = "expected a number of targets that divides that of coefficients";
        return node.bail_attr("targets", what);
    };
    let model = Linear::read(node, coefficients, targets)?;
    let transform = Transform::read(node)?;
    composed("LinearRegressor", 1, move |wire, inputs| {
        let input = wire.features(inputs[0])?;
        let scores = model.wire(wire, input)?;
        Ok(tvec!(transform.wire(wire, scores)?))
    })
}

/// Reads a `LinearClassifier`.
pub fn classifier(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let labels = class_labels(node, "classlabels_ints", "classlabels_strings")?;
    let coefficients = floats(node, "coefficients")?;
    let intercepts = floats(node, "intercepts")?.len();
    let scores = match intercepts {
        0 if labels.len() == 2 && node.get_attr_opt::<i64>("multi_class")?.unwrap_or(0) == 0 => 1,
        0 => labels.len(),
        count => count,
    };
    let is_two_classes = scores == 1 && labels.len() == 2;
    if !is_two_classes {
        want(node, "intercepts", scores, labels.len())?;
    }
    let model = Linear::read(node, coefficients, scores)?;
    let transform = Transform::read(node)?;
    composed("LinearClassifier", 2, move |wire, inputs| {
        let input = wire.features(inputs[0])?;
        let scores = model.wire(wire, input)?;
        if is_two_classes {
            let is_second = wire.is_above(scores, 0.0)?;
            let label = wire.look_up(tensor1(&labels), is_second)?;
            return Ok(tvec!(label, second_class(wire, scores, transform, true)?));
        }
        let largest = wire.largest(scores)?;
        let label = wire.look_up(tensor1(&labels), largest)?;
        Ok(tvec!(label, transform.wire(wire, scores)?))
    })
}

/// Products with coefficients `[features, scores]`, plus intercepts.
struct Linear {
    coefficients: Arc<Tensor>,
    intercepts: Vec<f32>,
}

impl Linear {
    /// From the attributes, where the coefficients of a score are next to each
    /// other.
    fn read(node: &NodeProto, coefficients: &[f32], scores: usize) -> TractResult<Self> {
        let count = coefficients.len();
        node.expect_attr("coefficients", count > 0 && count.is_multiple_of(scores), || {
            format!("as many for each of {scores} scores, got {count}")
        })?;
        let intercepts = floats(node, "intercepts")?.to_vec();
        if !intercepts.is_empty() {
            want(node, "intercepts", intercepts.len(), scores)?;
        }
        Ok(Self { coefficients: transposed(coefficients, scores)?, intercepts })
    }

    fn wire(
        &self,
        wire: &mut crate::composed::wire::Wire,
        input: OutletId,
    ) -> TractResult<OutletId> {
        let scores = wire.product(input, &self.coefficients)?;
        if self.intercepts.is_empty() {
            return Ok(scores);
        }
        let intercepts = wire.row(&self.intercepts)?;
        wire.binary(Box::new(math::Add), scores, intercepts)
    }
}

/// A matrix with this many rows, transposed.
pub fn transposed(matrix: &[f32], rows: usize) -> TractResult<Arc<Tensor>> {
    let matrix = tensor1(matrix).into_shape(&[rows, matrix.len() / rows])?;
    Ok(matrix.permute_axes(&[1, 0])?.into_arc_tensor())
}
