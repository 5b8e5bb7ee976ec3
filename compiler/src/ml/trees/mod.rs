//! `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and `TreeEnsemble`.
//!
//! The specification leaves a classifier of two classes open where its leaves
//! have scores for one class only. ONNX Runtime takes them for those of the
//! second class: as probabilities where no weight is negative, and as margins
//! else. So it is here. Where the leaves have scores for both classes, the label is
//! the class with the larger one, as the specification has it; ONNX Runtime
//! compares with zero.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::Sigmoid;

use super::attributes::{self, class_labels, no_nan, reals};
use super::post::Transform;
use crate::composed::wire::Wire;
use crate::composed::{Read, composed};

pub mod ensemble;
pub mod normal;
mod read;

use ensemble::{Aggregate, Ensemble, Node, TreeScores};

/// The most targets or classes.
const TARGETS_LIMIT: i64 = 1 << 20;

/// Reads a `TreeEnsembleRegressor`.
pub fn regressor(ctx: &ParsingContext, node: &NodeProto) -> Read {
    let targets = targets(node)?;
    let aggregate = match attributes::string(node, "aggregate_function", "SUM")? {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => {
            let what = format!("{other:?} is none of SUM, AVERAGE, MIN, MAX");
            return node.bail_attr("aggregate_function", &what);
        }
    };
    let ensemble = Arc::new(read::of_nodes(ctx, node, "target", targets, aggregate)?);
    let base = base_values(ctx, node, &[targets, 1])?;
    let transform = Transform::read(node)?;
    composed("TreeEnsembleRegressor", 1, move |wire, inputs| {
        let scores = scores(wire, inputs, &ensemble, f32::datum_type())?;
        let scores = add_base(wire, scores, &base)?;
        Ok(tvec!(transform.wire(wire, scores)?))
    })
}

/// Reads a `TreeEnsemble`.
pub fn ensemble(ctx: &ParsingContext, node: &NodeProto) -> Read {
    let targets = targets(node)?;
    let aggregate = match node.get_attr_opt::<i64>("aggregate_function")?.unwrap_or(1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => {
            return node.bail_attr("aggregate_function", &format!("{other} is none of 0 to 3"));
        }
    };
    let ensemble = Arc::new(read::of_branches_and_leaves(ctx, node, targets, aggregate)?);
    let transform = Transform::read_number(node)?;
    composed("TreeEnsemble", 1, move |wire, inputs| {
        let datum_type = wire.fact(inputs[0])?.datum_type;
        let is_double = datum_type == f64::datum_type();
        ensure!(
            !is_double || transform == Transform::None,
            "its attribute post_transform on FP64 is not supported; on FP32 it is"
        );
        let output = if is_double { datum_type } else { f32::datum_type() };
        let scores = scores(wire, inputs, &ensemble, output)?;
        let scores = transform.wire(wire, scores)?;
        Ok(tvec!(wire.cast(scores, datum_type)?))
    })
}

/// Reads a `TreeEnsembleClassifier`.
pub fn classifier(ctx: &ParsingContext, node: &NodeProto) -> Read {
    let labels = class_labels(node, "classlabels_int64s", "classlabels_strings")?;
    let classes = labels.len();
    let ensemble = read::of_nodes(ctx, node, "class", classes, Aggregate::Sum)?;
    let transform = Transform::read(node)?;
    match (classes, &*ensemble.scored_targets()) {
        (2, &[class]) => two_classes(ctx, node, labels, ensemble, class, transform),
        _ => {
            let base = base_values(ctx, node, &[classes])?;
            let ensemble = Arc::new(ensemble);
            composed("TreeEnsembleClassifier", 2, move |wire, inputs| {
                let scores = scores(wire, inputs, &ensemble, f32::datum_type())?;
                let scores = add_base(wire, scores, &base)?;
                let largest = wire.largest(scores)?;
                let label = wire.look_up(tensor1(&labels), largest)?;
                Ok(tvec!(label, transform.wire(wire, scores)?))
            })
        }
    }
}

