//! A graph of an ONNX file while it is rewritten: who gives and who reads a value,
//! and what is known of it.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::tract_name;

/// A graph and an index of its values, which the changes made here keep true.
pub struct Graph<'a> {
    /// The nodes. One without outputs has been removed.
    pub nodes: Vec<NodeProto>,
    graph: &'a mut GraphProto,
    producers: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
    initializers: HashMap<String, usize>,
    inputs: HashSet<String>,
    outputs: HashSet<String>,
    names: usize,
}

impl<'a> Graph<'a> {
    /// Takes a graph's nodes out of it.
    pub fn new(graph: &'a mut GraphProto) -> Self {
        let nodes = std::mem::take(&mut graph.node);
        let initializers = graph.initializer.iter().enumerate();
        let initializers = initializers.map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        let named = |values: &[ValueInfoProto]| values.iter().map(|v| v.name.clone()).collect();
        let mut new = Self {
            nodes: Vec::new(),
            inputs: named(&graph.input),
            outputs: named(&graph.output),
            graph,
            producers: HashMap::new(),
            readers: HashMap::new(),
            initializers,
            names: 0,
        };
        nodes.into_iter().for_each(|node| new.add(node));
        new
    }

    /// Puts the nodes back, without those that nothing reads.
    pub fn finish(mut self) {
        loop {
            let unread = |node: &NodeProto| {
                let mut outputs = node.output.iter();
                !node.output.is_empty() && outputs.all(|output| !self.is_read(output))
            };
            let dead = |node: &NodeProto| node.op_type.ends_with("quantizeLinear") && unread(node);
            let dead: Vec<usize> =
                (0..self.nodes.len()).filter(|&at| dead(&self.nodes[at])).collect();
            if dead.is_empty() {
                break;
            }
            dead.into_iter().for_each(|at| self.remove(at));
        }
        self.graph.node = self.nodes.into_iter().filter(|node| !node.output.is_empty()).collect();
    }

    /// Adds a node.
    pub fn add(&mut self, node: NodeProto) {
        self.nodes.push(NodeProto::default());
        self.place(self.nodes.len() - 1, node);
    }

    fn place(&mut self, at: usize, node: NodeProto) {
        for output in &node.output {
            self.producers.insert(output.clone(), at);
        }
        for input in reads(&node) {
            self.readers.entry(input).or_default().push(at);
        }
        self.nodes[at] = node;
    }

    /// Removes a node.
    pub fn remove(&mut self, at: usize) {
        let node = std::mem::take(&mut self.nodes[at]);
        for output in &node.output {
            self.producers.remove(output);
        }
        for input in reads(&node) {
            if let Some(readers) = self.readers.get_mut(&input) {
                readers.retain(|&reader| reader != at);
            }
        }
    }

    /// Puts a node in the place of another.
    pub fn replace(&mut self, at: usize, node: NodeProto) {
        self.remove(at);
        self.place(at, node);
    }

    /// Has all readers of one value read another.
    pub fn redirect(&mut self, from: &str, to: &str) {
        for at in self.readers.remove(from).unwrap_or_default() {
            for input in &mut self.nodes[at].input {
                if input == from {
                    to.clone_into(input);
                }
            }
            self.readers.entry(to.to_owned()).or_default().push(at);
        }
    }

    /// A name for a value that no other has.
    pub fn fresh(&mut self, base: &str) -> String {
        loop {
            self.names += 1;
            let name = format!("{base}.quantised{}", self.names);
            if !self.producers.contains_key(&name) && !self.initializers.contains_key(&name) {
                return name;
            }
        }
    }

    /// The node that gives a value.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The nodes that read a value, if the graph does not give it away.
    pub fn readers(&self, value: &str) -> Option<&[usize]> {
        (!self.outputs.contains(value))
            .then(|| self.readers.get(value).map_or(&[][..], Vec::as_slice))
    }

    /// The only node that reads a value, if it reads it once.
    pub fn only_reader(&self, value: &str) -> Option<usize> {
        match self.readers(value)? {
            &[reader] => Some(reader),
            _ => None,
        }
    }

