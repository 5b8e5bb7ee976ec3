//! What is checked of a file before tract sees it. A model may come from anyone:
//! sizes in it are claims, and tract allocates what some of them say.
//!
//! An allocation that fails ends the process, so that sizes are checked and not
//! tried. What cannot be seen in the file, the sizes that follow from shapes and
//! constants, [`super::analyse`] checks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path};

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::DatumType;

use crate::error::CompileError;

/// The most bytes that one tensor may have. Two of that size do not fit the
/// linear memory of a component.
pub const TENSOR_LIMIT_BYTES: u64 = 1 << 31;
/// The most bytes that the constants of a file, and beside it, may have.
pub const WEIGHTS_LIMIT_BYTES: u64 = 1 << 32;
/// The most nodes, those of subgraphs included: tract compares all their names.
pub const NODES_LIMIT: usize = 1 << 15;
/// The most subgraphs inside one another.
pub const DEPTH_LIMIT: usize = 8;
/// The most dimensions of a tensor.
pub const RANK_LIMIT: usize = 32;
/// The longest expression for a dimension, in bytes: tract's parser is recursive.
const EXPRESSION_LIMIT_BYTES: usize = 256;
/// The most elements of a window: tract makes a list of them.
const WINDOW_LIMIT: u64 = 1 << 20;
/// The most elements that a shape among a node's attributes may ask for.
const ATTRIBUTE_SHAPE_LIMIT: u64 = 1 << 25;

/// Checks a model. `directory` is where its external data may be. On success, the
/// bytes of its constants.
pub fn check(
    proto: &ModelProto,
    file: &str,
    directory: Option<&Path>,
) -> Result<u64, CompileError> {
    let mut guard = Guard { file, directory, weight_bytes: 0, nodes: 0 };
    if let Some(graph) = &proto.graph {
        guard.graph(graph, &mut Scope::default(), 0)?;
    }
    Ok(guard.weight_bytes)
}

/// The name that tract gives a node.
pub fn node_name(node: &NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}

struct Guard<'a> {
    file: &'a str,
    directory: Option<&'a Path>,
    weight_bytes: u64,
    nodes: usize,
}

/// The values that a subgraph may use from the graphs around it.
#[derive(Clone, Default)]
struct Scope<'a> {
    known: HashSet<&'a str>,
    /// Of those, the ones whose value may be known when compiling.
    constant: HashSet<&'a str>,
}

