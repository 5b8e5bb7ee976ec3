//! ONNX's `Loop` as its `Scan`, which tract reads: where the file says how often it runs
//! at most. Where its condition is computed, what the iterations after its end compute is
//! thrown away.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

use crate::import::guard::node_name;
use crate::quantised::Refusal;

/// The most iterations of a loop.
const MOST_ITERATIONS: i64 = 1 << 20;

/// The deepest loops in loops that are looked into.
const DEEPEST: usize = 8;

/// Makes a `Scan` of each `Loop`.
pub fn rewrite(model: &mut ModelProto) -> Result<(), Refusal> {
    let Some(graph) = &mut model.graph else { return Ok(()) };
    rewrite_graph(graph, DEEPEST)
}

fn rewrite_graph(graph: &mut GraphProto, depth: usize) -> Result<(), Refusal> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
    for at in 0..graph.node.len() {
        let bodies = graph.node[at].attribute.iter_mut().filter_map(|a| a.g.as_mut());
        for body in bodies {
            rewrite_graph(body, depth)?;
        }
        if graph.node[at].op_type == "Loop" && graph.node[at].domain.is_empty() {
            let (scan, iterations) = scan_of(graph, &graph.node[at])?;
            graph.node[at] = scan;
            graph.initializer.push(iterations);
        }
    }
    Ok(())
}

/// A loop as a scan over the numbers of its iterations, which is the second result.
fn scan_of(graph: &GraphProto, node: &NodeProto) -> Result<(NodeProto, TensorProto), Refusal> {
    let name = node_name(node);
    let refuse = |detail: &str| Err(Refusal { node: name.into(), detail: detail.into() });
    let input = |at: usize| node.input.get(at).map_or("", String::as_str);
    let Some(body) = node.attribute.iter().find_map(|a| a.g.as_ref()) else {
        return refuse("it has no body");
    };
    let count = known(graph, input(0)).filter(|count| (1..=MOST_ITERATIONS).contains(count));
    let Some(count) = count else {
        return refuse(
            "how often it runs at most is not known when compiling, or not from 1 to 1048576; a \
             constant trip count is supported, with or without a condition",
        );
    };
    let states = node.input.len().saturating_sub(2);
    if body.input.len() != states + 2 || body.output.len() < states + 1 {
        return refuse("its body has not the inputs and outputs that it must have");
    }
    let begins = input(1).is_empty() || known(graph, input(1)) == Some(1);
    let goes_on = stays_true(body);
    let mut body = body.clone();
    let mut inputs = body.input.split_off(2);
    let [number, condition] = [body.input.remove(0), body.input.remove(0)];
    let mut outputs = body.output.split_off(1);
    let next_condition = body.output.remove(0);
    let mut given = node.input[2.min(node.input.len())..].to_vec();
    let mut results = node.output.clone();
    results.resize(outputs.len(), String::new());
    if begins && goes_on {
        body.initializer.push(truth(condition.name));
    } else {
        if outputs.len() > states {
            return refuse(
                "its condition is computed, and its outputs are as long as the data has it; \
                 states are supported",
            );
        }
        for (before, after) in inputs.iter().zip(&mut outputs) {
            let kept = format!("{}.kept", after.name);
            body.node.push(plain("Where", &[&condition.name, &after.name, &before.name], &kept));
            after.name = kept;
        }
        let still = format!("{}.still", next_condition.name);
        body.node.push(plain("And", &[&condition.name, &next_condition.name], &still));
        given.push(input(1).to_owned());
        results.push(format!("{name}.condition"));
        inputs.push(condition);
        outputs.push(ValueInfoProto { name: still, ..next_condition });
        if input(1).is_empty() {
            return refuse("its condition is computed, and has no value at first");
        }
    }
    let numbers = format!("{name}.iterations");
    given.push(numbers.clone());
    inputs.push(scalar_i64(number));
    (body.input, body.output) = (inputs, outputs);
    for (slot, result) in results.iter_mut().enumerate() {
        if result.is_empty() {
            *result = format!("{name}.unread.{slot}");
        }
    }
    let scan = NodeProto {
        op_type: "Scan".into(),
        input: given,
        output: results,
        attribute: vec![
            AttributeProto {
                name: "body".into(),
                r#type: AttributeType::Graph as i32,
                g: Some(body),
                ..AttributeProto::default()
            },
            AttributeProto {
                name: "num_scan_inputs".into(),
                r#type: AttributeType::Int as i32,
                i: 1,
                ..AttributeProto::default()
            },
        ],
        ..node.clone()
    };
    let iterations = TensorProto {
        name: numbers,
        data_type: DataType::Int64 as i32,
        dims: vec![count],
        raw_data: (0..count).flat_map(i64::to_le_bytes).collect(),
        ..TensorProto::default()
    };
    Ok((scan, iterations))
}

/// A node without attributes.
fn plain(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: output.into(),
        op_type: operator.into(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// The constant `true`.
fn truth(name: String) -> TensorProto {
    TensorProto {
        name,
        data_type: DataType::Bool as i32,
        raw_data: vec![1],
        ..TensorProto::default()
    }
}

/// A value of the type that the number of an iteration has, whatever the file says.
fn scalar_i64(value: ValueInfoProto) -> ValueInfoProto {
    let shape = Some(TensorShapeProto::default());
    let tensor = type_proto::Tensor { elem_type: DataType::Int64 as i32, shape };
    let value_type = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        r#type: Some(TypeProto { value: value_type, ..TypeProto::default() }),
        ..value
    }
}

/// The single number that a constant of a graph holds.
fn known(graph: &GraphProto, name: &str) -> Option<i64> {
    if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name == name) {
        return number(tensor);
    }
    let is_producer = |node: &&NodeProto| node.output.iter().any(|output| output == name);
    let node = graph.node.iter().find(is_producer)?;
    match node.op_type.as_str() {
        "Constant" => node.attribute.iter().find_map(|attribute| match &*attribute.name {
            "value" => number(attribute.t.as_ref()?),
            "value_int" => Some(attribute.i),
            _ => None,
        }),
        _ => None,
    }
}

fn number(tensor: &TensorProto) -> Option<i64> {
    if tensor.dims.iter().any(|&size| size != 1) {
        return None;
    }
    match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 => match tensor.raw_data.first_chunk() {
            Some(&bytes) => Some(i64::from_le_bytes(bytes)),
            None => tensor.int64_data.first().copied(),
        },
        DataType::Int32 => match tensor.raw_data.first_chunk() {
            Some(&bytes) => Some(i32::from_le_bytes(bytes).into()),
            None => tensor.int32_data.first().map(|&number| number.into()),
        },
        DataType::Bool => {
            let stored = tensor.int32_data.first().map(|&number| number as u8);
            tensor.raw_data.first().copied().or(stored).map(i64::from)
        }
        _ => None,
    }
}

/// Whether a body's condition is its condition before, or the constant `true`.
fn stays_true(body: &GraphProto) -> bool {
    let (Some(given), Some(after)) = (body.input.get(1), body.output.first()) else { return false };
    let mut name = after.name.as_str();
    // A graph has no longer chain than it has nodes.
    for _ in 0..=body.node.len() {
        if name == given.name || known(body, name) == Some(1) {
            return true;
        }
        let is_producer = |node: &&NodeProto| node.output.iter().any(|output| output == name);
        match body.node.iter().find(is_producer) {
            Some(node) if node.op_type == "Identity" && node.input.len() == 1 => {
                name = &node.input[0];
            }
            _ => return false,
        }
    }
    false
}
