//! What of a model is no tensor of numbers: maps and strings.
//!
//! `ZipMap`, which exporters put after a classifier, makes a map from class to
//! probability of every row; it is taken out, and the output is the tensor of
//! probabilities. Strings only name classes here: in their place stands their
//! index, and the names are in the certificate.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, type_proto};

use super::attributes::strings;
use crate::composed::Read;
use crate::error::CompileError;

/// Attributes that name classes, by operator.
const NAMES: [(&str, &str); 6] = [
    ("CategoryMapper", "cats_strings"),
    ("LabelEncoder", "classes_strings"),
    ("LabelEncoder", "values_strings"),
    ("LinearClassifier", "classlabels_strings"),
    ("SVMClassifier", "classlabels_strings"),
    ("TreeEnsembleClassifier", "classlabels_strings"),
];

/// Operators that move elements, and do not look at them: each with the input that
/// they move.
const MOVERS: [&str; 7] =
    ["ArrayFeatureExtractor", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Unsqueeze"];

/// Replaces maps and strings in a model, and returns the names of its classes
/// where they are strings.
pub fn prepare(proto: &mut ModelProto, file: &str) -> Result<Option<Vec<String>>, CompileError> {
    let Some(graph) = &mut proto.graph else { return Ok(None) };
    take_out_maps(graph);
    let mut names = Names { file, known: None };
    for node in &graph.node {
        for (_, attribute) in NAMES.iter().filter(|(operator, _)| *operator == node.op_type) {
            let found = strings(node, attribute).unwrap_or_default();
            if !found.is_empty() {
                names.add(&node.name, &node.op_type, distinct(&found).0)?;
            }
        }
    }
    let is_moved = |name: &str| {
        let mut readers = graph.node.iter().filter(|node| node.input.iter().any(|i| i == name));
        readers.all(|node| {
            MOVERS.contains(&&*node.op_type) && node.input.first().is_some_and(|i| i == name)
        })
    };
    let is_string = |tensor: &TensorProto| tensor.data_type == DataType::String as i32;
    let moved: Vec<usize> = (0..graph.initializer.len())
        .filter(|&at| is_string(&graph.initializer[at]) && is_moved(&graph.initializer[at].name))
        .collect();
    for at in moved {
        let tensor = &mut graph.initializer[at];
        let strings: Vec<String> =
            tensor.string_data.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
        let (found, indices) = distinct(&strings);
        names.add(&tensor.name, "initializer", found)?;
        tensor.string_data.clear();
        tensor.data_type = DataType::Int64 as i32;
        tensor.int64_data = indices;
    }
    if names.known.is_some() {
        // What the file says of the types of values was of strings.
        graph.value_info.retain(|info| {
            let Some(value) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
                return true;
            };
            let type_proto::Value::TensorType(tensor) = value;
            tensor.elem_type != DataType::String as i32
        });
    }
    Ok(names.known)
}

/// The names of the classes, as far as they are known.
struct Names<'a> {
    file: &'a str,
    known: Option<Vec<String>>,
}

impl Names<'_> {
    fn add(&mut self, node: &str, operator: &str, found: Vec<String>) -> Result<(), CompileError> {
        match &self.known {
            Some(known) if *known != found => Err(CompileError::Unsupported {
                file: self.file.into(),
                node: node.into(),
                operator: operator.into(),
                detail: format!(
                    "its classes are {found:?}, while others in the model are {known:?}; one list \
                     of strings, or integers, are supported"
                ),
            }),
            _ => {
                self.known = Some(found);
                Ok(())
            }
        }
    }
}

/// The strings that differ, in order, and for each string which of those it is.
pub fn distinct(strings: &[String]) -> (Vec<String>, Vec<i64>) {
    let mut known: HashMap<&str, i64> = HashMap::new();
    let mut distinct = Vec::new();
    let mut indices = Vec::new();
    for string in strings {
        indices.push(*known.entry(string).or_insert_with(|| {
            distinct.push(string.clone());
            distinct.len() as i64 - 1
        }));
    }
    (distinct, indices)
}

/// Makes an `Identity` of each `ZipMap` whose map nothing but an output wants.
fn take_out_maps(graph: &mut GraphProto) {
    let nodes = graph.node.iter();
    let read: Vec<String> = nodes
        .filter(|node| node.op_type != "Identity")
        .flat_map(|node| node.input.iter().cloned())
        .collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type == "ZipMap") {
        if !node.output.iter().any(|output| read.contains(output)) {
            node.op_type = "Identity".into();
            node.domain.clear();
            node.attribute.clear();
        }
    }
}

/// The error of an operator on maps.
pub fn refuse_map(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    node.bail(
        "maps are not supported, tensors are; export the model with the option zipmap=False, or \
         with its features as a matrix",
    )
}
