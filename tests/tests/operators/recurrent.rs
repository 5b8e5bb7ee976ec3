//! Recurrent layers: loops, of which short ones are unrolled.

use leeway_compiler::{Options, compile};
use leeway_contract::Tensor;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, FLOAT, Graph, INT32};
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
    over(operator, direction, [steps, 1, inputs, hidden], None, random)
}

/// The same over a batch of sequences of these lengths, if they are not all as long; with
/// the last states as outputs.
fn over(
    operator: &str,
    direction: &str,
    [steps, batch, inputs, hidden]: [usize; 4],
    lengths: Option<&[i32]>,
    random: &mut Random,
) -> Vec<u8> {
    let gates = match operator {
        "LSTM" => 4,
        "GRU" | "GRU after" => 3,
        _ => 1,
    };
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &dims(&[steps, batch, inputs]));
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
    let Some(lengths) = lengths else {
        let all = graph.node(operator, &[&x, &weights, &recurrence, &bias], &attributes);
        let output = graph.node("Relu", &[&all], &[]);
        return graph.finish(&[&output]);
    };
    let lengths = match lengths {
        [] => graph.input("lengths", INT32, &dims(&[batch])),
        _ => graph.integers(INT32, &[batch], lengths),
    };
    let states = graph.floats(
        &[directions, batch, hidden],
        &Random::new(75).numbers(directions * batch * hidden),
    );
    let mut operands = vec![&*x, &weights, &recurrence, &bias, &lengths, &states];
    let count = if operator == "LSTM" { 3 } else { 2 };
    if count == 3 {
        operands.push(&states);
    }
    let outputs = graph.node_with(operator, &operands, &attributes, count);
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    graph.finish(&outputs)
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
fn a_sequence_of_hundreds_of_steps() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(76);
    for direction in ["forward", "reverse"] {
        let sizes = [301, 3, 5];
        let onnx = recurrent("GRU after", direction, sizes, &mut random);
        check(&sandbox, &format!("GRU {direction} {sizes:?}"), &onnx, &mut random);
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
    for operator in ["LSTM", "GRU", "GRU after", "RNN"] {
        let bytes = |steps: usize| {
            let onnx = recurrent(operator, "forward", [steps, 2, 3], &mut Random::new(72));
            compile(&onnx, &options).unwrap().seal(&[]).component.len()
        };
        let (short, long) = (bytes(24), bytes(2400));
        // The product of all inputs may be in other tiles.
        assert!(long < short + 2000, "{operator}: {short} bytes, {long} with more iterations");
    }
}

/// Each sequence of a batch has the outputs that it has alone, and zeros after its end.
#[test]
fn sequences_of_unequal_lengths() {
    let sandbox = sandbox(EngineKind::Native);
    let options = Options { name: "test".into(), ..Options::default() };
    let (inputs, hidden) = (2, 3);
    for operator in ["LSTM", "GRU", "GRU after", "RNN"] {
        for direction in ["forward", "reverse", "bidirectional"] {
            for (steps, lengths, is_known) in [(6, [6, 2, 1], true), (12, [5, 12, 7], false)] {
                let what = format!("{operator} {direction} {lengths:?}");
                let model = |steps, batch: usize, known: &[i32]| {
                    let sizes = [steps, batch, inputs, hidden];
                    let onnx = over(operator, direction, sizes, Some(known), &mut Random::new(76));
                    Pair::new(&sandbox, &onnx, &options)
                };
                let mut random = Random::new(77);
                let mut pair = model(steps, 3, if is_known { &lengths } else { &[] });
                let mut given = pair.inputs(&mut random, Style::Tame);
                if !is_known {
                    let data = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
                    given[1] = Tensor { data, ..given[1].clone() };
                }
                assert!(pair.difference(&given) < 1e-5, "{what}");
                let last = pair.module.certificate().last_stage();
                let seen = pair.run(0..=last, &given);
                pair.assert_fuel_of_all_ranges(&mut random);
                let x = given[0].to_f32().unwrap();
                let states = seen.iter().map(|output| output.to_f32().unwrap());
                let states: Vec<Vec<f32>> = states.collect();
                // With the state of the first sequence, which is not that of the others.
                let length = lengths[0] as usize;
                let own: Vec<f32> = (0..length)
                    .flat_map(|step| x[step * 3 * inputs..][..inputs].to_vec())
                    .collect();
                let mut alone = model(length, 1, &[lengths[0]]);
                let own = Tensor::from_f32(&[length as u32, 1, inputs as u32], &own);
                let last = alone.module.certificate().last_stage();
                let wanted = alone.run(0..=last, &[own]);
                let directions = if direction == "bidirectional" { 2 } else { 1 };
                for (output, (seen, wanted)) in states.iter().zip(&wanted).enumerate() {
                    let wanted = wanted.to_f32().unwrap();
                    // Rows of the hidden size: of each step and direction, or direction.
                    for (row, wanted) in wanted.chunks(hidden).enumerate() {
                        if directions == 2 && row % 2 == 1 {
                            continue;
                        }
                        let seen = &seen[row * 3 * hidden..][..hidden];
                        let near = seen.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5);
                        assert!(near, "{what}: output {output}, {seen:?} and {wanted:?}");
                    }
                }
                let after = &states[0][length * directions * 3 * hidden..];
                let after = after.chunks(hidden).step_by(3);
                assert!(after.flatten().all(|&number| number == 0.0), "{what}");
            }
        }
    }
}
