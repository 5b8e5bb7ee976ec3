//! Valid models with something wrong: mutations of the protobuf and of the bytes,
//! from a seed.

use prost::Message as _;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, attribute_proto::AttributeType, type_proto,
};

use crate::random::Random;

mod bases;
mod vocabulary;

pub use bases::BASES;
use vocabulary::{ATTRIBUTES, OPERATORS};

/// A mutated model.
pub struct Mutant {
    /// The file.
    pub bytes: Vec<u8>,
    /// What was done to which model.
    pub what: String,
}

/// The mutant of a seed.
pub fn mutant(seed: u64) -> Mutant {
    let mut random = Random::new(seed);
    let (name, base) = random.pick(BASES);
    let mut what = name.to_owned();
    let mut model = ModelProto::decode(&*base()).expect("what was just encoded");
    for _ in 0..random.within(1..=3) {
        let graph = model.graph.as_mut().expect("it has a graph");
        let (name, mutation) = random.pick(MUTATIONS);
        what += &format!(", {name}");
        // As often inside a body, where there is one.
        match body(graph) {
            Some(body) if random.within(0..=1) == 0 => {
                mutation(body, &mut random);
                what += " inside";
            }
            _ => mutation(graph, &mut random),
        }
    }
    let mut bytes = model.encode_to_vec();
    if random.within(0..=3) == 0 {
        let (name, mutation) = random.pick(OF_BYTES);
        mutation(&mut bytes, &mut random);
        what += &format!(", {name}");
    }
    Mutant { bytes, what }
}

type OfBytes = (&'static str, fn(&mut Vec<u8>, &mut Random));
type Mutation = (&'static str, fn(&mut GraphProto, &mut Random));

/// The body of the graph's first loop or branch.
fn body(graph: &mut GraphProto) -> Option<&mut GraphProto> {
    let mut attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    attributes.find_map(|attribute| attribute.g.as_mut())
}

const MUTATIONS: &[Mutation] = &[
    ("a dimension of a constant", |graph, random| {
        let number = a_number(random);
        if let Some(tensor) = any(&mut graph.initializer, random)
            && let Some(dim) = any(&mut tensor.dims, random)
        {
            *dim = number;
        }
    }),
    ("a dimension of an input", |graph, random| {
        let number = a_number(random);
        if let Some(input) = any(&mut graph.input, random)
            && let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_mut().and_then(|t| t.value.as_mut())
            && let Some(dim) = tensor.shape.as_mut().and_then(|s| any(&mut s.dim, random))
        {
            dim.value = Some(match random.within(0..=3) {
                0 => Size::DimParam("N*N-1".into()),
                _ => Size::DimValue(number),
            });
        }
    }),
    ("the type of an input", |graph, random| {
        if let Some(input) = any(&mut graph.input, random)
            && let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.elem_type = random.within(0..=24) as i32;
        }
    }),
    ("the type of a constant", |graph, random| {
        if let Some(tensor) = any(&mut graph.initializer, random) {
            tensor.data_type = random.within(0..=24) as i32;
        }
    }),
    ("the integers of a constant", |graph, random| {
        let tensors = graph.initializer.iter_mut().filter(|tensor| tensor.data_type == 7);
        if let Some(tensor) = any(&mut tensors.collect::<Vec<_>>(), random) {
            let count = random.within(1..=4);
            tensor.dims = vec![count as i64];
            tensor.raw_data = (0..count).flat_map(|_| a_number(random).to_le_bytes()).collect();
        }
    }),
    ("the length of a constant", |graph, random| {
        if let Some(tensor) = any(&mut graph.initializer, random) {
            tensor.raw_data.truncate(random.within(0..=16));
        }
    }),
    ("an operator", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.op_type = random.pick(OPERATORS).into();
        }
    }),
    ("an operator without attributes", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.op_type = random.pick(OPERATORS).into();
            node.attribute.clear();
        }
    }),
    ("a node more", |graph, random| {
        let inputs = (0..random.within(0..=3)).map(|_| a_name(graph, random)).collect();
        let name = format!("more_{}", graph.node.len());
        let op_type = random.pick(OPERATORS).to_owned();
        let output = vec![name.clone()];
        if random.within(0..=1) == 0
            && let Some(output) = graph.output.first_mut()
        {
            output.name = name.clone();
        }
        graph.node.push(NodeProto { name, op_type, input: inputs, output, ..NodeProto::default() });
    }),
    ("an attribute", |graph, random| {
        let number = a_number(random);
        if let Some(node) = any(&mut graph.node, random)
            && let Some(attribute) = any(&mut node.attribute, random)
        {
            attribute.i = number;
            attribute.f = f32::from_bits(number as u32);
            if let Some(item) = any(&mut attribute.ints, random) {
                *item = number;
            }
        }
    }),
    ("many numbers of an attribute", |graph, random| {
        let number = a_number(random);
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        let lists = attributes.filter(|a| a.ints.len() + a.floats.len() > 1);
        if let Some(attribute) = any(&mut lists.collect::<Vec<_>>(), random) {
            match random.within(0..=3) {
                0 => attribute.ints.push(number),
                1 => attribute.ints.truncate(1),
                2 => attribute.floats.iter_mut().for_each(|f| *f = f32::from_bits(number as u32)),
                _ => attribute.ints.iter_mut().for_each(|item| *item = number),
            }
        }
    }),
    ("an attribute more", |graph, random| {
        let number = a_number(random);
        let count = random.within(0..=4);
        if let Some(node) = any(&mut graph.node, random) {
            let name = random.pick(ATTRIBUTES).to_owned();
            node.attribute.push(match random.within(0..=1) {
                0 => AttributeProto {
                    name,
                    r#type: AttributeType::Int as i32,
                    i: number,
                    ..AttributeProto::default()
                },
                _ => AttributeProto {
                    name,
                    r#type: AttributeType::Ints as i32,
                    ints: (0..count).map(|_| a_number(random)).collect(),
                    ..AttributeProto::default()
                },
            });
        }
    }),
    ("an attribute less", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.attribute.pop();
        }
    }),
    ("a node's input", |graph, random| {
        let name = a_name(graph, random);
        if let Some(node) = any(&mut graph.node, random)
            && let Some(input) = any(&mut node.input, random)
        {
            *input = name;
        }
    }),
    ("a node's input less", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.input.pop();
        }
    }),
    ("a node's input more", |graph, random| {
        let name = a_name(graph, random);
        if let Some(node) = any(&mut graph.node, random) {
            node.input.push(name);
        }
    }),
    ("a node's output more", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.output.push(format!("second_{}", random.within(0..=9)));
        }
    }),
    ("a node less", |graph, random| {
        if !graph.node.is_empty() {
            graph.node.remove(random.within(0..=graph.node.len() - 1));
        }
    }),
    ("an output", |graph, random| {
        let name = a_name(graph, random);
        if let Some(output) = any(&mut graph.output, random) {
            output.name = name;
        }
    }),
    ("nodes in another order", |graph, random| {
        if let Some(last) = graph.node.len().checked_sub(1) {
            graph.node.swap(random.within(0..=last), random.within(0..=last));
        }
    }),
    ("nodes without names", |graph, _| {
        graph.node.iter_mut().for_each(|node| node.name.clear());
    }),
];

