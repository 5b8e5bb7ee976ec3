//! Every operator of the compiler, on random shapes and attributes: outputs
//! against native tract, fuel against the certificate, ranges of stages against
//! the whole.

use leeway_compiler::Options;
use leeway_contract::DType;
use leeway_runtime::sandbox::{EngineKind, Sandbox};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, Dim, FLOAT, Graph, INT8, UINT8};
use leeway_tests::random::{Random, STYLES, Style};

#[path = "operators/addressing.rs"]
mod addressing;
#[path = "operators/attention.rs"]
mod attention;
#[path = "operators/convolutions.rs"]
mod convolutions;
#[path = "operators/elementwise.rs"]
mod elementwise;
#[path = "operators/images.rs"]
mod images;
#[path = "operators/loops.rs"]
mod loops;
#[path = "operators/precision.rs"]
mod precision;
#[path = "operators/products.rs"]
mod products;
#[path = "operators/quantised.rs"]
mod quantised;
#[path = "operators/recurrent.rs"]
mod recurrent;
#[path = "operators/selecting.rs"]
mod selecting;
#[path = "operators/types.rs"]
mod types;

/// Compiles a model, compares it with tract on tame inputs, and its fuel with
/// the certificate on irregular ones.
fn check(sandbox: &Sandbox, what: &str, onnx: &[u8], random: &mut Random) {
    let options = Options { name: "test".into(), file: what.into(), ..Options::default() };
    let mut pair = Pair::new(sandbox, onnx, &options);
    for _ in 0..2 {
        let inputs = pair.inputs(random, Style::Tame);
        let difference = pair.difference(&inputs);
        let most = if inputs.iter().any(|x| x.dtype == DType::F16) { 4e-3 } else { 1e-5 };
        assert!(difference <= most, "{what}: differs from native tract by {difference}");
    }
    let last = pair.module.certificate().last_stage();
    for style in STYLES {
        let inputs = pair.inputs(random, style);
        pair.run(0..=last, &inputs);
    }
    pair.assert_fuel_of_all_ranges(random);
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| size.into()).collect()
}

fn ints(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&v| v as i64).collect()
}

