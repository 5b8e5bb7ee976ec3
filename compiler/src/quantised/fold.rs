//! Operators on reals between `DequantizeLinear` and `QuantizeLinear` as operators on
//! the integers themselves (in the form in which most quantised models are: "QDQ").
//!
//! A product of tensors that are dequantised becomes one of integers, with what is done
//! to its result (`Relu` or `Clip`, and `QuantizeLinear`) inside. What only moves elements, or
//! takes their maximum, moves the integers: `DequantizeLinear` comes after it. Where
//! that changes a result, it is by less than the rounding of reals would: a sum of
//! products is exact, and rounded once.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::contrib::trimmed;
use super::graph::{Graph, attribute, input, node};
use super::product::CLAMP;
use super::tract_name;

/// Operators that only move elements, of their first input, or take the maximum.
const MOVES: &[&str] = &[
    "MaxPool",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Identity",
    "DepthToSpace",
    "SpaceToDepth",
    "Expand",
    "Tile",
    "Gather",
];

/// The most times that all nodes are looked at. Each time, what the times before made
/// possible is done.
const PASSES: usize = 16;

/// Rewrites a graph.
pub fn fold(graph: &mut Graph) {
    for _ in 0..PASSES {
        let mut changed = false;
        for at in 0..graph.nodes.len() {
            changed |= match &*graph.nodes[at].op_type {
                "Concat" => fold_concat(graph, at),
                "Conv" => fold_conv(graph, at),
                "MatMul" => fold_matmul(graph, at),
                "Gemm" => fold_gemm(graph, at),
                "AveragePool" | "GlobalAveragePool" => fold_mean(graph, at),
                "QuantizeLinear" => drop_round_trip(graph, at),
                operator if MOVES.contains(&operator) => move_integers(graph, at),
                _ => false,
            };
        }
        if !changed {
            break;
        }
    }
}

/// A tensor that is dequantised: the integers, their scale and zero point.
#[derive(Clone, Debug)]
struct Dequantized {
    value: String,
    scale: String,
    /// Empty where there is none.
    zero_point: String,
    axis: i64,
    /// Whether one scale is for all.
    is_uniform: bool,
}

impl Dequantized {
    /// What a value is before it is dequantised, if it is, and in 8 bits.
    fn of(graph: &Graph, value: &str) -> Option<Self> {
        let dequantize = &graph.nodes[graph.producer(value)?];
        if dequantize.op_type != "DequantizeLinear" || is_blocked(dequantize) {
            return None;
        }
        let integers = input(dequantize, 0)?;
        let scale = input(dequantize, 1)?;
        let zero_point = input(dequantize, 2).unwrap_or_default();
        let new = Self {
            value: integers.to_owned(),
            scale: scale.to_owned(),
            zero_point: zero_point.to_owned(),
            axis: attribute(dequantize, "axis").map_or(1, |axis| axis.i),
            is_uniform: graph.count(scale)? == 1,
        };
        let is_8_bit = |dtype| matches!(dtype, DataType::Int8 | DataType::Uint8);
        new.dtype(graph).is_some_and(is_8_bit).then_some(new)
    }

    /// The same of a value with one scale, above 0.
    fn uniform(graph: &Graph, value: &str) -> Option<Self> {
        let of = Self::of(graph, value)?;
        let scale = graph.real(&of.scale)?;
        (of.is_uniform && scale > 0.0).then_some(of)
    }

    /// The type of the integers, where it can be seen.
    fn dtype(&self, graph: &Graph) -> Option<DataType> {
        if !self.zero_point.is_empty() {
            return graph.type_of(&self.zero_point);
        }
        let Some(at) = graph.producer(&self.value) else { return graph.type_of(&self.value) };
        let quantize = &graph.nodes[at];
        let is_plain = quantize.op_type == "QuantizeLinear"
            && input(quantize, 2).is_none()
            && attribute(quantize, "output_dtype").is_none();
        is_plain.then_some(DataType::Uint8)
    }

    fn has_scale_of(&self, graph: &Graph, other: &Quantized) -> bool {
        let zeros = [&self.zero_point, &other.zero_point];
        graph.same(&self.scale, &other.scale)
            && zeros.iter().all(|zero| !zero.is_empty())
            && graph.same(zeros[0], zeros[1])
    }

    fn numbers(&self) -> [&str; 3] {
        [&self.value, &self.scale, &self.zero_point]
    }
}

/// How a value is quantised: by one scale, all whose readers do the same.
#[derive(Clone, Debug)]
struct Quantized {
    /// The nodes.
    nodes: Vec<usize>,
    scale: String,
    /// Empty where there is none.
    zero_point: String,
}

