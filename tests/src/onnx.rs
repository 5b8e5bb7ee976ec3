//! A builder of small ONNX models.

use prost::Message as _;
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value as TypeValue};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
};

/// ONNX's number for the type FP32.
pub const FLOAT: i32 = 1;
/// ONNX's number for the type U8.
pub const UINT8: i32 = 2;
/// ONNX's number for the type I8.
pub const INT8: i32 = 3;
/// ONNX's number for the type U16.
pub const UINT16: i32 = 4;
/// ONNX's number for the type I16.
pub const INT16: i32 = 5;
/// ONNX's number for the type I32.
pub const INT32: i32 = 6;
/// ONNX's number for the type I64.
pub const INT64: i32 = 7;
/// ONNX's number for the type of strings.
pub const STRING: i32 = 8;
/// ONNX's number for the type BOOL.
pub const BOOL: i32 = 9;
/// ONNX's number for the type FP16.
pub const FLOAT16: i32 = 10;
/// ONNX's number for the type FP64.
pub const DOUBLE: i32 = 11;
/// ONNX's number for the type U32.
pub const UINT32: i32 = 12;
/// ONNX's number for the type U64.
pub const UINT64: i32 = 13;
/// ONNX's number for the type BF16.
pub const BFLOAT16: i32 = 16;

/// The domain of the operators of classical models.
const CLASSICAL: &str = "ai.onnx.ml";

/// A dimension of an input: a number or a symbol.
#[derive(Clone, Debug)]
pub enum Dim {
    /// Known.
    Size(usize),
    /// A symbol.
    Symbol(&'static str),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Size(size)
    }
}

/// A graph under construction. Values are named by strings; each node's output
/// has the node's name.
#[derive(Default)]
pub struct Graph {
    graph: GraphProto,
    nodes: usize,
    /// The version of the domain of classical models that its nodes want, if any.
    classical: Option<i64>,
    /// Before the names of all that is inside.
    prefix: String,
    /// Outputs of classifiers that are labels: of type I64, whatever is said of all.
    labels: Vec<String>,
}