impl<'a> Guard<'a> {
    fn graph(
        &mut self,
        graph: &'a GraphProto,
        outer: &mut Scope<'a>,
        depth: usize,
    ) -> Result<(), CompileError> {
        if depth > DEPTH_LIMIT {
            return self.limit("its subgraphs", format!("a depth of {depth}"), DEPTH_LIMIT);
        }
        self.nodes = self.nodes.saturating_add(graph.node.len());
        if self.nodes > NODES_LIMIT {
            return self.limit("its graph", format!("{} nodes", self.nodes), NODES_LIMIT);
        }
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", |values| &values.name);
            return self.invalid(format!("tensor {name:?} is sparse, which is not supported"));
        }
        for tensor in &graph.initializer {
            self.tensor(tensor, &format!("initializer {:?}", tensor.name))?;
        }
        for info in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
            self.value_info(info)?;
        }
        let own = self.definitions(graph)?;
        let order = self.order(graph, &own, &outer.known)?;
        for output in &graph.output {
            if !own.contains_key(&*output.name) {
                return self
                    .invalid(format!("nothing gives the value of its output {:?}", output.name));
            }
        }

        let mut scope = outer.clone();
        scope.known.extend(own.keys());
        for name in own.keys() {
            scope.constant.remove(name);
        }
        scope.constant.extend(graph.initializer.iter().map(|tensor| &*tensor.name));
        for at in order {
            let node = &graph.node[at];
            self.node(node, &scope.constant, depth)?;
            let mut inputs = node.input.iter().filter(|input| !input.is_empty());
            let of_shapes = matches!(&*node.op_type, "Shape" | "Size");
            if of_shapes || inputs.all(|input| scope.constant.contains(&**input)) {
                scope.constant.extend(node.output.iter().map(String::as_str));
            }
            for attribute in &node.attribute {
                for subgraph in attribute.g.iter().chain(&attribute.graphs) {
                    self.graph(subgraph, &mut scope, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// What gives each value: a node, or nothing where it is there from the start.
    fn definitions(
        &self,
        graph: &'a GraphProto,
    ) -> Result<HashMap<&'a str, Option<usize>>, CompileError> {
        let mut own: HashMap<&str, Option<usize>> = HashMap::new();
        let twice = |name: &str| self.invalid(format!("more than one value is named {name:?}"));
        for tensor in &graph.initializer {
            if own.insert(&tensor.name, None).is_some() {
                return twice(&tensor.name).map(|()| own);
            }
        }
        // An input may have an initializer, as its default.
        let mut inputs = HashSet::new();
        for input in &graph.input {
            own.insert(&input.name, None);
            if !inputs.insert(&input.name) {
                return twice(&input.name).map(|()| own);
            }
        }
        for (at, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                if own.insert(output, Some(at)).is_some() {
                    return twice(output).map(|()| own);
                }
            }
        }
        Ok(own)
    }

    /// The nodes, each after those whose values it reads.
    fn order(
        &self,
        graph: &'a GraphProto,
        own: &HashMap<&'a str, Option<usize>>,
        outer: &HashSet<&'a str>,
    ) -> Result<Vec<usize>, CompileError> {
        let mut waits = vec![0usize; graph.node.len()];
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
        for (at, node) in graph.node.iter().enumerate() {
            for name in node.input.iter().filter(|input| !input.is_empty()) {
                match own.get(&**name) {
                    Some(Some(writer)) => {
                        waits[at] += 1;
                        readers[*writer].push(at);
                    }
                    Some(None) => {}
                    None if outer.contains(&**name) => {}
                    None => {
                        return self
                            .invalid(format!(
                                "node {:?} ({}) reads {name:?}, which nothing gives",
                                node_name(node),
                                node.op_type
                            ))
                            .map(|()| Vec::new());
                    }
                }
            }
            // What the subgraphs of a node read of this graph, it reads as well.
            for name in captured(node) {
                if let Some(Some(writer)) = own.get(name) {
                    waits[at] += 1;
                    readers[*writer].push(at);
                }
            }
        }
        let mut order: Vec<usize> = (0..waits.len()).filter(|&at| waits[at] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for &reader in &readers[order[next]] {
                waits[reader] -= 1;
                if waits[reader] == 0 {
                    order.push(reader);
                }
            }
            next += 1;
        }
        if let Some(at) = waits.iter().position(|&waits| waits > 0) {
            let node = &graph.node[at];
            let (name, operator) = (node_name(node), &node.op_type);
            self.invalid(format!(
                "node {name:?} ({operator}) is in a cycle, or reads from one: its input depends \
                 on its output"
            ))?;
        }
        Ok(order)
    }

    fn node(
        &mut self,
        node: &'a NodeProto,
        constant: &HashSet<&str>,
        depth: usize,
    ) -> Result<(), CompileError> {
        let what = format!("node {:?} ({})", node_name(node), node.op_type);
        for attribute in &node.attribute {
            let of = format!("{what}, attribute {:?}", attribute.name);
            for tensor in attribute.t.iter().chain(&attribute.tensors) {
                self.tensor(tensor, &of)?;
            }
            if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
                return self.invalid(format!("{of}: sparse tensors are not supported"));
            }
            let most = match &*attribute.name {
                "kernel_shape" => WINDOW_LIMIT,
                "shape" | "output_shape" => ATTRIBUTE_SHAPE_LIMIT,
                _ => u64::MAX,
            };
            if most < u64::MAX && product(&attribute.ints).is_none_or(|count| count > most) {
                return self.limit(
                    &of,
                    format!("{:?}", attribute.ints),
                    format!("{most} elements"),
                );
            }
            let axes = match &*attribute.name {
                "axis" => std::slice::from_ref(&attribute.i),
                "axes" => &attribute.ints,
                _ => &[],
            };
            let ranks = -(RANK_LIMIT as i64)..RANK_LIMIT as i64;
            if let Some(axis) = axes.iter().find(|axis| !ranks.contains(axis)) {
                return self.limit(&of, axis, format!("{RANK_LIMIT} axes"));
            }
            let counts = ["hidden_size", "group", "num_outputs", "blocksize"];
            let most = 1 << 20;
            if counts.contains(&&*attribute.name) && !(0..=most).contains(&attribute.i) {
                return self.limit(&of, attribute.i, most);
            }
        }
        self.window(node, &what)?;
        if node.op_type == "Scan" {
            self.scan(node, &what)?;
        }
        if node.op_type == "Transpose" {
            self.transpose(node, &what)?;
        }
        // tract folds the constants of subgraphs out of our sight.
        let mut inputs = node.input.iter().filter(|input| !input.is_empty()).peekable();
        if depth > 0
            && inputs.peek().is_some()
            && inputs.all(|input| constant.contains(&**input))
            && !KEEPS_SIZE.contains(&&*node.op_type)
        {
            return self.invalid(format!(
                "{what}: in a subgraph and on constants, which is only supported for operators \
                 that do not make them larger"
            ));
        }
        Ok(())
    }

    /// tract takes it for granted that what is said of a window's axes is said of as many.
    fn window(&self, node: &NodeProto, what: &str) -> Result<(), CompileError> {
        let count = |name: &str| {
            let attribute = node.attribute.iter().find(|a| a.name == name);
            attribute.map(|attribute| attribute.ints.len())
        };
        let Some(axes) = count("kernel_shape") else { return Ok(()) };
        for (name, wanted) in [("strides", axes), ("dilations", axes), ("pads", 2 * axes)] {
            if let Some(seen) = count(name).filter(|&seen| seen != wanted) {
                return self.invalid(format!(
                    "{what}: {name} has {seen} numbers, where a window of {axes} axes has {wanted}"
                ));
            }
        }
        Ok(())
    }

    /// tract looks without end for the moves that make an order of axes which is
    /// none.
    fn transpose(&self, node: &NodeProto, what: &str) -> Result<(), CompileError> {
        let order = node.attribute.iter().filter(|attribute| attribute.name == "perm");
        for order in order.map(|attribute| &attribute.ints) {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..order.len() as i64) {
                return self
                    .invalid(format!("{what}: {order:?} is no order of {} axes", order.len()));
            }
        }
        Ok(())
    }

    /// tract subtracts these numbers from one another unchecked.
    fn scan(&self, node: &NodeProto, what: &str) -> Result<(), CompileError> {
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
        let scanned = attribute("num_scan_inputs").map_or(0, |attribute| attribute.i);
        let Some(body) = attribute("body").and_then(|attribute| attribute.g.as_ref()) else {
            return self.invalid(format!("{what} has no body"));
        };
        let given = |name: &str| body.initializer.iter().any(|tensor| tensor.name == name);
        let inputs = body.input.iter().filter(|input| !given(&input.name)).count();
        let given = usize::try_from(scanned).ok();
        let counts = given.and_then(|scanned| {
            let states = inputs.checked_sub(scanned)?;
            Some((scanned, body.output.len().checked_sub(states)?))
        });
        let Some((scanned, stacked)) = counts else {
            return self.invalid(format!(
                "{what}: {scanned} scanned inputs, where its body has {inputs} inputs and {} \
                 outputs",
                body.output.len()
            ));
        };
        // tract makes a shape of as many axes as the largest says.
        for (name, count) in [("scan_input_axes", scanned), ("scan_output_axes", stacked)] {
            let Some(axes) = attribute(name).map(|attribute| &attribute.ints) else { continue };
            let most = RANK_LIMIT as i64;
            if axes.len() != count || !axes.iter().all(|axis| (-most..most).contains(axis)) {
                return self.invalid(format!(
                    "{what}: {name} is {axes:?}; {count} axes from {} to {} are wanted",
                    -most,
                    most - 1
                ));
            }
        }
        Ok(())
    }

    fn value_info(&self, info: &ValueInfoProto) -> Result<(), CompileError> {
        let Some(TypeValue::TensorType(tensor)) =
            info.r#type.as_ref().and_then(|t| t.value.as_ref())
        else {
            return Ok(());
        };
        let Some(shape) = &tensor.shape else { return Ok(()) };
        let what = format!("value {:?}", info.name);
        if shape.dim.len() > RANK_LIMIT {
            return self.limit(&what, format!("{} dimensions", shape.dim.len()), RANK_LIMIT);
        }
        let mut known = Vec::new();
        for dim in &shape.dim {
            match &dim.value {
                Some(Size::DimParam(text)) if text.len() > EXPRESSION_LIMIT_BYTES => {
                    let seen = format!("a dimension of {} letters", text.len());
                    return self.limit(&what, seen, EXPRESSION_LIMIT_BYTES);
                }
                Some(Size::DimValue(size)) if *size > 0 => known.push(*size),
                _ => {}
            }
        }
        let bytes = product(&known).and_then(|n| n.checked_mul(element_bytes(tensor.elem_type)));
        if bytes.is_none_or(|bytes| bytes > TENSOR_LIMIT_BYTES) {
            let limit = format!("{TENSOR_LIMIT_BYTES} bytes");
            return self.limit(&what, format!("dimensions {known:?}"), limit);
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &TensorProto, what: &str) -> Result<(), CompileError> {
        if tensor.dims.len() > RANK_LIMIT {
            return self.limit(what, format!("{} dimensions", tensor.dims.len()), RANK_LIMIT);
        }
        // A type that tract does not read is its to refuse.
        if !is_read(tensor.data_type) {
            return Ok(());
        }
        let dims = &tensor.dims;
        let elements = product(dims);
        let size = element_bytes(tensor.data_type);
        let bytes = elements.and_then(|elements| elements.checked_mul(size));
        let (Some(elements), Some(bytes)) = (elements, bytes) else {
            return self.limit(what, format!("dimensions {dims:?}"), TENSOR_LIMIT_BYTES);
        };
        if bytes > TENSOR_LIMIT_BYTES {
            let limit = format!("{TENSOR_LIMIT_BYTES} bytes");
            return self.limit(what, format!("dimensions {dims:?}"), limit);
        }
        self.weight_bytes = self.weight_bytes.saturating_add(bytes);
        if self.weight_bytes > WEIGHTS_LIMIT_BYTES {
            let seen = format!("{} bytes of constants", self.weight_bytes);
            return self.limit(what, seen, format!("{WEIGHTS_LIMIT_BYTES} bytes"));
        }
        // In the order in which tract looks for the data.
        let external = tensor.data_location == Some(DataLocation::External as i32);
        if !tensor.raw_data.is_empty() {
            return self.length(what, dims, tensor.raw_data.len() as u64, bytes, "bytes");
        }
        if external {
            return self.external(tensor, what, bytes);
        }
        let seen = match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float) => tensor.float_data.len(),
            Ok(DataType::Double) => tensor.double_data.len(),
            Ok(DataType::Int64 | DataType::Uint64) => tensor.int64_data.len(),
            Ok(DataType::String) => tensor.string_data.len(),
            _ => tensor.int32_data.len(),
        };
        self.length(what, dims, seen as u64, elements, "elements")
    }

    fn length(
        &self,
        what: &str,
        dims: &[i64],
        seen: u64,
        wanted: u64,
        of: &str,
    ) -> Result<(), CompileError> {
        if seen != wanted {
            return self.invalid(format!(
                "{what} has {seen} {of} of data, its dimensions {dims:?} want {wanted}"
            ));
        }
        Ok(())
    }

    fn external(&self, tensor: &TensorProto, what: &str, bytes: u64) -> Result<(), CompileError> {
        let entry = |key: &str| {
            let mut found = tensor.external_data.iter().filter(|entry| entry.key == key);
            found.next().map(|entry| &*entry.value)
        };
        let Some(location) = entry("location") else {
            return self.invalid(format!("{what} is in another file, whose name is not said"));
        };
        let components = Path::new(location).components();
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if !components.into_iter().all(inside) {
            return self.invalid(format!(
                "{what} is external data in {location:?}, wanted a file in the folder of the model"
            ));
        }
        let Some(directory) = self.directory else {
            return self.invalid(format!(
                "{what} is in another file, {location:?}: the model must be in one file here"
            ));
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| text.to_owned()),
        };
        let (offset, length) = match (number("offset"), number("length")) {
            (Ok(offset), Ok(length)) => (offset.unwrap_or(0), length),
            (Err(text), _) | (_, Err(text)) => {
                return self.invalid(format!("{what}: {text:?} is no number of bytes"));
            }
        };
        let path = directory.join(location);
        let metadata = std::fs::metadata(&path)
            .map_err(|source| CompileError::Io { file: path.display().to_string(), source })?;
        if !metadata.is_file() {
            return self.invalid(format!("{what} is in {location:?}, which is not a file"));
        }
        let length = length.unwrap_or(metadata.len().saturating_sub(offset));
        if offset.checked_add(length).is_none_or(|end| end > metadata.len()) {
            return self.invalid(format!(
                "{what} is {length} bytes from byte {offset} of {location:?}, which has {} bytes",
                metadata.len()
            ));
        }
        self.length(what, &tensor.dims, length, bytes, "bytes")
    }

    fn invalid(&self, reason: String) -> Result<(), CompileError> {
        Err(CompileError::Invalid { file: self.file.into(), reason })
    }

    fn limit(
        &self,
        what: &str,
        seen: impl ToString,
        limit: impl ToString,
    ) -> Result<(), CompileError> {
        Err(CompileError::Limit {
            file: self.file.into(),
            what: what.into(),
            seen: seen.to_string(),
            limit: limit.to_string(),
        })
    }
}

