//! How large components are: their code, which steps that do the same share, and
//! the memory for activations.

use leeway_compiler::Options;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::architectures::{ARCHITECTURES, mobilenet_v2};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::{Random, Style};
use wasmparser::{Parser, Payload};

/// The number of functions in a component's core module, and the bytes of their
/// code.
fn functions(component: &[u8]) -> (u32, usize) {
    let payloads = Parser::new(0).parse_all(component);
    let sections = payloads.filter_map(|payload| match payload.expect("a valid component") {
        Payload::CodeSectionStart { count, range, .. } => Some((count, range.len())),
        _ => None,
    });
    sections.fold((0, 0), |(functions, bytes), (count, length)| (functions + count, bytes + length))
}

fn component(onnx: &[u8]) -> Vec<u8> {
    let compiled = leeway_compiler::compile(onnx, &Options::default());
    compiled.unwrap_or_else(|error| panic!("{error}")).seal(&[]).component
}

/// As many 3x3 convolutions, with different weights, one after the other.
fn convolutions(layers: usize) -> Vec<u8> {
    let mut graph = Graph::new();
    let mut value = graph.input("x", FLOAT, &[1, 8, 9, 11].map(Into::into));
    for layer in 0..layers {
        let weights: Vec<f32> = Random::new(layer as u64).numbers(8 * 8 * 9);
        let weights = graph.floats(&[8, 8, 3, 3], &weights);
        value = graph.node("Conv", &[&value, &weights], &[("pads", Attribute::Ints(&[1; 4]))]);
    }
    graph.finish(&[&value])
}

#[test]
fn layers_that_differ_in_addresses_share_their_code() {
    let (_, of_two) = functions(&component(&convolutions(2)));
    let (_, of_nine) = functions(&component(&convolutions(9)));
    // What is left is for the cuts: a copy in, NaNs made canonical.
    assert!(of_nine - of_two < 7 * 400, "seven more layers add {} bytes", of_nine - of_two);

    let mut pair = Pair::new(&sandbox(EngineKind::Native), &convolutions(9), &Options::default());
    assert_eq!(pair.sealed.certificate.stages.len(), 9);
    pair.assert_fuel_of_all_ranges(&mut Random::new(3));
}

#[test]
fn a_step_may_have_more_operands_than_a_function_parameters() {
    for operands in [99, 100, 1200] {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &[1, 3].map(Into::into));
        let first = graph.node("Relu", &[&x], &[]);
        let all: Vec<String> = (0..operands).map(|_| graph.node("Neg", &[&first], &[])).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let joined = graph.node("Concat", &all, &[("axis", Attribute::Int(1))]);
        let onnx = graph.finish(&[&joined]);
        let mut pair = Pair::new(&sandbox(EngineKind::Native), &onnx, &Options::default());
        let mut random = Random::new(1);
        let inputs = pair.inputs(&mut random, Style::Tame);
        assert_eq!(pair.difference(&inputs), 0.0, "{operands} operands");
        pair.assert_fuel_of_all_ranges(&mut random);
    }
}

#[test]
fn the_code_of_mobilenet_v2_is_below_200_kb() {
    let (_, bytes) = functions(&component(&mobilenet_v2(224)));
    assert!(bytes < 200_000, "{bytes} bytes");
}

#[test]
fn activations_take_a_tenth_more_than_the_largest_cut_at_most() {
    for architecture in &ARCHITECTURES {
        let onnx = (architecture.onnx)(architecture.size);
        let compiled = leeway_compiler::compile(&onnx, &Options::default()).expect("it compiles");
        let certificate = compiled.certificate();
        let (seen, needed) = (certificate.activation_bytes, certificate.least_activation_bytes());
        let name = architecture.name;
        assert!(seen >= needed && 100 * seen <= 105 * needed, "{name}: {seen}, needed {needed}");
        let cut = certificate.live_bytes();
        // Memory comes in pages of 64 KiB: of small models, one does not matter.
        let is_near = 100 * seen <= 110 * cut || seen <= cut + (64 << 10);
        assert!(is_near, "{name}: {seen}, the cut {cut}");
    }
}

#[test]
fn operands_of_a_concatenation_are_computed_where_they_belong() {
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &[1, 4, 6, 6].map(Into::into));
    let weights = graph.floats(&[8, 4, 1, 1], &Random::new(7).numbers(32));
    let (a, b) = (graph.node("Relu", &[&x], &[]), graph.node("Conv", &[&x, &weights], &[]));
    let inner = graph.node("Concat", &[&a, &b], &[("axis", Attribute::Int(1))]);
    let c = graph.node("Neg", &[&x], &[]);
    let outer = graph.node("Concat", &[&inner, &c, &x], &[("axis", Attribute::Int(1))]);
    let onnx = graph.finish(&[&outer]);
    let mut pair = Pair::new(&sandbox(EngineKind::Native), &onnx, &Options::default());
    let certificate = &pair.sealed.certificate;
    let layers: Vec<&str> = certificate
        .stages
        .iter()
        .flat_map(|stage| &stage.layers)
        .map(|layer| layer.kernel.as_str())
        .filter(|kernel| kernel.contains("concat"))
        .collect();
    assert_eq!(layers, ["concat in place", "copy concat"], "the model's input is copied");
    assert_eq!(certificate.activation_bytes, 4 * (4 + 20) * 6 * 6, "the input and the output");
    let mut random = Random::new(8);
    let inputs = pair.inputs(&mut random, Style::Tame);
    assert!(pair.difference(&inputs) < 1e-5);
    pair.assert_fuel_of_all_ranges(&mut random);
}

#[test]
fn element_wise_work_is_done_in_place() {
    let mut graph = Graph::new();
    let shape = [1, 4, 8, 8].map(Into::into);
    let (x, y) = (graph.input("x", FLOAT, &shape), graph.input("y", FLOAT, &shape));
    let sum = graph.node("Add", &[&x, &y], &[]);
    let softmax = graph.node("Softmax", &[&sum], &[("axis", Attribute::Int(1))]);
    let product = graph.node("Mul", &[&softmax, &softmax], &[]);
    let onnx = graph.finish(&[&product]);
    let mut pair = Pair::new(&sandbox(EngineKind::Native), &onnx, &Options::default());
    assert_eq!(pair.sealed.certificate.activation_bytes, 2 * 4 * 4 * 8 * 8, "two tensors");
    let mut random = Random::new(5);
    let inputs = pair.inputs(&mut random, Style::Tame);
    assert!(pair.difference(&inputs) < 1e-5);
    pair.assert_fuel_of_all_ranges(&mut random);
}

#[test]
fn what_is_read_again_or_in_another_order_is_not_overwritten() {
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &[5, 5].map(Into::into));
    let first = graph.node("Relu", &[&x], &[]);
    let turned = graph.node("Transpose", &[&first], &[("perm", Attribute::Ints(&[1, 0]))]);
    let sum = graph.node("Add", &[&turned, &first], &[]);
    let row = graph.node("ReduceSum", &[&sum], &[]);
    let scaled = graph.node("Div", &[&sum, &row], &[]);
    let result = graph.node("Sub", &[&scaled, &sum], &[]);
    let onnx = graph.finish(&[&result, &sum]);
    let mut pair = Pair::new(&sandbox(EngineKind::Native), &onnx, &Options::default());
    let mut random = Random::new(6);
    let inputs = pair.inputs(&mut random, Style::Tame);
    assert!(pair.difference(&inputs) < 1e-5);
    pair.assert_fuel_of_all_ranges(&mut random);
}
