//! Convolutions whose kernels have forms of their own: by Winograd's filtering, on
//! shapes at which its tiles, strips and blocks end differently.

use leeway_compiler::Options;
use leeway_runtime::sandbox::{EngineKind, Limits};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::{Random, STYLES, Style};

use super::{check, dims, ints};

#[test]
fn with_enough_channels_for_winograds_filtering() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(80);
    for case in 0..60 {
        let groups = random.pick(&[1, 1, 1, 2]);
        let batch = random.pick(&[1, 1, 2]);
        // With many, the weights are transformed at run time.
        let (inputs, outputs) = match random.within(0..=5) {
            0 => (groups * 151, groups * random.pick(&[133, 144])),
            _ => (groups * random.pick(&[8, 13, 16, 24, 40]), groups * random.pick(&[8, 11, 32])),
        };
        let taps = random.pick(&[[3, 3], [3, 3], [3, 3], [5, 5], [1, 3], [3, 1], [3, 5], [1, 5]]);
        let size = [random.within(1..=19), random.within(1..=37)];
        let size = [size[0] + taps[0] - 1, size[1] + taps[1] - 1];
        let pads: Vec<i64> = (0..4).map(|i| random.within(0..=taps[i % 2] - 1) as i64).collect();
        let mut graph = Graph::new();
        let shape = [batch, inputs, size[0], size[1]];
        let x = graph.input("x", FLOAT, &dims(&shape));
        let weight_shape = [outputs, inputs / groups, taps[0], taps[1]];
        let numbers = random.numbers(weight_shape.iter().product());
        // So that the outputs are about as large as the inputs.
        let size = (inputs / groups * taps[0] * taps[1]) as f32;
        let numbers: Vec<f32> = numbers.iter().map(|n| n / size.sqrt()).collect();
        let weights = graph.floats(&weight_shape, &numbers);
        let bias = graph.floats(&[outputs], &random.numbers(outputs));
        let attributes = [
            ("kernel_shape", Attribute::Ints(&ints(&taps))),
            ("pads", Attribute::Ints(&pads)),
            ("group", Attribute::Int(groups as i64)),
        ];
        let output = graph.node("Conv", &[&x, &weights, &bias], &attributes);
        let output = graph.node(random.pick(&["Relu", "Sigmoid"]), &[&output], &[]);
        let what = format!("case {case}: {shape:?} * {weight_shape:?} pads {pads:?} in {groups}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn without_a_window_by_pixels() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(84);
    let mut by_pixels = 0;
    // Where there are enough channels for it.
    for case in 0..20 {
        let batch = random.pick(&[1, 1, 2, 3]);
        let inputs = random.pick(&[5, 67, 131, 203]);
        let outputs = random.pick(&[129, 130, 200]);
        let size = random.pick(&[[7, 7], [5, 5], [7, 3], [1, 13], [9, 9], [3, 3]]);
        let mut graph = Graph::new();
        let shape = [batch, inputs, size[0], size[1]];
        let x = graph.input("x", FLOAT, &dims(&shape));
        let numbers: Vec<f32> = random.numbers(inputs * outputs);
        let numbers: Vec<f32> = numbers.iter().map(|n| n / (inputs as f32).sqrt()).collect();
        let weights = graph.floats(&[outputs, inputs, 1, 1], &numbers);
        let bias = graph.floats(&[outputs], &random.numbers(outputs));
        let output = graph.node("Conv", &[&x, &weights, &bias], &[]);
        let output = graph.node(random.pick(&["Relu", "Sigmoid"]), &[&output], &[]);
        let onnx = graph.finish(&[&output]);
        let what = format!("case {case}: {shape:?} to {outputs}");
        check(&sandbox, &what, &onnx, &mut random);
        let options = Options { name: "test".into(), ..Options::default() };
        let certificate = leeway_compiler::compile(&onnx, &options).unwrap().seal(&[]).certificate;
        let mut layers = certificate.stages.iter().flat_map(|stage| &stage.layers);
        by_pixels += usize::from(layers.any(|layer| layer.kernel.contains("by pixels")));
    }
    assert!(by_pixels > 3, "{by_pixels} of 20 are computed so");
}

/// A large image to fewer channels: all of these are computed for a few pixels at a time.
#[test]
fn without_a_window_to_fewer_channels() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(86);
    for (batch, groups, outputs, size) in
        [(1, 1, 13, [27, 31]), (2, 1, 3, [29, 30]), (1, 2, 7, [31, 33]), (2, 2, 24, [1, 901])]
    {
        let inputs = 24;
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[batch, groups * inputs, size[0], size[1]]));
        let numbers = random.numbers(groups * outputs * inputs);
        let numbers: Vec<f32> = numbers.iter().map(|n| n / (inputs as f32).sqrt()).collect();
        let weights = graph.floats(&[groups * outputs, inputs, 1, 1], &numbers);
        let bias = graph.floats(&[groups * outputs], &random.numbers(groups * outputs));
        let group = [("group", Attribute::Int(groups as i64))];
        let output = graph.node("Conv", &[&x, &weights, &bias], &group);
        let output = graph.node("Relu", &[&output], &[]);
        let what = format!("{batch} of {groups}x{inputs} to {outputs}, {size:?}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn with_computed_weights() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(85);
    for case in 0..40 {
        let groups = random.pick(&[1, 1, 2, 3]);
        let batch = random.pick(&[1, 1, 2]);
        let (inputs, outputs) = (groups * random.within(1..=5), groups * random.within(1..=7));
        let axes = random.within(1..=2);
        let each = |random: &mut Random, of: &[usize]| -> Vec<usize> {
            (0..axes).map(|_| random.pick(of)).collect()
        };
        let taps = each(&mut random, &[1, 2, 3, 5]);
        let (strides, dilations) =
            (each(&mut random, &[1, 1, 2, 3]), each(&mut random, &[1, 1, 2]));
        let reach = |axis: usize| (taps[axis] - 1) * dilations[axis] + 1;
        let size: Vec<usize> = (0..axes).map(|at| reach(at) - 1 + random.within(1..=9)).collect();
        let pads: Vec<usize> =
            (0..2 * axes).map(|at| random.within(0..=reach(at % axes) - 1)).collect();
        let mut graph = Graph::new();
        let shape = [&[batch, inputs], &size[..]].concat();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let of_weights = [&[outputs, inputs / groups], &taps[..]].concat();
        let weights = graph.input("w", FLOAT, &dims(&of_weights));
        let bias = match random.pick(&[0, 1, 2]) {
            0 => None,
            1 => Some(graph.floats(&[outputs], &random.numbers(outputs))),
            _ => Some(graph.input("b", FLOAT, &dims(&[outputs]))),
        };
        let attributes = [
            ("pads", Attribute::Ints(&ints(&pads))),
            ("strides", Attribute::Ints(&ints(&strides))),
            ("dilations", Attribute::Ints(&ints(&dilations))),
            ("group", Attribute::Int(groups as i64)),
        ];
        let operands: Vec<&str> = [Some(&x), Some(&weights), bias.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let output = graph.node("Conv", &operands, &attributes);
        let output = graph.node("Relu", &[&output], &[]);
        let what = format!("case {case}: {shape:?} * {of_weights:?} in {groups} by {strides:?}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn of_each_channel_by_itself() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(83);
    for case in 0..60 {
        let channels = random.within(2..=9);
        let taps = [random.within(1..=6), random.within(1..=6)];
        let stride = [random.within(1..=3), random.within(1..=3)];
        let dilation = [random.pick(&[1, 1, 2]), random.pick(&[1, 1, 2])];
        let reach = [0, 1].map(|axis| (taps[axis] - 1) * dilation[axis] + 1);
        let size = reach.map(|reach| reach - 1 + random.within(1..=19));
        let pads: Vec<i64> = (0..4).map(|i| random.within(0..=reach[i % 2] - 1) as i64).collect();
        let mut graph = Graph::new();
        let shape = [random.within(1..=2), channels, size[0], size[1]];
        let x = graph.input("x", FLOAT, &dims(&shape));
        let weight_shape = [channels, 1, taps[0], taps[1]];
        let numbers = random.numbers(weight_shape.iter().product());
        let weights = graph.floats(&weight_shape, &numbers);
        let bias = graph.floats(&[channels], &random.numbers(channels));
        let attributes = [
            ("kernel_shape", Attribute::Ints(&ints(&taps))),
            ("strides", Attribute::Ints(&ints(&stride))),
            ("dilations", Attribute::Ints(&ints(&dilation))),
            ("pads", Attribute::Ints(&pads)),
            ("group", Attribute::Int(channels as i64)),
        ];
        let output = graph.node("Conv", &[&x, &weights, &bias], &attributes);
        let output = graph.node(random.pick(&["Relu", "Sigmoid"]), &[&output], &[]);
        let what = format!(
            "case {case}: {shape:?} * {weight_shape:?} stride {stride:?} dilation {dilation:?} \
             pads {pads:?}"
        );
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

/// The largest difference from a convolution in `f64`, relative to the root mean
/// square of its outputs: of the component, and of native tract. Both are about as
/// small as each other.
#[test]
fn winograds_filtering_is_about_as_exact_as_the_sum() {
    const SIZE: usize = 16;
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(81);
    for (inputs, taps) in [(16, 3), (64, 3), (256, 3), (16, 5), (64, 5)] {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[1, inputs, SIZE, SIZE]));
        let numbers = random.numbers(8 * inputs * taps * taps);
        let weights = graph.floats(&[8, inputs, taps, taps], &numbers);
        let pads = [(taps / 2) as i64; 4];
        let output = graph.node("Conv", &[&x, &weights], &[("pads", Attribute::Ints(&pads))]);
        let options = Options { name: "test".into(), ..Options::default() };
        let mut pair = Pair::new(&sandbox, &graph.finish(&[&output]), &options);
        let kernel = &pair.sealed.certificate.stages[0].layers[0].kernel;
        assert!(kernel.starts_with("winograd"), "{kernel}");
        let tensors = pair.inputs(&mut random, Style::Tame);
        let image = tensors[0].to_f32().expect("the input is FP32");
        let pixel = |channel: usize, y: usize, x: usize| {
            let (y, x) = (y.checked_sub(taps / 2)?, x.checked_sub(taps / 2)?);
            let inside = y < SIZE && x < SIZE;
            inside.then(|| f64::from(image[(channel * SIZE + y) * SIZE + x]))
        };
        let wanted: Vec<f64> = (0..8 * SIZE * SIZE)
            .map(|at| {
                let (output, y, x) = (at / SIZE / SIZE, at / SIZE % SIZE, at % SIZE);
                let products = (0..inputs * taps * taps).filter_map(|i| {
                    let (channel, ty, tx) = (i / taps / taps, i / taps % taps, i % taps);
                    let weight = f64::from(numbers[output * inputs * taps * taps + i]);
                    Some(weight * pixel(channel, y + ty, x + tx)?)
                });
                products.sum()
            })
            .collect();
        let mean_square = wanted.iter().map(|w| w * w).sum::<f64>() / wanted.len() as f64;
        let error = |seen: &[f32]| {
            let pairs = seen.iter().zip(&wanted);
            let largest = pairs.map(|(&s, w)| (f64::from(s) - w).abs()).fold(0.0, f64::max);
            largest / mean_square.sqrt()
        };
        let run = pair.instance.run(0..=0, &tensors, &Limits::default()).expect("it runs");
        let seen = error(&run.outputs[0].to_f32().expect("the output is FP32"));
        let tract = pair.oracle.run(&tensors).expect("tract runs");
        let direct = error(&tract[0].to_f32().expect("the output is FP32"));
        println!("{taps}x{taps} of {inputs}: {seen:.1e}, direct {direct:.1e}");
        assert!(seen < 2e-5, "{taps}x{taps} of {inputs}: {seen:.1e}, direct {direct:.1e}");
    }
}

#[test]
fn native_code_and_pulley_give_the_same_bits() {
    let (native, pulley) = (sandbox(EngineKind::Native), sandbox(EngineKind::Pulley));
    let mut random = Random::new(82);
    for case in 0..24 {
        let (groups, each) = random.pick(&[(1, 9), (1, 16), (2, 8), (24, 1)]);
        let channels = groups * each;
        let taps = random.pick(&[1, 3, 3, 5]);
        let stride = random.pick(&[1, 1, 2]);
        let size = [random.within(5..=21), random.within(5..=21)];
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[1, channels, size[0], size[1]]));
        let weight_shape = [channels, each, taps, taps];
        let numbers = random.numbers(weight_shape.iter().product());
        let weights = graph.floats(&weight_shape, &numbers);
        let pads: Vec<i64> = (0..4).map(|_| random.within(0..=taps - 1) as i64).collect();
        let attributes = [
            ("pads", Attribute::Ints(&pads)),
            ("strides", Attribute::Ints(&[stride, stride])),
            ("group", Attribute::Int(groups as i64)),
        ];
        let output = graph.node("Conv", &[&x, &weights], &attributes);
        let pool = [("kernel_shape", Attribute::Ints(&[2, 2]))];
        let output = graph.node(random.pick(&["MaxPool", "AveragePool"]), &[&output], &pool);
        let onnx = graph.finish(&[&output]);
        let options = Options { name: "test".into(), ..Options::default() };
        let mut pair = Pair::new(&native, &onnx, &options);
        let mut other = Pair::new(&pulley, &onnx, &options);
        let last = pair.module.certificate().last_stage();
        for style in STYLES {
            let inputs = pair.inputs(&mut random, style);
            let (native, pulley) = (pair.run(0..=last, &inputs), other.run(0..=last, &inputs));
            assert_eq!(native, pulley, "case {case}, {style:?} inputs");
        }
    }
}