/// An attribute of a node.
pub enum Attribute<'a> {
    /// One integer.
    Int(i64),
    /// Integers.
    Ints(&'a [i64]),
    /// One float.
    Float(f32),
    /// A string.
    String(&'a str),
    /// Floats.
    Floats(&'a [f32]),
    /// Strings.
    Strings(&'a [&'a str]),
    /// A tensor of one dimension: its type and the bytes of its elements.
    Tensor(i32, Vec<u8>),
    /// The body of a loop, or a branch.
    Graph(GraphProto),
}

impl Attribute<'_> {
    fn encode(&self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
        let r#type = match self {
            Attribute::Int(i) => {
                proto.i = *i;
                AttributeType::Int
            }
            Attribute::Ints(ints) => {
                proto.ints = ints.to_vec();
                AttributeType::Ints
            }
            Attribute::Float(f) => {
                proto.f = *f;
                AttributeType::Float
            }
            Attribute::Floats(floats) => {
                proto.floats = floats.to_vec();
                AttributeType::Floats
            }
            Attribute::String(s) => {
                proto.s = s.as_bytes().to_vec();
                AttributeType::String
            }
            Attribute::Strings(strings) => {
                proto.strings = strings.iter().map(|s| s.as_bytes().to_vec()).collect();
                AttributeType::Strings
            }
            Attribute::Graph(graph) => {
                proto.g = Some(graph.clone());
                AttributeType::Graph
            }
            Attribute::Tensor(dtype, bytes) => {
                let size = match *dtype {
                    DOUBLE => 8,
                    UINT8 => 1,
                    _ => 4,
                };
                proto.t = Some(TensorProto {
                    data_type: *dtype,
                    dims: vec![(bytes.len() / size) as i64],
                    raw_data: bytes.clone(),
                    ..TensorProto::default()
                });
                AttributeType::Tensor
            }
        };
        proto.r#type = r#type as i32;
        proto
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        let graph = GraphProto { name: "test".into(), ..GraphProto::default() };
        Self { graph, ..Self::default() }
    }

    /// An empty graph for the inside of another one: `prefix` goes before the names of
    /// its nodes and constants.
    pub fn inner(prefix: &str) -> Self {
        Self { prefix: prefix.into(), ..Self::new() }
    }

    /// Adds an input of this type and shape.
    pub fn input(&mut self, name: &str, dtype: i32, shape: &[Dim]) -> String {
        self.graph.input.push(value_info(name, dtype, Some(shape)));
        name.to_owned()
    }

    /// States the type and shape of a value inside the graph, as exporters do.
    pub fn state(&mut self, name: &str, dtype: i32, shape: &[Dim]) {
        self.graph.value_info.push(value_info(name, dtype, Some(shape)));
    }

    /// Adds constant floats.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(FLOAT, shape, bytes)
    }

    /// Adds constant integers of any shape.
    pub fn ints_shaped(&mut self, shape: &[usize], values: &[i64]) -> String {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(INT64, shape, bytes)
    }

    /// Adds constant integers.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(INT64, &[values.len()], bytes)
    }

    /// Adds constant integers of 8 or 32 bits.
    pub fn integers(&mut self, dtype: i32, shape: &[usize], values: &[i32]) -> String {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = match dtype {
            INT32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            _ => values.iter().map(|&v| v as u8).collect(),
        };
        self.constant(dtype, shape, bytes)
    }

    /// Adds constant strings.
    pub fn strings(&mut self, values: &[&str]) -> String {
        let name = self.constant(STRING, &[values.len()], Vec::new());
        let tensor = self.graph.initializer.last_mut().expect("what was just added");
        tensor.string_data = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        name
    }

    fn constant(&mut self, dtype: i32, shape: &[usize], bytes: Vec<u8>) -> String {
        let name = format!("{}constant{}", self.prefix, self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            data_type: dtype,
            dims: shape.iter().map(|&d| d as i64).collect(),
            raw_data: bytes,
            ..TensorProto::default()
        });
        name
    }

    /// Adds a node with one output, and returns the output's name.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        self.node_with(operator, inputs, attributes, 1).remove(0)
    }

    /// Adds a node with several outputs, and returns their names.
    pub fn node_with(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        outputs: usize,
    ) -> Vec<String> {
        let node = self.add(operator, inputs, attributes);
        let more = (1..outputs).map(|slot| format!("{}.{slot}", node.name));
        node.output = std::iter::once(node.name.clone()).chain(more).collect();
        node.output.clone()
    }

    /// Adds a node of the domain `ai.onnx.ml` with outputs of these names.
    pub fn classical(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) {
        // Version 5 has one operator for trees, and not the older ones.
        let version = if operator == "TreeEnsemble" { 5 } else { 3 };
        self.classical = Some(version.max(self.classical.unwrap_or(0)));
        if operator.ends_with("Classifier") {
            self.labels.push(outputs[0].to_owned());
        }
        let node = self.add(operator, inputs, attributes);
        node.domain = CLASSICAL.into();
        node.output = outputs.iter().map(|&output| output.to_owned()).collect();
    }

    fn add(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> &mut NodeProto {
        self.nodes += 1;
        self.graph.node.push(NodeProto {
            name: format!("{}{}_{}", self.prefix, operator.to_lowercase(), self.nodes),
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            attribute: attributes.iter().map(|(name, value)| value.encode(name)).collect(),
            ..NodeProto::default()
        });
        self.graph.node.last_mut().expect("what was just added")
    }

    /// Adds a node with several outputs and no attributes, and returns the outputs'
    /// names.
    pub fn node_with_outputs(
        &mut self,
        operator: &str,
        inputs: &[&str],
        count: usize,
    ) -> Vec<String> {
        let node = self.add(operator, inputs, &[]);
        node.output = (0..count).map(|output| format!("{}.{output}", node.name)).collect();
        node.output.clone()
    }

    /// The graph as the body of a loop or as a branch, with these outputs of FP32. What it
    /// reads and does not make is looked for around it.
    pub fn body(self, outputs: &[(&str, &[Dim])]) -> GraphProto {
        let outputs: Vec<_> = outputs.iter().map(|&(name, shape)| (name, FLOAT, shape)).collect();
        self.body_typed(&outputs)
    }

    /// The same with outputs each of its type.
    pub fn body_typed(mut self, outputs: &[(&str, i32, &[Dim])]) -> GraphProto {
        let output =
            |&(name, dtype, shape): &(&str, i32, &[Dim])| value_info(name, dtype, Some(shape));
        self.graph.output = outputs.iter().map(output).collect();
        self.graph
    }

    /// The model's file, with these outputs of type FP32.
    pub fn finish(self, outputs: &[&str]) -> Vec<u8> {
        self.finish_typed(outputs, FLOAT)
    }

    /// The model's file, with these outputs of one type.
    pub fn finish_typed(self, outputs: &[&str], dtype: i32) -> Vec<u8> {
        let output = |&output| {
            let is_label = self.labels.iter().any(|label| label == output);
            (output, if is_label { INT64 } else { dtype })
        };
        let outputs: Vec<(&str, i32)> = outputs.iter().map(output).collect();
        self.finish_each(&outputs)
    }

    /// The model's file, with these outputs, each of its type.
    pub fn finish_each(mut self, outputs: &[(&str, i32)]) -> Vec<u8> {
        let outputs = outputs.iter().map(|(output, dtype)| value_info(output, *dtype, None));
        self.graph.output = outputs.collect();
        let mut opsets = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        if let Some(version) = self.classical {
            opsets.push(OperatorSetIdProto { domain: CLASSICAL.into(), version });
        }
        ModelProto {
            ir_version: 8,
            opset_import: opsets,
            graph: Some(self.graph),
            ..ModelProto::default()
        }
        .encode_to_vec()
    }
}

fn value_info(name: &str, dtype: i32, shape: Option<&[Dim]>) -> ValueInfoProto {
    let dimension = |dim: &Dim| Dimension {
        denotation: String::new(),
        value: Some(match dim {
            Dim::Size(size) => Size::DimValue(*size as i64),
            Dim::Symbol(symbol) => Size::DimParam((*symbol).to_owned()),
        }),
    };
    let shape = shape.map(|dims| TensorShapeProto { dim: dims.iter().map(dimension).collect() });
    let tensor = TensorType { elem_type: dtype, shape };
    let r#type =
        TypeProto { denotation: String::new(), value: Some(TypeValue::TensorType(tensor)) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), doc_string: String::new() }
}
