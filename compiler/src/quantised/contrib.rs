//! ONNX Runtime's operators on quantised tensors (domain `com.microsoft`), as what
//! they are defined to be: `DequantizeLinear`, an operator on reals, and
//! `QuantizeLinear`.

use tract_onnx::pb::NodeProto;

use super::Refusal;
use super::graph::{Graph, attribute, input, node};
use super::tract_name;

/// An operator, and the numbers of its inputs.
struct Linear {
    name: &'static str,
    real: &'static str,
    /// Those before the quantised ones, which stay.
    plain: usize,
    /// The quantised operands, each with a scale and a zero point.
    operands: usize,
    /// The scale and the zero point of the result come first, and there are as many
    /// operands as there are inputs.
    is_variadic: bool,
}

const OPERATORS: &[Linear] = &[
    linear("QLinearAdd", "Add", 0, 2),
    linear("QLinearMul", "Mul", 0, 2),
    linear("QLinearSigmoid", "Sigmoid", 0, 1),
    linear("QLinearLeakyRelu", "LeakyRelu", 0, 1),
    linear("QLinearSoftmax", "Softmax", 0, 1),
    linear("QLinearReduceMean", "ReduceMean", 0, 1),
    linear("QLinearAveragePool", "AveragePool", 0, 1),
    linear("QLinearGlobalAveragePool", "GlobalAveragePool", 0, 1),
    linear("QLinearWhere", "Where", 1, 2),
    Linear { name: "QLinearConcat", real: "Concat", plain: 0, operands: 0, is_variadic: true },
];

const fn linear(name: &'static str, real: &'static str, plain: usize, operands: usize) -> Linear {
    Linear { name, real, plain, operands, is_variadic: false }
}

/// Operators on quantised tensors that are none of these, and what is supported
/// instead.
const REFUSED: &[(&str, &str)] = &[
    ("DynamicQuantizeLSTM", "an LSTM in FP32"),
    ("QAttention", "attention of MatMul and Softmax nodes, quantised"),
    ("QEmbedLayerNormalization", "Gather and LayerNormalization nodes"),
    ("QOrderedMatMul", "QLinearMatMul"),
    ("QLinearConvTranspose", "ConvTranspose between DequantizeLinear and QuantizeLinear"),
    ("DynamicQuantizeMatMul", "DynamicQuantizeLinear and MatMulInteger"),
    ("MatMulIntegerToFloat", "MatMulInteger, Cast and Mul"),
    ("ConvTransposeInteger", "ConvTranspose in FP32"),
    ("QMoE", "MatMul nodes, quantised"),
];

/// Rewrites the nodes of a graph, of a model of this operator set, that are of these
/// operators.
pub fn expand(graph: &mut Graph, operator_set: i64) -> Result<(), Refusal> {
    for at in 0..graph.nodes.len() {
        let seen = &graph.nodes[at];
        if let Some((_, instead)) = REFUSED.iter().find(|(name, _)| *name == seen.op_type) {
            let detail = format!(
                "the operator is not supported; {instead} is, which a model has \
                                  that was quantised without this operator"
            );
            return Err(Refusal { node: tract_name(seen).to_owned(), detail });
        }
        let operator = OPERATORS.iter().find(|operator| operator.name == seen.op_type);
        if let Some(operator) = operator {
            let seen = seen.clone();
            expand_one(graph, at, &seen, operator, operator_set)?;
        }
    }
    Ok(())
}

fn expand_one(
    graph: &mut Graph,
    at: usize,
    seen: &NodeProto,
    operator: &Linear,
    operator_set: i64,
) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal { node: tract_name(seen).to_owned(), detail });
    if attribute(seen, "channels_last").is_some_and(|attribute| attribute.i != 0) {
        return refuse("its attribute channels_last is not supported; with 0 it is".into());
    }
    // Softmax changed its meaning: from all axes after the given one to that one.
    let of_softmax = attribute(seen, "opset").map_or(operator_set, |attribute| attribute.i);
    if operator.real == "Softmax" && (of_softmax < 13) != (operator_set < 13) {
        let detail = "its attribute opset is not that of the model's operator set; the same \
                      one is supported";
        return refuse(detail.into());
    }
    let count = if operator.is_variadic { seen.input.len() / 3 } else { operator.operands };
    let (result, first) = match operator.is_variadic {
        true => (0, 2),
        false => (operator.plain + 3 * count, operator.plain),
    };
    let mut reals: Vec<String> =
        (0..operator.plain).filter_map(|i| input(seen, i)).map(str::to_owned).collect();
    for operand in 0..count {
        let number = first + 3 * operand;
        let (Some(value), Some(scale)) = (input(seen, number), input(seen, number + 1)) else {
            return refuse(format!("its input {number} or the one after it is missing"));
        };
        let real = graph.fresh(value);
        let inputs = [value, scale, input(seen, number + 2).unwrap_or_default()];
        let mut dequantize = node(seen, "DequantizeLinear", trimmed(&inputs), &real);
        dequantize.name = format!("{}.operand{operand}", tract_name(seen));
        graph.add(dequantize);
        reals.push(real);
    }
    let (Some(scale), Some(zero_point)) = (input(seen, result), input(seen, result + 1)) else {
        let detail = format!(
            "its input {result}, the scale of the result, or the one after it, the \
                              zero point, is missing"
        );
        return refuse(detail);
    };
    let Some(output) = seen.output.first() else { return Ok(()) };
    let real = graph.fresh(output);
    let mut quantize = node(seen, "QuantizeLinear", &[&real, scale, zero_point], output);
    quantize.name = format!("{}.result", tract_name(seen));
    let inputs: Vec<&str> = reals.iter().map(String::as_str).collect();
    let mut inner = node(seen, operator.real, &inputs, &real);
    let ours = ["channels_last", "opset"];
    let attributes = seen.attribute.iter().filter(|attribute| !ours.contains(&&*attribute.name));
    inner.attribute = attributes.cloned().collect();
    graph.replace(at, inner);
    graph.add(quantize);
    Ok(())
}

/// Inputs without those at the end that are not there.
pub fn trimmed<'a, 'b>(inputs: &'a [&'b str]) -> &'a [&'b str] {
    let there = inputs.iter().rposition(|input| !input.is_empty());
    &inputs[..there.map_or(0, |last| last + 1)]
}
