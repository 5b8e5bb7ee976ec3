//! `DynamicQuantizeLinear`: a tensor quantised by the scale that its own numbers want.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::grid::Grid;
use super::{Slots, refuse, tract_name};

/// What `DynamicQuantizeLinear` becomes. Its outputs are the integers, their scale and
/// their zero point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DynamicQuantize;

/// Reads `DynamicQuantizeLinear`.
pub fn dynamic_quantize(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Slots::of(node, 1).want(node, 1)?;
    if node.output.len() != 3 || node.output.iter().any(String::is_empty) {
        return refuse(tract_name(node), "without all three outputs; with them it is supported");
    }
    Ok((expand(Read), vec![]))
}

#[derive(Clone, Debug)]
struct Read;

impl Expansion for Read {
    fn name(&self) -> StaticName {
        "DynamicQuantizeLinear".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(3)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 3)?;
        s.equals(&inputs[0].datum_type, DatumType::F32)?;
        for (output, dtype) in outputs.iter().zip(TYPES) {
            s.equals(&output.datum_type, dtype)?;
        }
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        s.equals(&outputs[1].rank, 0)?;
        s.equals(&outputs[2].rank, 0)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, DynamicQuantize, inputs)
    }
}

/// The types of the outputs.
const TYPES: [DatumType; 3] = [DatumType::U8, DatumType::F32, DatumType::U8];

/// The scale and zero point of numbers between these, of which one is not above, the
/// other not below 0. Of zeros only, as ONNX Runtime has it, 1 and 0.
fn scale_of(least: f32, most: f32) -> (f32, i32) {
    let range = most - least;
    let scale = if range == 0.0 { 1.0 } else { range / 255.0 };
    (scale, (-least / scale).clamp(0.0, 255.0).round_ties_even() as i32)
}

impl Op for DynamicQuantize {
    fn name(&self) -> StaticName {
        "DynamicQuantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DynamicQuantize {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let view = inputs[0].to_plain_array_view::<f32>()?;
        let least = view.iter().fold(0.0f32, |least, &x| if x < least { x } else { least });
        let most = view.iter().fold(0.0f32, |most, &x| if x > most { x } else { most });
        let (scale, zero_point) = scale_of(least, most);
        let grid = Grid::uniform(inputs[0].rank(), scale, zero_point);
        let integers = grid.quantize(&inputs[0], DatumType::U8)?;
        let zero_point = tensor0(zero_point as u8);
        Ok(tvec!(integers.into(), tensor0(scale).into(), zero_point.into()))
    }
}

impl TypedOp for DynamicQuantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let scalar: &[TDim] = &[];
        let shapes = [inputs[0].shape.to_tvec(), scalar.into(), scalar.into()];
        Ok(TYPES.into_iter().zip(shapes).map(|(dtype, shape)| dtype.fact(shape)).collect())
    }

    as_op!();
}
