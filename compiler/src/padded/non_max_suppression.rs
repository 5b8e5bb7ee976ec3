//! `NonMaxSuppression`, with a row for each box that could be selected.

use std::cmp::Ordering;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::tract_ndarray::Ix3;
use tract_onnx::tract_hir::internal::*;

use crate::quantised::{Slots, refuse};

/// What `NonMaxSuppression` becomes. Its inputs are the boxes and the scores.
#[derive(Clone, Debug, PartialEq)]
pub struct NonMaxSuppression {
    /// How many of a class may be selected.
    pub most: usize,
    /// Boxes overlap whose intersection is more than this share of their union.
    pub overlap: f32,
    /// A score must be above this, if it is there.
    pub threshold: Option<f32>,
    /// Whether boxes are their center, width and height, and not two corners.
    pub centers: bool,
}

impl Eq for NonMaxSuppression {}

/// Reads it.
pub fn read(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let centers = node.get_attr_opt::<i64>("center_point_box")?.unwrap_or(0) != 0;
    Ok((expand(Read { slots: Slots::of(node, 5).want(node, 2)?, centers }), vec![]))
}

#[derive(Clone, Debug)]
struct Read {
    slots: Slots,
    centers: bool,
}

/// The rows of the output for scores of this shape.
fn rows(scores: &[TDim], most: i64) -> TDim {
    let boxes = scores[2].to_i64().unwrap_or(i64::MAX);
    scores[0].clone() * &scores[1] * most.clamp(0, boxes)
}

impl Expansion for Read {
    fn name(&self) -> StaticName {
        "NonMaxSuppression".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, i64::datum_type())?;
        s.equals(&outputs[0].rank, 2)?;
        s.equals(&outputs[0].shape[1], 3.to_dim())?;
        s.equals(&inputs[0].rank, 3)?;
        s.equals(&inputs[1].rank, 3)?;
        s.given(&inputs[1].shape, move |s, scores| match self.slots.get(2) {
            None => s.equals(&outputs[0].shape[0], 0.to_dim()),
            Some(slot) => s.given(&inputs[slot].value, move |s, most| {
                s.equals(&outputs[0].shape[0], rows(&scores, most.cast_to_scalar::<i64>()?))
            }),
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let number = |slot: usize, what: &str| -> TractResult<Option<f64>> {
            let Some(outlet) = self.slots.pick(inputs, slot) else { return Ok(None) };
            match &model.outlet_fact(outlet)?.konst {
                Some(tensor) => Ok(Some(tensor.cast_to_scalar::<f64>()?)),
                None => refuse(prefix, format!("{what} is computed; a constant is supported")),
            }
        };
        let most = number(2, "max_output_boxes_per_class")?.unwrap_or(0.0);
        let op = NonMaxSuppression {
            most: most.max(0.0) as usize,
            overlap: number(3, "iou_threshold")?.unwrap_or(0.0) as f32,
            threshold: number(4, "score_threshold")?.map(|number| number as f32),
            centers: self.centers,
        };
        for &input in &inputs[..2] {
            let seen = model.outlet_fact(input)?.datum_type;
            if seen != f32::datum_type() {
                return refuse(prefix, format!("of type {seen:?}; of FP32 it is supported"));
            }
        }
        model.wire_node(prefix, op, &inputs[..2])
    }
}

impl Op for NonMaxSuppression {
    fn name(&self) -> StaticName {
        "NonMaxSuppression".into()
    }

    op_as_typed_op!();
}

impl NonMaxSuppression {
    /// The lowest and highest corner of a box, `y` before `x`.
    fn corners(&self, given: [f32; 4]) -> [f32; 4] {
        let [a, b, c, d] = given;
        match self.centers {
            true => [b - d * 0.5, a - c * 0.5, b + d * 0.5, a + c * 0.5],
            false => [a.min(c), b.min(d), a.max(c), b.max(d)],
        }
    }

    fn overlap(&self, one: [f32; 4], other: [f32; 4]) -> bool {
        let height = one[2].min(other[2]) - one[0].max(other[0]);
        let width = one[3].min(other[3]) - one[1].max(other[1]);
        let area = |corners: [f32; 4]| (corners[2] - corners[0]) * (corners[3] - corners[1]);
        let both = height * width;
        height > 0.0 && width > 0.0 && both / (area(one) + area(other) - both) > self.overlap
    }

    /// The boxes of one class, in the order in which they are selected.
    fn select(&self, boxes: &[[f32; 4]], scores: &[f32]) -> Vec<usize> {
        let is_candidate = |&at: &usize| match self.threshold {
            Some(threshold) => scores[at] > threshold,
            None => !scores[at].is_nan(),
        };
        let mut left: Vec<usize> = (0..scores.len()).filter(is_candidate).collect();
        left.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal));
        let mut selected = Vec::new();
        while selected.len() < self.most && !left.is_empty() {
            let best = left.remove(0);
            selected.push(best);
            left.retain(|&other| !self.overlap(boxes[best], boxes[other]));
        }
        selected
    }
}

impl EvalOp for NonMaxSuppression {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (boxes, scores) = args_2!(inputs);
        let boxes = boxes.to_plain_array_view::<f32>()?.into_dimensionality::<Ix3>()?;
        let scores = scores.to_plain_array_view::<f32>()?.into_dimensionality::<Ix3>()?;
        let (batches, classes, count) = scores.dim();
        let mut rows = Vec::new();
        for batch in 0..batches {
            let boxes: Vec<[f32; 4]> = (0..count)
                .map(|at| self.corners(std::array::from_fn(|part| boxes[(batch, at, part)])))
                .collect();
            for class in 0..classes {
                let scores: Vec<f32> = (0..count).map(|at| scores[(batch, class, at)]).collect();
                let selected = self.select(&boxes, &scores).into_iter();
                rows.extend(selected.flat_map(|at| [batch, class, at]).map(|number| number as i64));
            }
        }
        let most = batches * classes * self.most.min(count);
        rows.resize(3 * most, -1);
        Ok(tvec!(Tensor::from_shape(&[most, 3], &rows)?.into_tvalue()))
    }
}

impl TypedOp for NonMaxSuppression {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let most = i64::try_from(self.most).unwrap_or(i64::MAX);
        Ok(tvec!(i64::fact([rows(&inputs[1].shape, most), 3.to_dim()])))
    }

    as_op!();
}
