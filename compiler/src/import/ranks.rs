//! Operators whose rules in tract count axes that they take for granted: where there are
//! none, or very many, they count without end. What is known of a node's tensors is looked
//! at before, in the bodies of loops as well, of which only tract sees the shapes.

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::guard::RANK_LIMIT;
use crate::corrected;
use crate::rewired::{Read, read_by_tract, replace};

/// Has these operators looked at.
pub fn register(onnx: &mut Onnx) {
    for operator in ["DFT", "LayerNormalization", "MatMulNBits"] {
        replace(onnx, operator, |context, node| {
            let axis = node.get_attr_opt("axis")?.unwrap_or_default();
            checked(context, node, Want::Axis(axis))
        });
    }
    replace(onnx, "GatherND", |context, node| checked(context, node, Want::Indices));
    replace(onnx, "ConstantOfShape", |context, node| {
        checked(context, &corrected::filled(node), Want::Shape)
    });
}

/// What an operator takes for granted.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// The first input and the outputs have this axis, counted from the end where it is
    /// negative.
    Axis(i64),
    /// The second input has one.
    Indices,
    /// The first input is a shape of few axes.
    Shape,
}

fn checked(context: &ParsingContext, node: &NodeProto, want: Want) -> Read {
    let (of_tract, captured) = read_by_tract(context, node)?;
    Ok((Box::new(Checked { of_tract, want }), captured))
}

/// tract's operator behind a check.
#[derive(Clone, Debug)]
struct Checked {
    of_tract: Box<dyn InferenceOp>,
    want: Want,
}

// As tract's operators do, which are not compared.
impl PartialEq for Checked {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Checked {}

impl Checked {
    fn check(&self, inputs: &[&InferenceFact], outputs: &[&InferenceFact]) -> TractResult<()> {
        let ranks = |facts: &[&InferenceFact]| -> Vec<i64> {
            facts.iter().filter_map(|fact| fact.shape.rank().concretize()).collect()
        };
        match self.want {
            Want::Axis(axis) => {
                for rank in [ranks(&inputs[..inputs.len().min(1)]), ranks(outputs)].concat() {
                    ensure!((-rank..rank).contains(&axis), "no axis {axis} among {rank} axes");
                }
            }
            Want::Indices => {
                let indices = ranks(inputs.get(1..2).unwrap_or_default());
                ensure!(!indices.contains(&0), "a scalar where at least one axis is wanted");
            }
            Want::Shape => {
                let axes = inputs.first().and_then(|shape| shape.shape.dim(0)?.concretize());
                let axes = axes.and_then(|axes| axes.to_i64().ok()).unwrap_or_default();
                ensure!(axes <= RANK_LIMIT as i64, "{axes} axes, the limit is {RANK_LIMIT}");
            }
        }
        Ok(())
    }
}

impl InferenceOp for Checked {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        self.check(&inputs, &outputs)?;
        self.of_tract.infer_facts(inputs, outputs, observed)
    }

    fn observe_outlets(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Vec<OutletId>> {
        self.of_tract.observe_outlets(model, node)
    }

    fn incorporate(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Option<InferenceModelPatch>> {
        self.of_tract.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.of_tract.nboutputs()
    }

    // Who asks what this is, is told of tract's operator.
    fn as_op(&self) -> &dyn Op {
        self.of_tract.as_op()
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self.of_tract.as_op_mut()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        self.of_tract.to_typed(source, node, target, mapping)
    }
}

impl Op for Checked {
    fn name(&self) -> StaticName {
        self.of_tract.as_op().name()
    }

    not_a_typed_op!();
}

impl EvalOp for Checked {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.of_tract.as_op().eval_out_of_plan(inputs)
    }
}