/// A classifier of two classes whose leaves have scores for one of them only.
fn two_classes(
    ctx: &ParsingContext,
    node: &NodeProto,
    labels: Vec<i64>,
    mut ensemble: Ensemble,
    class: usize,
    transform: Transform,
) -> Read {
    let mut is_positive = true;
    for leaf in &mut ensemble.nodes {
        if let Node::Leaf(scores) = leaf {
            is_positive &= scores.iter().all(|&(_, score)| score >= 0.0);
            scores.iter_mut().for_each(|(target, _)| *target = 0);
        }
    }
    ensemble.targets = 1;
    // Scores for the second class stand beside a zero.
    let base = base_values(ctx, node, if class == 0 { &[1] } else { &[] })?;
    let (ensemble, is_second) = (Arc::new(ensemble), class == 1);
    let threshold = if is_positive { 0.5 } else { 0.0 };
    composed("TreeEnsembleClassifier", 2, move |wire, inputs| {
        let score = scores(wire, inputs, &ensemble, f32::datum_type())?;
        let score = add_base(wire, score, &base)?;
        let is_above = wire.is_above(score, threshold)?;
        let label = wire.look_up(tensor1(&labels), is_above)?;
        let scores = if is_second {
            let zero = wire.times(score, 0.0)?;
            let both = wire.beside(&[zero, score])?;
            transform.wire(wire, both)?
        } else {
            second_class(wire, score, transform, is_positive)?
        };
        Ok(tvec!(label, scores))
    })
}

/// The scores of both classes from that of the second one.
pub fn second_class(
    wire: &mut Wire,
    score: OutletId,
    transform: Transform,
    is_positive: bool,
) -> TractResult<OutletId> {
    let negative = wire.times(score, -1.0)?;
    match transform {
        Transform::Logistic => {
            let both = wire.beside(&[negative, score])?;
            wire.unary(Box::new(Sigmoid {}), both)
        }
        Transform::Probit => {
            let probit = transform.wire(wire, score)?;
            let negative = wire.times(probit, -1.0)?;
            wire.beside(&[negative, probit])
        }
        _ if is_positive => {
            let rest = wire.plus(negative, 1.0)?;
            wire.beside(&[rest, score])
        }
        _ => wire.beside(&[negative, score]),
    }
}

fn targets(node: &NodeProto) -> TractResult<usize> {
    let targets = node.get_attr_opt::<i64>("n_targets")?.unwrap_or(1);
    node.expect_attr("n_targets", (1..=TARGETS_LIMIT).contains(&targets), || {
        format!("1 to {TARGETS_LIMIT}, got {targets}")
    })?;
    Ok(targets as usize)
}

/// None, or as many as are wanted.
fn base_values(ctx: &ParsingContext, node: &NodeProto, wanted: &[usize]) -> TractResult<Vec<f32>> {
    let base = reals(ctx, node, "base_values")?.unwrap_or_default();
    no_nan(node, "base_values", &base)?;
    node.expect_attr("base_values", base.is_empty() || wanted.contains(&base.len()), || {
        format!("none or {wanted:?} elements, got {}", base.len())
    })?;
    Ok(base.iter().map(|&number| number as f32).collect())
}

fn add_base(wire: &mut Wire, scores: OutletId, base: &[f32]) -> TractResult<OutletId> {
    if base.iter().all(|&number| number == 0.0) {
        return Ok(scores);
    }
    let base = wire.row(base)?;
    wire.binary(Box::new(math::Add), scores, base)
}

/// The sums of the trees: of FP64 in that precision, of all others in FP32.
fn scores(
    wire: &mut Wire,
    inputs: &[OutletId],
    ensemble: &Arc<Ensemble>,
    output: DatumType,
) -> TractResult<OutletId> {
    let input = wire.matrix(inputs[0])?;
    let input = match wire.fact(input)?.datum_type == f64::datum_type() {
        true => input,
        false => wire.cast(input, f32::datum_type())?,
    };
    wire.op(TreeScores { ensemble: ensemble.clone(), output }, &[input])
}
