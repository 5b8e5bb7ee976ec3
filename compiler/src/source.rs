//! What the ONNX file says and tract's graph does not keep: the names of the
//! model's outputs, and attributes that tract's reader passes over.

use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{AttributeProto, ModelProto};

use crate::error::CompileError;

/// Attributes that tract ignores: operator, attribute, and the value that it takes
/// all others for.
const IGNORED: &[(&str, &str, Value)] = &[
    ("SpaceToDepth", "mode", Value::String("DCR")),
    ("Swish", "alpha", Value::Float(1.0)),
    ("LSTM", "clip", Value::None),
    ("LSTM", "input_forget", Value::Int(0)),
    ("LSTM", "activations", Value::Strings(&["Sigmoid", "Tanh", "Tanh"])),
    ("GRU", "clip", Value::None),
    ("GRU", "activations", Value::Strings(&["Sigmoid", "Tanh"])),
    ("RNN", "clip", Value::None),
    ("RNN", "activations", Value::Strings(&["Tanh"])),
];

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// It is not there.
    None,
    Int(i64),
    Float(f32),
    String(&'static str),
    /// As often as there are directions.
    Strings(&'static [&'static str]),
}

impl Value {
    fn is(self, attribute: &AttributeProto) -> bool {
        match self {
            Value::None => false,
            Value::Int(value) => attribute.i == value,
            Value::Float(value) => attribute.f == value,
            Value::String(value) => attribute.s == value.as_bytes(),
            Value::Strings(values) => attribute
                .strings
                .iter()
                .zip(values.iter().cycle())
                .all(|(seen, wanted)| seen.eq_ignore_ascii_case(wanted.as_bytes())),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Value::None => write!(f, "without it"),
            Value::Int(value) => write!(f, "with {value}"),
            Value::Float(value) => write!(f, "with {value}"),
            Value::String(value) => write!(f, "with {value}"),
            Value::Strings(values) => write!(f, "with {}", values.join(", ")),
        }
    }
}

/// Whether the file gives a value inside the graph a dimension that is a symbol.
pub fn has_symbolic_values(proto: &ModelProto) -> bool {
    let values = proto.graph.iter().flat_map(|graph| &graph.value_info);
    let types = values.filter_map(|info| info.r#type.as_ref()?.value.as_ref());
    let shapes = types.filter_map(|Type::TensorType(tensor)| tensor.shape.as_ref());
    let mut dimensions = shapes.flat_map(|shape| &shape.dim);
    dimensions.any(|dim| matches!(dim.value, Some(Size::DimParam(_))))
}

/// The names of the outputs of a model, in order. An error where it
/// has an attribute whose value tract ignores: its numbers would be wrong.
pub fn output_names(proto: &ModelProto, file: &str) -> Result<Vec<String>, CompileError> {
    let Some(graph) = &proto.graph else { return Ok(Vec::new()) };
    for node in &graph.node {
        let unsupported = |detail: String| CompileError::Unsupported {
            file: file.into(),
            node: node.name.clone(),
            operator: node.op_type.clone(),
            detail,
        };
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
        for &(_, name, taken) in IGNORED.iter().filter(|(op, ..)| *op == node.op_type) {
            if attribute(name).is_some_and(|seen| !taken.is(seen)) {
                let detail = format!("its attribute {name} is not supported; {taken} it is");
                return Err(unsupported(detail));
            }
        }
    }
    Ok(graph.output.iter().map(|output| output.name.clone()).collect())
}
