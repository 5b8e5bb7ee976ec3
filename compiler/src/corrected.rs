//! Operators that tract reads otherwise than ONNX defines them, read anew.

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, attribute_proto, tensor_proto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::math::{add, div, exp, max, min, mul, sub};

use crate::rewired::{Read, replace, rewired};

/// Puts them into the reader.
pub fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Celu", celu);
    replace(onnx, "ReduceMax", extreme);
    replace(onnx, "ReduceMin", extreme);
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

/// A `ConstantOfShape` that says what it is filled with: where it does not, that is an
/// FP32 zero, of which tract makes an FP64 one.
pub fn filled(node: &NodeProto) -> NodeProto {
    let mut node = node.clone();
    if !node.attribute.iter().any(|attribute| attribute.name == "value") {
        let zero = TensorProto {
            dims: vec![1],
            data_type: tensor_proto::DataType::Float as i32,
            float_data: vec![0.0],
            ..TensorProto::default()
        };
        node.attribute.push(AttributeProto {
            name: "value".into(),
            r#type: attribute_proto::AttributeType::Tensor as i32,
            t: Some(zero),
            ..AttributeProto::default()
        });
    }
    node
}

/// The largest or smallest of no elements, of which tract makes the smallest or largest
/// finite number: what changes no other number, as ONNX has it.
fn extreme(context: &ParsingContext, node: &NodeProto) -> Read {
    let number = if node.op_type == "ReduceMax" { f64::NEG_INFINITY } else { f64::INFINITY };
    rewired(context, node, move |of_tract, prefix, model, inputs| {
        let outputs = of_tract.wire(prefix, model, inputs)?;
        let is_empty = |fact: &TypedFact| fact.shape.iter().any(|size| *size == 0.to_dim());
        let output = model.outlet_fact(outputs[0])?.clone();
        if !is_empty(model.outlet_fact(inputs[0])?) || is_empty(&output) {
            return Ok(outputs);
        }
        let element = match output.datum_type {
            DatumType::Bool => tensor0(number > 0.0),
            DatumType::F16 => tensor0(f16::from_f64(number)),
            DatumType::F32 => tensor0(number as f32),
            DatumType::F64 => tensor0(number),
            // Of integers, infinities become the smallest and the largest.
            DatumType::I8 => tensor0(number as i8),
            DatumType::I16 => tensor0(number as i16),
            DatumType::I32 => tensor0(number as i32),
            DatumType::U8 => tensor0(number as u8),
            DatumType::U16 => tensor0(number as u16),
            DatumType::U32 => tensor0(number as u32),
            DatumType::U64 => tensor0(number as u64),
            _ => tensor0(number as i64),
        };
        let shape = output.shape.as_concrete().context("a shape that is not known")?;
        let tensor = element.broadcast_scalar_to_shape(shape)?;
        Ok(tvec!(model.add_const(format!("{prefix}.nothing"), tensor)?))
    })
}
