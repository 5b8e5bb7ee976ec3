//! Operators that tract reads otherwise than ONNX defines them, read anew.

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::math::{add, div, exp, max, min, mul, sub};

/// Puts them into the reader.
pub fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Celu", celu);
    onnx.op_register.insert(TURNED, turned);
}

fn celu(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(Celu { alpha: node.get_attr_opt("alpha")?.unwrap_or(1.0) }), vec![]))
}

/// `max(0, x) + min(0, alpha (e^(x / alpha) - 1))`, of which tract leaves out the
/// second alpha.
#[derive(Clone, Debug)]
struct Celu {
    alpha: f32,
}

impl Expansion for Celu {
    fn name(&self) -> StaticName {
        "Celu".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?.clone();
        let x = inputs[0];
        let constant = |model: &mut TypedModel, name: &str, number: f32| {
            let mut tensor = tensor0(number).cast_to_dt(fact.datum_type)?.into_owned();
            tensor.broadcast_to_rank(fact.rank())?;
            model.add_const(format!("{prefix}.{name}"), tensor)
        };
        let zero = constant(model, "zero", 0.0)?;
        let one = constant(model, "one", 1.0)?;
        let alpha = constant(model, "alpha", self.alpha)?;
        let wire = |model: &mut TypedModel, name: &str, op: Box<dyn TypedOp>, of: &[OutletId]| {
            TractResult::Ok(model.wire_node(format!("{prefix}.{name}"), op, of)?[0])
        };
        let scaled = wire(model, "scaled", Box::new(div()), &[x, alpha])?;
        let power = wire(model, "power", Box::new(exp()), &[scaled])?;
        let less = wire(model, "less", Box::new(sub()), &[power, one])?;
        let times = wire(model, "times", Box::new(mul()), &[less, alpha])?;
        let negative = wire(model, "negative", Box::new(min()), &[zero, times])?;
        let positive = wire(model, "positive", Box::new(max()), &[zero, x])?;
        model.wire_node(prefix, add(), &[positive, negative])
    }
}

/// Rewrites recurrent layers that run backwards, which tract takes for forward ones:
/// the same layer forwards, over the sequence in the opposite order.
pub fn turn_backward_layers(proto: &mut ModelProto) {
    let Some(graph) = &mut proto.graph else { return };
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        let is_recurrent = ["LSTM", "GRU", "RNN"].contains(&node.op_type.as_str());
        let direction = node.attribute.iter().position(|a| a.name == "direction");
        let Some(direction) = direction.filter(|&at| {
            is_recurrent && node.attribute[at].s == b"reverse" && !has_lengths(&node)
        }) else {
            graph.node.push(node);
            continue;
        };
        node.attribute[direction].s = b"forward".to_vec();
        let layout = node.attribute.iter().find(|a| a.name == "layout").map_or(0, |a| a.i);
        let prefix = crate::import::guard::node_name(&node).to_owned();
        let turned = format!("{prefix}.turned");
        let turn = Turn { prefix: &prefix, axis: i64::from(layout != 0) };
        turn.push(graph, "in", &node.input[0], &turned);
        node.input[0] = turned;
        let output = node.output.first().filter(|name| !name.is_empty()).cloned();
        if output.is_some() {
            node.output[0] = format!("{prefix}.forward");
        }
        let made = node.output[..1].to_vec();
        graph.node.push(node);
        if let Some(output) = output {
            turn.push(graph, "out", &made[0], &output);
        }
    }
}

/// Whether a recurrent layer has an input with the length of each sequence, which a
/// sequence turned around as a whole would not begin at.
fn has_lengths(node: &NodeProto) -> bool {
    node.input.get(4).is_some_and(|name| !name.is_empty())
}

/// Where a sequence is turned around.
struct Turn<'a> {
    prefix: &'a str,
    axis: i64,
}

impl Turn<'_> {
    /// Adds a [`Turned`] from `input` to `output`.
    fn push(&self, graph: &mut GraphProto, what: &str, input: &str, output: &str) {
        let axis = AttributeProto {
            name: "axis".into(),
            r#type: AttributeType::Int as i32,
            i: self.axis,
            ..AttributeProto::default()
        };
        graph.node.push(NodeProto {
            name: format!("{}.{what}", self.prefix),
            op_type: TURNED.into(),
            input: vec![input.to_owned()],
            output: vec![output.to_owned()],
            attribute: vec![axis],
            ..NodeProto::default()
        });
    }
}

/// The name of [`Turned`] in the file that is read.
const TURNED: &str = "leeway.Turned";

/// A tensor with an axis in the opposite order. (tract moves a `Slice` with a step of
/// -1 over other nodes, some of which it cannot.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The axis.
    pub axis: usize,
}

fn turned(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(ReadTurned { axis: node.get_attr::<usize>("axis")? }), vec![]))
}

#[derive(Clone, Debug)]
struct ReadTurned {
    axis: usize,
}

impl Expansion for ReadTurned {
    fn name(&self) -> StaticName {
        "Turned".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        ensure!(self.axis < model.outlet_fact(inputs[0])?.rank(), "it has no axis {}", self.axis);
        model.wire_node(prefix, Turned { axis: self.axis }, inputs)
    }
}

impl Op for Turned {
    fn name(&self) -> StaticName {
        "Turned".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Turned {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let size = input.shape()[self.axis];
        let slices: TractResult<Vec<Tensor>> =
            (0..size).rev().map(|at| input.slice(self.axis, at, at + 1)).collect();
        Ok(tvec!(Tensor::stack_tensors(self.axis, &slices?)?.into_tvalue()))
    }
}

impl TypedOp for Turned {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}

/// Gives a fold of no elements, of which tract makes the smallest or largest finite
/// number, the value that ONNX does: what changes no other number.
pub fn fold_nothing(model: &mut TypedModel) -> TractResult<()> {
    use tract_core::ops::konst::Const;
    use tract_core::ops::nn::{Reduce, Reducer};
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(reduce) = node.op_as::<Reduce>() else { continue };
        let outlet = node.inputs[0];
        let fact = model.outlet_fact(outlet)?;
        let is_empty = fact.shape.as_concrete().is_some_and(|shape| shape.contains(&0));
        let number = match reduce.reducer {
            Reducer::Max | Reducer::Any => f64::NEG_INFINITY,
            Reducer::Min | Reducer::All => f64::INFINITY,
            _ => continue,
        };
        let output = node.outputs[0].fact.clone();
        let Some(shape) = output.shape.as_concrete().filter(|_| is_empty) else { continue };
        let element = match output.datum_type {
            DatumType::Bool => tensor0(number > 0.0),
            DatumType::F16 => tensor0(f16::from_f64(number)),
            DatumType::F32 => tensor0(number as f32),
            DatumType::F64 => tensor0(number),
            // To integers, infinities saturate.
            dtype => tensor0(number as i64).cast_to_dt(dtype)?.into_owned(),
        };
        let tensor = element.broadcast_scalar_to_shape(shape)?.into_arc_tensor();
        let constant = Const::new(tensor.clone())?;
        let node = model.node_mut(id);
        node.op = Box::new(constant);
        node.inputs.clear();
        node.outputs[0].fact = TypedFact::try_from(tensor)?;
        let successors = &mut model.node_mut(outlet.node).outputs[outlet.slot].successors;
        successors.retain(|inlet| inlet.node != id);
    }
    Ok(())
}
