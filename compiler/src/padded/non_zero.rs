//! `NonZero`: the coordinates of the elements that are not 0, one in each column, with
//! as many columns as there are elements.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// What `NonZero` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonZero;

/// Reads it.
pub fn read(_: &ParsingContext, _: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(ReadNonZero), vec![]))
}

#[derive(Clone, Debug)]
struct ReadNonZero;

impl Expansion for ReadNonZero {
    fn name(&self) -> StaticName {
        "NonZero".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, i64::datum_type())?;
        s.equals(&outputs[0].rank, 2)?;
        s.given(&inputs[0].shape, move |s, shape| {
            s.equals(&outputs[0].shape[0], shape.len().to_dim())?;
            s.equals(&outputs[0].shape[1], shape.iter().product::<TDim>())
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, NonZero, inputs)
    }
}

impl Op for NonZero {
    fn name(&self) -> StaticName {
        "NonZero".into()
    }

    op_as_typed_op!();
}

impl EvalOp for NonZero {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let numbers = input.cast_to::<f64>()?;
        let numbers = numbers.to_plain_array_view::<f64>()?;
        let mut output = tract_ndarray::Array2::from_elem((input.rank(), input.len()), -1i64);
        let set = numbers.indexed_iter().filter(|(_, number)| **number != 0.0);
        for (column, (coordinates, _)) in set.enumerate() {
            for axis in 0..input.rank() {
                output[(axis, column)] = coordinates[axis] as i64;
            }
        }
        Ok(tvec!(output.into_tensor().into_tvalue()))
    }
}

impl TypedOp for NonZero {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let columns = inputs[0].shape.volume();
        Ok(tvec!(i64::fact([inputs[0].rank().to_dim(), columns])))
    }

    as_op!();
}
