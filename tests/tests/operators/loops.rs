//! Loops with any body.

use leeway_compiler::{Options, compile};
use leeway_contract::Tensor;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, BOOL, FLOAT, Graph, INT64};
use leeway_tests::random::{Random, Style};

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
    let body =
        body.body(&[(&a_out, &matrix), (&b_out, &matrix), (&given, &single), (&same, &matrix)]);
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

/// `x = x * 1.5 + i` while, if there is a limit, the sum of `x` is below it; with the sum
/// after each iteration as a second output if there is none.
fn while_below(limit: Option<f32>, trips: i64) -> Vec<u8> {
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &dims(&[3]));
    let count = graph.ints_shaped(&[], &[trips]);
    let begins = graph.integers(BOOL, &[], &[1]);
    let mut body = Graph::inner("inside_");
    let number = body.input("number", INT64, &[]);
    let condition = body.input("condition", BOOL, &[]);
    let before = body.input("before", FLOAT, &dims(&[3]));
    let factor = body.floats(&[], &[1.5]);
    let number = body.node("Cast", &[&number], &[("to", Attribute::Int(FLOAT.into()))]);
    let grown = body.node("Mul", &[&before, &factor], &[]);
    let after = body.node("Add", &[&grown, &number], &[]);
    let sum = body.node("ReduceSum", &[&after], &[("keepdims", Attribute::Int(0))]);
    let goes_on = match limit {
        Some(limit) => {
            let limit = body.floats(&[], &[limit]);
            body.node("Less", &[&sum, &limit], &[])
        }
        None => body.node("Identity", &[&condition], &[]),
    };
    let (vector, single) = (dims(&[3]), dims(&[]));
    let mut outputs = vec![(&*goes_on, BOOL, &single[..]), (&*after, FLOAT, &vector)];
    if limit.is_none() {
        outputs.push((&*sum, FLOAT, &single));
    }
    let body = body.body_typed(&outputs);
    let count_of = outputs.len() - 1;
    let attributes = [("body", Attribute::Graph(body))];
    let outputs = graph.node_with("Loop", &[&count, &begins, &x], &attributes, count_of);
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    graph.finish(&outputs)
}

#[test]
fn loops_that_end_by_their_number_or_earlier() {
    let sandbox = sandbox(EngineKind::Native);
    let options = Options { name: "test".into(), ..Options::default() };
    for (limit, trips) in [(None, 1), (None, 5), (None, 21), (Some(50.0), 4), (Some(50.0), 40)] {
        let onnx = while_below(limit, trips);
        let mut pair = Pair::new(&sandbox, &onnx, &options);
        let mut random = Random::new(171);
        for _ in 0..4 {
            let inputs = pair.inputs(&mut random, Style::Tame);
            let seen = pair.run(0..=0, &inputs);
            let mut x = inputs[0].to_f32().unwrap();
            let mut sums = Vec::new();
            for number in 0..trips {
                x.iter_mut().for_each(|x| *x = *x * 1.5 + number as f32);
                sums.push(x.iter().sum::<f32>());
                if limit.is_some_and(|limit| sums[number as usize] >= limit) {
                    break;
                }
            }
            let near = |seen: &Tensor, wanted: &[f32]| {
                let seen = seen.to_f32().unwrap();
                assert_eq!(seen.len(), wanted.len());
                let near =
                    |(seen, wanted): (&f32, &f32)| (seen - wanted).abs() <= 1e-5 * wanted.abs();
                assert!(seen.iter().zip(wanted).all(near), "{seen:?}, wanted {wanted:?}");
            };
            near(&seen[0], &x);
            if limit.is_none() {
                near(&seen[1], &sums);
            }
        }
        pair.assert_fuel_of_all_ranges(&mut random);
    }
}

#[test]
fn a_loop_without_an_end_is_refused() {
    let onnx = while_below(Some(1.0), i64::MAX);
    let options = Options { name: "test".into(), ..Options::default() };
    let Err(error) = compile(&onnx, &options) else { panic!("it was compiled") };
    let message = error.to_string();
    assert!(message.contains("(Loop)") && message.contains("trip count"), "{message}");
}