    fn is_read(&self, value: &str) -> bool {
        self.readers(value).is_none_or(|readers| !readers.is_empty())
    }

    /// The tensor that a value is, if the file has it.
    pub fn constant(&self, value: &str) -> Option<&TensorProto> {
        // The initializer of an input is only its default.
        if self.inputs.contains(value) {
            return None;
        }
        if let Some(&at) = self.initializers.get(value) {
            return self.graph.initializer.get(at);
        }
        let node = &self.nodes[self.producer(value)?];
        match &*node.op_type {
            "Identity" => self.constant(node.input.first()?),
            "Constant" => {
                node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()
            }
            _ => None,
        }
    }

    /// The tensor of weights: a constant, or what is quantised to become one, as PyTorch
    /// writes weights that were trained so.
    pub fn weights(&self, value: &str) -> Option<&TensorProto> {
        let quantized = || {
            let quantize = &self.nodes[self.producer(value)?];
            let is_quantized = quantize.op_type == "QuantizeLinear";
            self.constant(input(quantize, 0)?).filter(|_| is_quantized)
        };
        self.constant(value).or_else(quantized)
    }

    /// The number of elements of a constant.
    pub fn count(&self, value: &str) -> Option<usize> {
        let dims = &self.constant(value)?.dims;
        dims.iter().try_fold(1usize, |count, &size| count.checked_mul(usize::try_from(size).ok()?))
    }

    /// The type of a constant's elements.
    pub fn type_of(&self, value: &str) -> Option<DataType> {
        DataType::try_from(self.constant(value)?.data_type).ok()
    }

    /// The one number of FP32 that a constant is.
    pub fn real(&self, value: &str) -> Option<f32> {
        let tensor = self.constant(value)?;
        if tensor.data_type != DataType::Float as i32 || self.count(value) != Some(1) {
            return None;
        }
        match (&tensor.float_data[..], &tensor.raw_data[..]) {
            (&[number], _) => Some(number),
            (_, &[a, b, c, d]) => Some(f32::from_le_bytes([a, b, c, d])),
            _ => None,
        }
    }

    /// Whether a value is constant integers that are all 0.
    pub fn is_zero(&self, value: &str) -> bool {
        self.constant(value).is_some_and(|tensor| {
            tensor.external_data.is_empty()
                && tensor.float_data.is_empty()
                && tensor.int32_data.iter().all(|&number| number == 0)
                && tensor.raw_data.iter().all(|&byte| byte == 0)
        })
    }

    /// Whether two values are the same, or constants with the same elements.
    pub fn same(&self, a: &str, b: &str) -> bool {
        if a == b {
            return true;
        }
        let (Some(a), Some(b)) = (self.constant(a), self.constant(b)) else { return false };
        let contents = |tensor: &TensorProto| {
            let number = |bytes: &[u8]| bytes.to_vec();
            match tensor.raw_data.is_empty() {
                false => number(&tensor.raw_data),
                // Integers of 8 bits are in the list for those of 32.
                true if tensor.float_data.is_empty() => {
                    tensor.int32_data.iter().map(|&q| q as u8).collect()
                }
                true => tensor.float_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            }
        };
        let of_8_bits = |tensor: &TensorProto| {
            [DataType::Int8 as i32, DataType::Uint8 as i32, DataType::Float as i32]
                .contains(&tensor.data_type)
                && tensor.external_data.is_empty()
        };
        of_8_bits(a) && a.data_type == b.data_type && contents(a) == contents(b)
    }
}

/// What a node reads, its subgraphs included.
fn reads(node: &NodeProto) -> Vec<String> {
    let captured = crate::import::guard::captured(node);
    let inputs = node.input.iter().map(String::as_str).chain(captured);
    inputs.filter(|input| !input.is_empty()).map(str::to_owned).collect()
}

/// A node in the place of `of`, with its name.
pub fn node(of: &NodeProto, operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: tract_name(of).to_owned(),
        op_type: operator.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// An attribute of a node.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// An input of a node that is there.
pub fn input(node: &NodeProto, number: usize) -> Option<&str> {
    node.input.get(number).map(String::as_str).filter(|input| !input.is_empty())
}