impl Quantized {
    /// How `QuantizeLinear` at this index quantises, by one scale, to 8 bits.
    fn by(graph: &Graph, at: usize) -> Option<Self> {
        let quantize = &graph.nodes[at];
        let scale = input(quantize, 1)?;
        let zero_point = input(quantize, 2).unwrap_or_default();
        let dtype = match zero_point {
            "" if attribute(quantize, "output_dtype").is_some() => return None,
            "" => DataType::Uint8,
            zero_point => graph.type_of(zero_point)?,
        };
        let fits = quantize.op_type == "QuantizeLinear"
            && quantize.output.len() == 1
            && !is_blocked(quantize)
            && matches!(dtype, DataType::Int8 | DataType::Uint8)
            && graph.real(scale)? > 0.0;
        let (scale, zero_point) = (scale.to_owned(), zero_point.to_owned());
        fits.then_some(Self { nodes: vec![at], scale, zero_point })
    }

    /// How all readers of a value quantise it; `None` if one does not.
    fn of(graph: &Graph, value: &str) -> Option<Self> {
        let (&first, rest) = graph.readers(value)?.split_first()?;
        let reads = |at: usize| input(&graph.nodes[at], 0) == Some(value);
        let mut all = Self::by(graph, first).filter(|_| reads(first))?;
        for &at in rest {
            let other = Self::by(graph, at).filter(|_| reads(at))?;
            let same = graph.same(&all.scale, &other.scale)
                && (all.zero_point == other.zero_point
                    || (!all.zero_point.is_empty()
                        && !other.zero_point.is_empty()
                        && graph.same(&all.zero_point, &other.zero_point)));
            if !same {
                return None;
            }
            all.nodes.push(at);
        }
        Some(all)
    }

    /// Removes the nodes. Their readers read the value that is returned.
    fn take(&self, graph: &mut Graph) -> String {
        let outputs: Vec<String> =
            self.nodes.iter().map(|&at| graph.nodes[at].output[0].clone()).collect();
        // One that leaves the graph keeps its name.
        let kept = outputs.iter().position(|output| graph.readers(output).is_none()).unwrap_or(0);
        self.nodes.iter().for_each(|&at| graph.remove(at));
        for output in &outputs {
            if *output != outputs[kept] {
                graph.redirect(output, &outputs[kept]);
            }
        }
        outputs[kept].clone()
    }

    fn numbers(&self) -> [&str; 2] {
        [&self.scale, &self.zero_point]
    }
}

fn is_blocked(node: &NodeProto) -> bool {
    attribute(node, "block_size").is_some_and(|size| size.i != 0)
}

/// What is done to the result of a product: bounds, and its quantisation.
struct After {
    /// Between which the result is clamped.
    clamp: [Option<f32>; 2],
    /// The node that does so.
    clamp_node: Option<usize>,
    quantized: Option<Quantized>,
    /// The value that comes out.
    value: String,
}

impl After {
    /// What is done to a value.
    fn of(graph: &Graph, value: &str) -> Self {
        let plain = |value: &str| Self {
            clamp: [None, None],
            clamp_node: None,
            quantized: Quantized::of(graph, value),
            value: value.to_owned(),
        };
        let clamped = || {
            let at = graph.only_reader(value)?;
            let clamp = bounds(graph, at, value)?;
            let after = plain(graph.nodes[at].output.first()?);
            // Reals are clamped by themselves.
            after.quantized.as_ref()?;
            Some(Self { clamp, clamp_node: Some(at), ..after })
        };
        clamped().unwrap_or_else(|| plain(value))
    }

    /// Removes the nodes, and returns the name of the value that comes out, and the
    /// attributes with the bounds.
    fn take(&self, graph: &mut Graph) -> (String, Vec<AttributeProto>) {
        self.clamp_node.into_iter().for_each(|at| graph.remove(at));
        let value = match &self.quantized {
            Some(quantized) => quantized.take(graph),
            None => self.value.clone(),
        };
        let bounds = CLAMP.iter().zip(self.clamp);
        let attribute = |(&name, bound): (&&str, Option<f32>)| {
            bound.map(|bound| AttributeProto {
                name: name.to_owned(),
                r#type: AttributeType::Float as i32,
                f: bound,
                ..AttributeProto::default()
            })
        };
        (value, bounds.filter_map(attribute).collect())
    }

    fn numbers(&self) -> [&str; 2] {
        self.quantized.as_ref().map_or(["", ""], Quantized::numbers)
    }
}

/// The bounds of `Relu` or of `Clip` with constants.
fn bounds(graph: &Graph, at: usize, value: &str) -> Option<[Option<f32>; 2]> {
    let clamp = &graph.nodes[at];
    if input(clamp, 0) != Some(value) || clamp.output.len() != 1 {
        return None;
    }
    match &*clamp.op_type {
        "Relu" => Some([Some(0.0), None]),
        "Clip" => {
            let mut bounds = ["min", "max"].map(|name| attribute(clamp, name).map(|a| a.f));
            for (bound, number) in bounds.iter_mut().zip(1..) {
                if let Some(name) = input(clamp, number) {
                    *bound = Some(graph.real(name)?);
                }
            }
            let [low, high] = bounds.map(|bound| bound.unwrap_or(0.0));
            let is_interval = bounds.iter().any(Option::is_none) || low <= high;
            (is_interval && !low.is_nan() && !high.is_nan()).then_some(bounds)
        }
        _ => None,
    }
}

