//! Slices with a step that stay where they are. tract pulls each towards the input of the
//! graph, and gives the graph up where it comes to a reshape that has no such axis.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::Downsample;
use tract_onnx::tract_hir::tract_core::ops::array::StridedSlice;

/// The decluttered graph: as tract makes it, or with the slices in their places where that
/// fails.
pub fn declutter(model: TypedModel) -> TractResult<TypedModel> {
    let error = match model.clone().into_decluttered() {
        Ok(decluttered) => return Ok(decluttered),
        Err(error) => error,
    };
    match in_place(model)? {
        Some(model) => model.into_decluttered(),
        None => Err(error),
    }
}

/// The graph, if it has such slices, all of which stay.
fn in_place(mut model: TypedModel) -> TractResult<Option<TypedModel>> {
    for node in 0..model.nodes.len() {
        let node = model.node(node);
        if node.op_is::<StridedSlice>()
            && let Some(slices) = node.op.declutter(&model, node)?
        {
            slices.apply(&mut model)?;
        }
    }
    let mut has_any = false;
    for node in &mut model.nodes {
        let slice = node.op_as::<Downsample>().cloned();
        if let Some(slice) = slice {
            has_any = true;
            node.op = Box::new(InPlace(slice));
        }
    }
    Ok(has_any.then_some(model))
}

/// The slice of a node, whether it stays or not.
pub fn slice(node: &TypedNode) -> Option<&Downsample> {
    node.op_as::<Downsample>().or_else(|| Some(&node.op_as::<InPlace>()?.0))
}

/// A slice that stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InPlace(Downsample);

impl Op for InPlace {
    fn name(&self) -> StaticName {
        "DownsampleInPlace".into()
    }

    op_as_typed_op!();
}

impl EvalOp for InPlace {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(context, inputs)
    }
}

impl TypedOp for InPlace {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}
