//! Loops with any body.

use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::sandbox;
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::Random;

use super::{check, dims};

/// A loop over the axes `axes` of two tensors with two states, which change places, and
/// with something computed and something constant from around it.
fn scan(trips: usize, axes: [i64; 2], backwards: [i64; 2], random: &mut Random) -> Vec<u8> {
    let mut graph = Graph::new();
    let along = |axis: i64, shape: &[usize]| {
        let mut whole = shape.to_vec();
        whole.insert(axis as usize, trips);
        dims(&whole)
    };
    let xs = graph.input("xs", FLOAT, &along(axes[0], &[2, 3]));
    let zs = graph.input("zs", FLOAT, &along(axes[1], &[3]));
    let [a, b] = ["a", "b"].map(|name| graph.input(name, FLOAT, &dims(&[2, 3])));
    let around = graph.node("Sin", &[&b], &[]);
    let weights = graph.floats(&[3, 3], &random.numbers(9));

    let mut body = Graph::inner("inside_");
    let [a_in, b_in, x] = ["a_in", "b_in", "x"].map(|name| body.input(name, FLOAT, &dims(&[2, 3])));
    let z = body.input("z", FLOAT, &dims(&[3]));
    let product = body.node("MatMul", &[&a_in, &weights], &[]);
    let half = body.floats(&[], &[0.5]);
    let product = body.node("Mul", &[&product, &half], &[]);
    let sum = body.node("Add", &[&product, &x], &[]);
    let sum = body.node("Add", &[&sum, &around], &[]);
    let a_out = body.node("Tanh", &[&b_in], &[]);
    let b_out = body.node("Mul", &[&sum, &z], &[]);
    let given = body.node("ReduceSum", &[&sum], &[("keepdims", Attribute::Int(0))]);
    let same = body.node("Identity", &[&a_in], &[]);
    let (matrix, single) = (dims(&[2, 3]), dims(&[]));
    let body = body.body(&[
        (&a_out, &matrix),
        (&b_out, &matrix),
        (&given, &single),
        (&same, &matrix),
    ]);
    let attributes = [
        ("body", Attribute::Graph(body)),
        ("num_scan_inputs", Attribute::Int(2)),
        ("scan_input_axes", Attribute::Ints(&axes)),
        ("scan_input_directions", Attribute::Ints(&backwards)),
        ("scan_output_axes", Attribute::Ints(&[0, axes[0]])),
        ("scan_output_directions", Attribute::Ints(&backwards)),
    ];
    let outputs = graph.node_with("Scan", &[&a, &b, &xs, &zs], &attributes, 4);
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    graph.finish(&outputs)
}

#[test]
fn loops_over_any_body() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(170);
    for (axes, backwards) in [([0, 0], [0, 0]), ([1, 0], [1, 0]), ([2, 1], [0, 1])] {
        for trips in [1, 3, 9, 33] {
            let onnx = scan(trips, axes, backwards, &mut random);
            check(&sandbox, &format!("{trips} {axes:?} {backwards:?}"), &onnx, &mut random);
        }
    }
}