/// A bias: constant integers with their scale, or constant reals.
fn bias(graph: &Graph, value: &str) -> Option<[String; 2]> {
    if graph.type_of(value) == Some(DataType::Float) {
        return Some([value.to_owned(), String::new()]);
    }
    let dequantize = &graph.nodes[graph.producer(value)?];
    let (integers, scale) = (input(dequantize, 0)?, input(dequantize, 1)?);
    let zero = input(dequantize, 2);
    let fits = dequantize.op_type == "DequantizeLinear"
        && !is_blocked(dequantize)
        && graph.type_of(integers)? == DataType::Int32
        && graph.constant(scale).is_some()
        && zero.is_none_or(|zero| graph.is_zero(zero));
    fits.then(|| [integers.to_owned(), scale.to_owned()])
}

/// A convolution of a quantised image with quantised weights.
fn fold_conv(graph: &mut Graph, at: usize) -> bool {
    let conv = graph.nodes[at].clone();
    let folded = || {
        let images = Dequantized::uniform(graph, input(&conv, 0)?)?;
        let weights = Dequantized::of(graph, input(&conv, 1)?)?;
        graph.weights(&weights.value)?;
        (weights.is_uniform || weights.axis == 0).then_some(())?;
        let bias = match input(&conv, 2) {
            Some(value) => bias(graph, value)?,
            None => Default::default(),
        };
        let output = conv.output.first()?;
        Some((images, weights, bias, After::of(graph, output)))
    };
    let Some((images, weights, bias, result)) = folded() else { return false };
    let (output, bounds) = result.take(graph);
    let numbers = [&images.numbers()[..], &weights.numbers(), &result.numbers()].concat();
    let inputs: Vec<&str> = numbers.into_iter().chain(bias.iter().map(String::as_str)).collect();
    let mut folded = node(&conv, "QLinearConv", trimmed(&inputs), &output);
    folded.attribute = conv.attribute.into_iter().chain(bounds).collect();
    graph.replace(at, folded);
    true
}

/// A product of quantised matrices.
fn fold_matmul(graph: &mut Graph, at: usize) -> bool {
    let matmul = graph.nodes[at].clone();
    let folded = || {
        let left = Dequantized::uniform(graph, input(&matmul, 0)?)?;
        let right = Dequantized::of(graph, input(&matmul, 1)?)?;
        let rank = graph.weights(&right.value).map(|tensor| tensor.dims.len() as i64);
        let last = rank.is_some_and(|rank| [-1, rank - 1].contains(&right.axis));
        (right.is_uniform || last).then_some(())?;
        let output = matmul.output.first()?;
        Some((left, right, After::of(graph, output)))
    };
    let Some((left, right, result)) = folded() else { return false };
    let (output, bounds) = result.take(graph);
    let inputs = [&left.numbers()[..], &right.numbers(), &result.numbers()].concat();
    let mut folded = node(&matmul, "QLinearMatMul", trimmed(&inputs), &output);
    folded.attribute = bounds;
    graph.replace(at, folded);
    true
}

/// `Gemm` of a quantised matrix and quantised weights.
fn fold_gemm(graph: &mut Graph, at: usize) -> bool {
    let gemm = graph.nodes[at].clone();
    let folded = || {
        let real = |name: &str| attribute(&gemm, name).map_or(1.0, |attribute| attribute.f);
        let integer = |name: &str| attribute(&gemm, name).map_or(0, |attribute| attribute.i);
        (real("alpha") == 1.0 && integer("transA") == 0).then_some(())?;
        let left = Dequantized::uniform(graph, input(&gemm, 0)?)?;
        let right = Dequantized::of(graph, input(&gemm, 1)?)?;
        let rows = integer("transB") == 0;
        graph.weights(&right.value)?;
        let columns = if rows { [1, -1] } else { [0, -2] };
        (right.is_uniform || columns.contains(&right.axis)).then_some(())?;
        let bias = match input(&gemm, 2) {
            Some(value) => {
                let columns = *graph.weights(&right.value)?.dims.get(usize::from(rows))?;
                let bias = bias(graph, value)?;
                let of_columns = graph.constant(&bias[0])?.dims == [columns];
                (of_columns && real("beta") == 1.0).then_some(bias)?
            }
            None => Default::default(),
        };
        let output = gemm.output.first()?;
        Some((left, right, bias, After::of(graph, output)))
    };
    let Some((left, right, [bias, scale], result)) = folded() else { return false };
    let (output, bounds) = result.take(graph);
    let [of_result, zero_point] = result.numbers();
    let further = [&*bias, of_result, zero_point, &scale];
    let inputs = [&left.numbers()[..], &right.numbers(), &further].concat();
    let mut folded = node(&gemm, "QGemm", trimmed(&inputs), &output);
    let kept = gemm.attribute.into_iter().filter(|attribute| attribute.name == "transB");
    folded.attribute = kept.chain(bounds).collect();
    graph.replace(at, folded);
    true
}