const OF_BYTES: &[OfBytes] = &[
    ("a bit", |bytes, random| {
        let at = random.within(0..=bytes.len() - 1);
        bytes[at] ^= 1 << random.within(0..=7);
    }),
    ("bytes", |bytes, random| {
        for _ in 0..random.within(1..=8) {
            let at = random.within(0..=bytes.len() - 1);
            bytes[at] = random.within(0..=255) as u8;
        }
    }),
    ("truncated", |bytes, random| bytes.truncate(random.within(0..=bytes.len()))),
    ("a piece twice", |bytes, random| {
        let end = random.within(1..=bytes.len());
        let start = random.within(0..=end);
        let piece = bytes[start..end].to_vec();
        bytes.splice(end..end, piece);
    }),
];

fn any<'a, T>(items: &'a mut [T], random: &mut Random) -> Option<&'a mut T> {
    match items.len() {
        0 => None,
        count => items.get_mut(random.within(0..=count - 1)),
    }
}

fn a_number(random: &mut Random) -> i64 {
    match random.within(0..=3) {
        0 => random.pick(&[
            i64::MIN,
            i64::MAX,
            i32::MIN.into(),
            i32::MAX.into(),
            1 << 16,
            1 << 20,
            1 << 28,
            1 << 31,
            1 << 32,
            1 << 40,
            (1 << 62) + 1,
        ]),
        1 => random.within(0..=300) as i64 - 100,
        _ => random.within(0..=8) as i64 - 2,
    }
}

/// The name of a value, or of none.
fn a_name(graph: &GraphProto, random: &mut Random) -> String {
    let mut names: Vec<&str> = vec![""];
    names.extend(graph.input.iter().map(|input| &*input.name));
    names.extend(graph.initializer.iter().map(|tensor| &*tensor.name));
    names.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    random.pick(&names).to_owned()
}
