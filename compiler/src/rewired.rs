//! Operators that tract reads right and wires wrong, or not in all cases: its own reading
//! of a node, its rules for types and shapes, and another wiring.

use std::fmt;

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// What tract's reader of an operator returns.
pub type Read = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Adds what an operator does to a graph, given tract's own operator, the name of its
/// node and its inputs.
type Wiring = dyn Fn(&dyn Expansion, &str, &mut TypedModel, &[OutletId]) -> TractResult<TVec<OutletId>>
    + Send
    + Sync;

/// Has `read` read an operator, and keeps tract's reader of it for [`rewired`].
pub fn replace(
    onnx: &mut Onnx,
    operator: &'static str,
    read: fn(&ParsingContext, &NodeProto) -> Read,
) {
    if let Some(of_tract) = onnx.op_register.0.insert(operator.into(), read) {
        onnx.op_register.0.insert(kept(operator), of_tract);
    }
}

/// The name under which tract's reader of an operator is kept.
fn kept(operator: &str) -> String {
    format!("tract.{operator}")
}

/// A node as tract reads it, of an operator that was replaced.
pub fn read_by_tract(context: &ParsingContext, node: &NodeProto) -> Read {
    let read = context.framework.op_register.0.get(&kept(&node.op_type));
    read.context("an operator that tract reads")?(context, node)
}

/// A node as tract reads it, and `wiring` wires it.
pub fn rewired(
    context: &ParsingContext,
    node: &NodeProto,
    wiring: impl Fn(&dyn Expansion, &str, &mut TypedModel, &[OutletId]) -> TractResult<TVec<OutletId>>
    + Send
    + Sync
    + 'static,
) -> Read {
    let (op, captured) = read_by_tract(context, node)?;
    let of_tract = op.as_op().downcast_ref::<Box<dyn Expansion>>().context("an expansion")?;
    let rewired = Rewired { of_tract: of_tract.clone(), wiring: Arc::new(wiring) };
    Ok((expand(rewired), captured))
}

#[derive(Clone)]
struct Rewired {
    of_tract: Box<dyn Expansion>,
    wiring: Arc<Wiring>,
}

impl fmt::Debug for Rewired {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Rewired").field("of_tract", &self.of_tract).finish_non_exhaustive()
    }
}

impl Expansion for Rewired {
    fn name(&self) -> StaticName {
        Expansion::name(&*self.of_tract)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Expansion::nboutputs(&*self.of_tract)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        Expansion::rules(&*self.of_tract, s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        (self.wiring)(&*self.of_tract, prefix, model, inputs)
    }
}
