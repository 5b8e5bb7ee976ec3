//! What the ONNX file says and tract's graph does not keep: the names of the
//! model's outputs, and attributes that tract's reader passes over.

use tract_onnx::prelude::onnx;
use tract_onnx::tract_hir::internal::Framework as _;

use crate::error::CompileError;
use crate::import::chain;

/// Attributes that tract ignores: operator, attribute, and the value that it takes
/// all others for.
const IGNORED: &[(&str, &str, Value)] =
    &[("SpaceToDepth", "mode", Value::String("DCR")), ("Swish", "alpha", Value::Float(1.0))];

#[derive(Clone, Copy, Debug)]
enum Value {
    Float(f32),
    String(&'static str),
}

/// The names of the outputs of the model in `bytes`, in order. An error where it
/// has an attribute whose value tract ignores: its numbers would be wrong.
pub fn output_names(bytes: &[u8], file: &str) -> Result<Vec<String>, CompileError> {
    let proto = onnx().proto_model_for_read(&mut &bytes[..]);
    let proto = proto
        .map_err(|error| CompileError::Invalid { file: file.into(), reason: chain(&error) })?;
    let Some(graph) = proto.graph else { return Ok(Vec::new()) };
    for node in &graph.node {
        for &(operator, name, taken) in IGNORED.iter().filter(|(op, ..)| *op == node.op_type) {
            let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
            let differs = attribute.is_some_and(|attribute| match taken {
                Value::Float(value) => attribute.f != value,
                Value::String(value) => attribute.s != value.as_bytes(),
            });
            if differs {
                return Err(CompileError::Unsupported {
                    file: file.into(),
                    node: node.name.clone(),
                    operator: operator.into(),
                    detail: format!("only with {name} = {taken:?} is it supported"),
                });
            }
        }
    }
    Ok(graph.output.into_iter().map(|output| output.name).collect())
}