/// A mean of quantised pixels that is quantised.
fn fold_mean(graph: &mut Graph, at: usize) -> bool {
    let pool = graph.nodes[at].clone();
    let folded = || {
        let images = Dequantized::uniform(graph, input(&pool, 0)?)?;
        let result = Quantized::of(graph, pool.output.first()?)?;
        Some((images, result))
    };
    let Some((images, result)) = folded() else { return false };
    let output = result.take(graph);
    let inputs = [&images.numbers()[..], &result.numbers()].concat();
    let operator = format!("QLinear{}", pool.op_type);
    let mut folded = node(&pool, &operator, trimmed(&inputs), &output);
    folded.attribute = pool.attribute;
    graph.replace(at, folded);
    true
}

/// What only moves elements moves integers.
fn move_integers(graph: &mut Graph, at: usize) -> bool {
    let seen = graph.nodes[at].clone();
    let moved = || {
        // The second output of MaxPool is indices.
        (seen.op_type != "MaxPool" || seen.output.len() == 1).then_some(())?;
        Dequantized::uniform(graph, input(&seen, 0)?)
    };
    let Some(of) = moved() else { return false };
    let mut moving = seen.clone();
    moving.name = tract_name(&seen).to_owned();
    of.value.clone_into(&mut moving.input[0]);
    for output in moving.output.iter_mut().filter(|output| !output.is_empty()) {
        *output = graph.fresh(output);
    }
    let integers = moving.output.clone();
    graph.replace(at, moving);
    for (number, (integers, output)) in integers.iter().zip(&seen.output).enumerate() {
        if !output.is_empty() {
            dequantize(graph, &seen, number, integers, &of, output);
        }
    }
    true
}

/// Adds the node that makes reals of integers that were moved.
fn dequantize(
    graph: &mut Graph,
    of: &NodeProto,
    number: usize,
    integers: &str,
    like: &Dequantized,
    output: &str,
) {
    let inputs = [integers, &like.scale, &like.zero_point];
    let mut after = node(of, "DequantizeLinear", trimmed(&inputs), output);
    after.name = format!("{}.dequantized{number}", tract_name(of));
    graph.add(after);
}

/// Quantised tensors side by side that are quantised: each by itself, if need be.
fn fold_concat(graph: &mut Graph, at: usize) -> bool {
    let concat = graph.nodes[at].clone();
    let folded = || {
        let parts = concat.input.iter().map(|part| Dequantized::uniform(graph, part));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        let result = Quantized::of(graph, concat.output.first()?)?;
        (!result.zero_point.is_empty() && !parts.is_empty()).then_some((parts, result))
    };
    let Some((parts, result)) = folded() else { return false };
    let mut integers = Vec::new();
    for (number, (part, real)) in parts.iter().zip(&concat.input).enumerate() {
        if part.has_scale_of(graph, &result) {
            integers.push(part.value.clone());
            continue;
        }
        let value = graph.fresh(real);
        let inputs = [&**real, &result.scale, &result.zero_point];
        let mut quantize = node(&concat, "QuantizeLinear", &inputs, &value);
        quantize.name = format!("{}.part{number}", tract_name(&concat));
        graph.add(quantize);
        integers.push(value);
    }
    let output = result.take(graph);
    let inputs: Vec<&str> = integers.iter().map(String::as_str).collect();
    let mut folded = node(&concat, "Concat", &inputs, &output);
    folded.attribute = concat.attribute;
    graph.replace(at, folded);
    true
}

/// What is quantised by the scale that it was dequantised by is what it was.
fn drop_round_trip(graph: &mut Graph, at: usize) -> bool {
    let quantize = &graph.nodes[at];
    let found = || {
        let of = Dequantized::uniform(graph, input(quantize, 0)?)?;
        // Of such a scale, no real number is infinite.
        (graph.real(&of.scale)? < 1e30).then_some(())?;
        let result = Quantized::by(graph, at)?;
        let output = quantize.output.first()?;
        // A value that leaves the graph keeps its name.
        graph.readers(output)?;
        of.has_scale_of(graph, &result).then(|| (output.clone(), of.value))
    };
    let Some((output, integers)) = found() else { return false };
    graph.remove(at);
    graph.redirect(&output, &integers);
    true
}