#[test]
fn convolutions() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(10);
    for case in 0..120 {
        let rank = random.pick(&[1, 1, 2, 2, 3]);
        let groups = random.pick(&[1, 1, 1, 2, 3, 8]);
        let (inputs, outputs) = (groups * random.within(1..=5), groups * random.within(1..=9));
        let taps: &[usize] = if rank == 3 { &[1, 2, 3] } else { &[1, 1, 2, 3, 3, 5, 7] };
        let kernel: Vec<usize> = (0..rank).map(|_| random.pick(taps)).collect();
        let stride: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 1, 2, 3])).collect();
        let dilation: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 1, 1, 2])).collect();
        let size: Vec<usize> = (0..rank)
            .map(|axis| {
                let most = if rank == 3 { 9 } else { 30 };
                (kernel[axis] - 1) * dilation[axis] + random.within(1..=most)
            })
            .collect();
        let pads: Vec<i64> = (0..2 * rank)
            .map(|i| {
                let most = (kernel[i % rank] - 1) * dilation[i % rank];
                random.within(0..=most) as i64
            })
            .collect();

        let mut graph = Graph::new();
        let mut shape = vec![random.within(1..=2), inputs];
        shape.extend(&size);
        let input = graph.input("x", FLOAT, &dims(&shape));
        let mut weight_shape = vec![outputs, inputs / groups];
        weight_shape.extend(&kernel);
        let count = weight_shape.iter().product();
        let weights = graph.floats(&weight_shape, &random.numbers(count));
        let bias = graph.floats(&[outputs], &random.numbers(outputs));
        let operands = [input.as_str(), &weights, &bias];
        let with_bias = random.pick(&[true, false]);
        let mut output = graph.node(
            "Conv",
            if with_bias { &operands } else { &operands[..2] },
            &[
                ("kernel_shape", Attribute::Ints(&ints(&kernel))),
                ("strides", Attribute::Ints(&ints(&stride))),
                ("dilations", Attribute::Ints(&ints(&dilation))),
                ("pads", Attribute::Ints(&pads)),
                ("group", Attribute::Int(groups as i64)),
            ],
        );
        if random.pick(&[true, false]) {
            let parameter = |graph: &mut Graph, random: &mut Random, positive: bool| {
                let mut values = random.numbers(outputs);
                if positive {
                    values.iter_mut().for_each(|v| *v = v.abs() + 0.5);
                }
                graph.floats(&[outputs], &values)
            };
            let scale = parameter(&mut graph, &mut random, false);
            let shift = parameter(&mut graph, &mut random, false);
            let mean = parameter(&mut graph, &mut random, false);
            let variance = parameter(&mut graph, &mut random, true);
            let operands = [output.as_str(), &scale, &shift, &mean, &variance];
            output = graph.node("BatchNormalization", &operands, &[]);
        }
        let activation = random.pick(&["", "Relu", "Sigmoid", "Tanh", "LeakyRelu"]);
        if !activation.is_empty() {
            output = graph.node(activation, &[&output], &[]);
        }
        let what = format!(
            "case {case}: {shape:?} * {weight_shape:?} stride {stride:?} dilation {dilation:?} \
             pads {pads:?} groups {groups} {activation}"
        );
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn pooling() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(11);
    for case in 0..80 {
        let rank = random.within(1..=2);
        let kernel: Vec<usize> = (0..rank).map(|_| random.within(1..=4)).collect();
        let stride: Vec<usize> = (0..rank).map(|_| random.within(1..=3)).collect();
        let size: Vec<usize> = (0..rank).map(|axis| kernel[axis] + random.within(0..=20)).collect();
        let pads: Vec<i64> =
            (0..2 * rank).map(|i| random.within(0..=kernel[i % rank] - 1) as i64).collect();
        let mut shape = vec![random.within(1..=2), random.within(1..=5)];
        shape.extend(&size);
        let mut graph = Graph::new();
        let input = graph.input("x", FLOAT, &dims(&shape));
        let (kernel_i, stride_i) = (ints(&kernel), ints(&stride));
        let mut attributes = vec![
            ("kernel_shape", Attribute::Ints(&kernel_i)),
            ("strides", Attribute::Ints(&stride_i)),
            ("pads", Attribute::Ints(&pads)),
        ];
        let operator = random.pick(&["MaxPool", "AveragePool"]);
        let include = random.within(0..=1) as i64;
        let ceil = random.within(0..=1) as i64;
        attributes.push(("ceil_mode", Attribute::Int(ceil)));
        if operator == "AveragePool" {
            attributes.push(("count_include_pad", Attribute::Int(include)));
        }
        let output = graph.node(operator, &[&input], &attributes);
        let what = format!(
            "case {case}: {operator} {shape:?} window {kernel:?} stride {stride:?} pads {pads:?} \
             include {include} ceil {ceil}"
        );
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn dense_layers() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(12);
    for case in 0..60 {
        let m = random.pick(&[1, 1, 2, 3, 4, 7]);
        let (k, n) = (random.within(1..=70), random.within(1..=70));
        let mut graph = Graph::new();
        let what;
        let mut output;
        if random.pick(&[true, false]) {
            let transposed = random.within(0..=1);
            let shape = if transposed == 1 { [n, k] } else { [k, n] };
            let input = graph.input("x", FLOAT, &dims(&[m, k]));
            let weights = graph.floats(&shape, &random.numbers(k * n));
            let bias = graph.floats(&[n], &random.numbers(n));
            output = graph.node(
                "Gemm",
                &[&input, &weights, &bias],
                &[("transB", Attribute::Int(transposed as i64)), ("alpha", Attribute::Float(0.5))],
            );
            what = format!("case {case}: Gemm {m}x{k}x{n} transposed {transposed}");
        } else {
            let batch = random.within(1..=3);
            let input = graph.input("x", FLOAT, &dims(&[batch, m, k]));
            let weights = graph.floats(&[k, n], &random.numbers(k * n));
            output = graph.node("MatMul", &[&input, &weights], &[]);
            what = format!("case {case}: MatMul {batch}x{m}x{k}x{n}");
        }
        output = graph.node("Relu", &[&output], &[]);
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn element_wise_functions() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(13);
    let functions = [
        "Relu",
        "Sigmoid",
        "Tanh",
        "Exp",
        "Neg",
        "Abs",
        "Floor",
        "Ceil",
        "LeakyRelu",
        "HardSwish",
        "Softplus",
        "Softsign",
        "Elu",
        "Selu",
        "Celu",
        "HardSigmoid",
        "ThresholdedRelu",
        "Mish",
        "Gelu",
        "Erf",
        "Sign",
        "Round",
        "Sin",
        "Cos",
        "Tan",
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Asinh",
        "Atanh",
    ];
    for function in functions {
        for size in [1, 3, 4, 5, 17, 64, 100] {
            let mut graph = Graph::new();
            let input = graph.input("x", FLOAT, &dims(&[1, size]));
            let output = graph.node(function, &[&input], &[]);
            check(
                &sandbox,
                &format!("{function} of {size}"),
                &graph.finish(&[&output]),
                &mut random,
            );
        }
    }
}

#[test]
fn broadcasting() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(14);
    for case in 0..80 {
        let rank = random.within(1..=4);
        let shape: Vec<usize> = (0..rank).map(|_| random.within(1..=9)).collect();
        let part: Vec<usize> =
            shape.iter().map(|&size| if random.pick(&[true, false]) { size } else { 1 }).collect();
        let function = random.pick(&["Add", "Sub", "Mul", "Min", "Max", "Div"]);
        let mut graph = Graph::new();
        let input = graph.input("x", FLOAT, &dims(&shape));
        let other = match random.within(0..=2) {
            0 => graph.input("y", FLOAT, &dims(&part)),
            _ => {
                let mut values = random.numbers(part.iter().product());
                values.iter_mut().for_each(|v| *v = v.signum() * (v.abs() + 0.5));
                graph.floats(&part, &values)
            }
        };
        let other = match function {
            // Keep divisors away from zero.
            "Div" => graph.node("Exp", &[&other], &[]),
            _ => other,
        };
        let swapped = random.pick(&[true, false]) && function != "Div";
        let operands = if swapped { [&other, &input] } else { [&input, &other] };
        let first = graph.node(function, &[operands[0], operands[1]], &[]);
        let output = graph.node("Mul", &[&first, &first], &[]);
        let what = format!("case {case}: {function} {shape:?} {part:?} swapped {swapped}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn softmax_and_reductions() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(15);
    for case in 0..80 {
        let rank = random.within(1..=4);
        let shape: Vec<usize> = (0..rank).map(|_| random.within(1..=11)).collect();
        let axis = random.within(0..=rank - 1);
        let mut graph = Graph::new();
        let input = graph.input("x", FLOAT, &dims(&shape));
        let operator = random.pick(&[
            "Softmax",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "LogSoftmax",
        ]);
        let axes = [axis as i64];
        let attributes = match operator {
            "Softmax" | "LogSoftmax" => vec![("axis", Attribute::Int(axis as i64))],
            _ => vec![
                ("axes", Attribute::Ints(&axes)),
                ("keepdims", Attribute::Int(random.within(0..=1) as i64)),
            ],
        };
        let output = graph.node(operator, &[&input], &attributes);
        let what = format!("case {case}: {operator} {shape:?} axis {axis}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn global_pooling_and_several_axes() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(16);
    for shape in [[1, 5, 7, 7], [2, 3, 4, 5], [1, 8, 1, 3], [1, 1, 16, 16]] {
        for operator in ["GlobalAveragePool", "GlobalMaxPool", "ReduceMean"] {
            let mut graph = Graph::new();
            let input = graph.input("x", FLOAT, &dims(&shape));
            let attributes = match operator {
                "ReduceMean" => vec![("axes", Attribute::Ints(&[0, 2, 3]))],
                _ => vec![],
            };
            let output = graph.node(operator, &[&input], &attributes);
            check(
                &sandbox,
                &format!("{operator} {shape:?}"),
                &graph.finish(&[&output]),
                &mut random,
            );
        }
    }
}

#[test]
fn moving_data() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(17);
    for case in 0..80 {
        let rank = random.within(2..=4);
        let shape: Vec<usize> = (0..rank).map(|_| random.within(1..=8)).collect();
        let mut graph = Graph::new();
        let input = graph.input("x", FLOAT, &dims(&shape));
        let operator = random.pick(&["Transpose", "Slice", "Concat", "Pad", "Flatten", "Expand"]);
        let output = match operator {
            "Transpose" => {
                let mut order: Vec<i64> = (0..rank as i64).collect();
                for i in (1..rank).rev() {
                    order.swap(i, random.within(0..=i));
                }
                graph.node("Transpose", &[&input], &[("perm", Attribute::Ints(&order))])
            }
            "Slice" => {
                let axis = random.within(0..=rank - 1);
                let start = random.within(0..=shape[axis] - 1);
                let end = random.within(start + 1..=shape[axis]);
                let starts = graph.ints(&[start as i64]);
                let ends = graph.ints(&[end as i64]);
                let axes = graph.ints(&[axis as i64]);
                graph.node("Slice", &[&input, &starts, &ends, &axes], &[])
            }
            "Concat" => {
                let axis = random.within(0..=rank - 1);
                let exp = graph.node("Exp", &[&input], &[]);
                let axis = ("axis", Attribute::Int(axis as i64));
                graph.node("Concat", &[&input, &exp, &input], &[axis])
            }
            "Pad" => {
                let pads: Vec<i64> = (0..2 * rank).map(|_| random.within(0..=3) as i64).collect();
                let pads = graph.ints(&pads);
                let value = graph.floats(&[], &[1.5]);
                graph.node("Pad", &[&input, &pads, &value], &[])
            }
            "Flatten" => {
                let axis = random.within(0..=rank) as i64;
                graph.node("Flatten", &[&input], &[("axis", Attribute::Int(axis))])
            }
            _ => {
                let to: Vec<i64> = std::iter::once(2)
                    .chain(shape.iter().map(|&s| if s == 1 { 3 } else { s as i64 }))
                    .collect();
                let to = graph.ints(&to);
                graph.node("Expand", &[&input, &to], &[])
            }
        };
        let output = graph.node("Abs", &[&output], &[]);
        check(
            &sandbox,
            &format!("case {case}: {operator} {shape:?}"),
            &graph.finish(&[&output]),
            &mut random,
        );
    }
}

#[test]
fn integer_inputs_are_cast() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(18);
    for dtype in [UINT8, INT8] {
        for shape in [vec![1, 3, 5, 7], vec![4], vec![2, 3]] {
            let mut graph = Graph::new();
            let input = graph.input("x", dtype, &dims(&shape));
            let to = ("to", Attribute::Int(i64::from(FLOAT)));
            let cast = graph.node("Cast", &[&input], &[to]);
            let scale = graph.floats(&[], &[1.0 / 255.0]);
            let scaled = graph.node("Mul", &[&cast, &scale], &[]);
            let mut order: Vec<i64> = (0..shape.len() as i64).collect();
            order.reverse();
            let moved = graph.node("Transpose", &[&scaled], &[("perm", Attribute::Ints(&order))]);
            check(&sandbox, &format!("{dtype} {shape:?}"), &graph.finish(&[&moved]), &mut random);
        }
    }
}

#[test]
fn a_model_with_two_inputs_two_outputs_and_a_branch() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(19);
    let mut graph = Graph::new();
    let a = graph.input("a", FLOAT, &dims(&[1, 8]));
    let b = graph.input("b", FLOAT, &dims(&[1, 8]));
    let weights = graph.floats(&[8, 8], &random.numbers(64));
    let sum = graph.node("Add", &[&a, &b], &[]);
    let hidden = graph.node("MatMul", &[&sum, &weights], &[]);
    let relu = graph.node("Relu", &[&hidden], &[]);
    let residual = graph.node("Add", &[&relu, &sum], &[]);
    let out = graph.node("MatMul", &[&residual, &weights], &[]);
    let soft = graph.node("Softmax", &[&out], &[]);
    check(&sandbox, "two by two", &graph.finish(&[&soft, &residual]), &mut random);
}

#[test]
fn deep_networks_are_cut_at_every_layer() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(20);
    let mut graph = Graph::new();
    let mut value =
        graph.input("x", FLOAT, &[Dim::Symbol("N"), 3usize.into(), 16usize.into(), 16usize.into()]);
    let mut channels = 3;
    for outputs in [8, 8, 12] {
        let weights =
            graph.floats(&[outputs, channels, 3, 3], &random.numbers(outputs * channels * 9));
        value =
            graph.node("Conv", &[&value, &weights], &[("pads", Attribute::Ints(&[1, 1, 1, 1]))]);
        value = graph.node("Relu", &[&value], &[]);
        value = graph.node(
            "MaxPool",
            &[&value],
            &[("kernel_shape", Attribute::Ints(&[2, 2])), ("strides", Attribute::Ints(&[2, 2]))],
        );
        channels = outputs;
    }
    let onnx = graph.finish(&[&value]);
    let options = Options { name: "deep".into(), ..Options::default() };
    let compiled = leeway_compiler::compile(&onnx, &options).unwrap();
    assert_eq!(compiled.certificate().stages.len(), 3, "a stage for each convolution");
    check(&sandbox, "deep", &onnx, &mut random);
}

#[test]
fn a_model_without_inputs_gives_constants() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(18);
    let mut graph = Graph::new();
    let constant = graph.floats(&[3], &[1.0, -2.0, f32::NAN]);
    let output = graph.node("Relu", &[&constant], &[]);
    check(&sandbox, "no inputs", &graph.finish(&[&output, &constant]), &mut random);
}
