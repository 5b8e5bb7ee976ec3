//! Recurrent layers: loops, of which short ones are unrolled.

use leeway_compiler::{Options, compile};
use leeway_contract::Tensor;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::{Random, Style};

use super::{check, dims};

/// A model of one recurrent layer, of which all outputs and the last state are
/// wanted.
fn recurrent(
    operator: &str,
    direction: &str,
    [steps, inputs, hidden]: [usize; 3],
    random: &mut Random,
) -> Vec<u8> {
    let gates = match operator {
        "LSTM" => 4,
        "GRU" | "GRU after" => 3,
        _ => 1,
    };
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &dims(&[steps, 1, inputs]));
    let mut parameters = |shape: &[usize]| {
        let count = shape.iter().product();
        graph.floats(shape, &random.numbers(count))
    };
    let weights = parameters(&[directions, gates * hidden, inputs]);
    let recurrence = parameters(&[directions, gates * hidden, hidden]);
    let bias = parameters(&[directions, 2 * gates * hidden]);
    let mut attributes = vec![
        ("hidden_size", Attribute::Int(hidden as i64)),
        ("direction", Attribute::String(direction)),
    ];
    // As PyTorch exports it.
    let reset_after = operator == "GRU after";
    if reset_after {
        attributes.push(("linear_before_reset", Attribute::Int(1)));
    }
    let operator = if reset_after { "GRU" } else { operator };
    let all = graph.node(operator, &[&x, &weights, &recurrence, &bias], &attributes);
    let output = graph.node("Relu", &[&all], &[]);
    graph.finish(&[&output])
}

#[test]
fn recurrent_layers() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(70);
    for operator in ["LSTM", "GRU", "GRU after", "RNN"] {
        for direction in ["forward", "bidirectional"] {
            for sizes in [[1, 3, 4], [5, 3, 4], [7, 6, 5], [3, 5, 66], [19, 5, 3]] {
                let onnx = recurrent(operator, direction, sizes, &mut random);
                let what = format!("{operator} {direction} {sizes:?}");
                check(&sandbox, &what, &onnx, &mut random);
            }
        }
    }
}

#[test]
fn iterations_share_their_weights() {
    let mut random = Random::new(71);
    let options = Options { name: "test".into(), ..Options::default() };
    let mut bytes = |steps: usize| {
        let onnx = recurrent("LSTM", "forward", [steps, 32, 64], &mut random);
        compile(&onnx, &options).unwrap().seal(&[]).component.len()
    };
    let weights = 4 * 4 * 64 * (32 + 64);
    let (short, long) = (bytes(2), bytes(8));
    assert!(long < short + 3 * weights, "{short} bytes with 2 steps, {long} with 8");
}

/// What runs backwards is what runs forwards over the sequence turned around.
#[test]
fn a_loop_backwards_is_one_forwards_over_the_other_order() {
    let sandbox = sandbox(EngineKind::Native);
    let options = Options { name: "test".into(), ..Options::default() };
    for operator in ["LSTM", "GRU", "GRU after", "RNN"] {
        for steps in [1, 4] {
            let sizes = [steps, 2, 3];
            let model = |direction| recurrent(operator, direction, sizes, &mut Random::new(73));
            let mut random = Random::new(74);
            let mut backwards = Pair::new(&sandbox, &model("reverse"), &options);
            let mut forwards = Pair::new(&sandbox, &model("forward"), &options);
            let inputs = backwards.inputs(&mut random, Style::Tame);
            let last = backwards.module.certificate().last_stage();
            let seen = backwards.run(0..=last, &inputs)[0].to_f32().unwrap();
            let turned = |values: &[f32]| {
                let steps = values.chunks(values.len() / steps).rev();
                steps.flatten().copied().collect::<Vec<f32>>()
            };
            let given = turned(&inputs[0].to_f32().unwrap());
            let given = Tensor::from_f32(&inputs[0].shape, &given);
            let last = forwards.module.certificate().last_stage();
            let wanted = forwards.run(0..=last, &[given])[0].to_f32().unwrap();
            assert_eq!(seen, turned(&wanted), "{operator} {steps}");
            backwards.assert_fuel_of_all_ranges(&mut random);
        }
    }
}

#[test]
fn the_code_of_a_loop_does_not_grow_with_its_iterations() {
    let options = Options { name: "test".into(), ..Options::default() };
    for operator in ["LSTM", "GRU", "RNN"] {
        let bytes = |steps: usize| {
            let onnx = recurrent(operator, "forward", [steps, 2, 3], &mut Random::new(72));
            compile(&onnx, &options).unwrap().seal(&[]).component.len()
        };
        let (short, long) = (bytes(24), bytes(2400));
        assert!(long < short + 1000, "{operator}: {short} bytes, {long} with more iterations");
    }
}