/// Operators whose outputs are never larger than their inputs.
const KEEPS_SIZE: [&str; 23] = [
    "Abs",
    "Cast",
    "Ceil",
    "Constant",
    "Exp",
    "Flatten",
    "Floor",
    "Identity",
    "Log",
    "Neg",
    "Not",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// The names that the subgraphs of a node read and may not define. Some may be
/// their own: more names only tighten the order.
pub fn captured(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    let mut graphs: Vec<&GraphProto> = Vec::new();
    for attribute in &node.attribute {
        graphs.extend(attribute.g.iter().chain(&attribute.graphs));
    }
    while let Some(graph) = graphs.pop() {
        let own: HashSet<&str> = (graph.input.iter().map(|input| &*input.name))
            .chain(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)))
            .chain(graph.initializer.iter().map(|tensor| &*tensor.name))
            .collect();
        for node in &graph.node {
            names.extend(node.input.iter().map(String::as_str).filter(|name| !own.contains(name)));
            for attribute in &node.attribute {
                graphs.extend(attribute.g.iter().chain(&attribute.graphs));
            }
        }
    }
    names
}

/// The number of elements; `None` where a dimension is negative or it overflows.
fn product(dims: &[i64]) -> Option<u64> {
    let mut product = 1u64;
    for &dim in dims {
        product = product.checked_mul(u64::try_from(dim).ok()?)?;
    }
    Some(product)
}

fn is_read(data_type: i32) -> bool {
    DataType::try_from(data_type).is_ok_and(|data_type| DatumType::try_from(data_type).is_ok())
}

/// The bytes that tract takes for an element.
fn element_bytes(data_type: i32) -> u64 {
    match DataType::try_from(data_type) {
        Ok(DataType::Bool | DataType::Uint8 | DataType::Int8) => 1,
        Ok(DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16) => 2,
        Ok(DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64) => 8,
        Ok(DataType::Complex128) => 16,
        Ok(DataType::String) => 24,
        _ => 4,
    }
}

/// The operator of each node of the main graph, by tract's name for the node.
pub fn operators(proto: &ModelProto) -> BTreeMap<String, String> {
    let nodes = proto.graph.iter().flat_map(|graph| &graph.node);
    nodes.map(|node| (node_name(node).to_owned(), node.op_type.clone())).collect()
}
