//! What a file is written in: whether its operators and element types are among
//! those that are read, before tract says so in its own terms.

use tract_onnx::model::Onnx;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::guard::node_name;
use crate::error::CompileError;

/// The domains of ONNX's own operators that are looked at here.
const ONNX: [&str; 3] = ["", "ai.onnx", "ai.onnx.preview"];

/// Operators that ONNX itself defines by others, which its exporters and tools can put
/// in their place.
const FUNCTIONS: &[&str] = &[
    "AffineGrid",
    "CausalConvWithState",
    "CenterCropPad",
    "FlexAttention",
    "LinearAttention",
    "NegativeLogLikelihoodLoss",
    "SoftmaxCrossEntropyLoss",
    "SwiGLU",
];

/// Operators that are not read, and what comes nearest.
const NEAREST: &[(&str, &str)] = &[
    ("BitCast", "Cast is supported"),
    ("Compress", "Where and, with its output padded, NonZero are supported"),
    ("CumProd", "CumSum is supported"),
    ("DeformConv", "GridSample and Conv are supported"),
    ("Loop", "Scan of a known length is supported"),
    ("LpPool", "AveragePool of powers is supported"),
    ("MaxUnpool", "ScatterElements is supported"),
    ("ReverseSequence", "Slice with a step of -1 is supported"),
    ("RoiAlign", "GridSample is supported"),
    ("TensorScatter", "ScatterND is supported"),
    ("Unique", "TopK and, with its output padded, NonZero are supported"),
    ("Upsample", "Resize is supported"),
];

/// An error for the first operator or element type that is not read.
pub fn check(proto: &ModelProto, reader: &Onnx, file: &str) -> Result<(), CompileError> {
    let Some(graph) = &proto.graph else { return Ok(()) };
    let is_local = |node: &NodeProto| {
        proto.functions.iter().any(|function| function.name.as_ref() == Some(&node.op_type))
    };
    let is_onnx = |node: &NodeProto| ONNX.contains(&node.domain.as_str());
    for node in graph.node.iter().filter(|node| is_onnx(node) && !is_local(node)) {
        if let Some(detail) = operator(node, reader).or_else(|| cast(node)) {
            return Err(CompileError::Unsupported {
                file: file.into(),
                node: node_name(node).into(),
                operator: node.op_type.clone(),
                detail,
            });
        }
    }
    for (name, number) in types(graph) {
        if let Some(detail) = element_type(number) {
            let reason = format!("{name:?} has {detail}");
            return Err(CompileError::Invalid { file: file.into(), reason });
        }
    }
    Ok(())
}

/// What is wrong with an operator, if anything is.
fn operator(node: &NodeProto, reader: &Onnx) -> Option<String> {
    let name = node.op_type.as_str();
    let nearest = NEAREST.iter().find(|(operator, _)| *operator == name).map(|(_, near)| *near);
    let is_known = reader.op_register.0.contains_key(name);
    if is_known && nearest.is_none() {
        return None;
    }
    let instead = match nearest {
        Some(nearest) => nearest,
        None if FUNCTIONS.contains(&name) => {
            "ONNX defines it as a function of others: a model in which that is expanded is \
             supported as far as those are"
        }
        None => "it may be expressed by operators that are supported",
    };
    Some(format!("the operator is not supported; {instead}"))
}

/// What is wrong with the type that a `Cast` is to.
fn cast(node: &NodeProto) -> Option<String> {
    let to = node.attribute.iter().find(|attribute| attribute.name == "to")?;
    (node.op_type == "Cast").then(|| element_type(to.i as i32)).flatten()
}

/// The names and element types of a graph's inputs, outputs and constants.
fn types(graph: &GraphProto) -> impl Iterator<Item = (&str, i32)> {
    let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor.data_type));
    let of_value = |info: &ValueInfoProto| {
        let Type::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
        Some(tensor.elem_type)
    };
    let values = graph.input.iter().chain(&graph.output);
    values.filter_map(move |info| Some((info.name.as_str(), of_value(info)?))).chain(constants)
}

/// What is wrong with an element type, if it is one of ONNX's.
fn element_type(number: i32) -> Option<String> {
    use DataType::*;
    let dtype = DataType::try_from(number).ok()?;
    let is_unread = matches!(
        dtype,
        Complex64
            | Complex128
            | Bfloat16
            | Float8e4m3fn
            | Float8e4m3fnuz
            | Float8e5m2
            | Float8e5m2fnuz
            | Uint4
            | Int4
            | Float4e2m1
    );
    is_unread.then(|| {
        let name = dtype.as_str_name();
        format!(
            "elements of type {name}, which is not supported; FLOAT, FLOAT16, DOUBLE, BOOL and \
             integers of 8 to 64 bits are"
        )
    })
}
