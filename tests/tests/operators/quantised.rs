//! Operators on 8-bit integers, against what ONNX defines, computed here in the
//! plainest way: numbers equal to the bit, zero points and scales at the extremes,
//! saturation.

use leeway_compiler::{Options, compile};
use leeway_contract::{DType, Tensor};
use leeway_runtime::sandbox::{EngineKind, Sandbox};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, FLOAT, Graph, INT8, INT32, UINT8};
use leeway_tests::random::{Random, Style};

use super::dims;

/// The smallest and the largest number of a type.
fn range(dtype: i32) -> (i32, i32) {
    if dtype == INT8 { (-128, 127) } else { (0, 255) }
}

/// Integers of a type, extremes more often than others.
fn numbers(random: &mut Random, dtype: i32, count: usize) -> Vec<i32> {
    let (low, high) = range(dtype);
    (0..count)
        .map(|_| match random.within(0..=5) {
            0 => low,
            1 => high,
            _ => low + random.within(0..=255) as i32,
        })
        .collect()
}

/// The numbers of a tensor of 8- or 32-bit integers.
fn integers(tensor: &Tensor) -> Vec<i32> {
    match tensor.dtype {
        DType::I8 => tensor.data.iter().map(|&q| i32::from(q as i8)).collect(),
        DType::U8 => tensor.data.iter().map(|&q| i32::from(q)).collect(),
        DType::I32 => tensor
            .data
            .chunks_exact(4)
            .map(|q| i32::from_le_bytes(q.try_into().expect("four bytes")))
            .collect(),
        other => panic!("a tensor of {other} where one of integers is wanted"),
    }
}

/// A model beside what is expected of it.
struct Check<'a> {
    sandbox: &'a Sandbox,
    what: String,
    onnx: Vec<u8>,
}

impl Check<'_> {
    /// Compares the outputs for random inputs with what `expected` makes of those, and
    /// with native tract; then the fuel, on all ranges of stages.
    fn run(self, random: &mut Random, expected: &dyn Fn(&[Tensor]) -> Vec<f32>) {
        let options = Options { name: "test".into(), file: self.what, ..Options::default() };
        let mut pair = Pair::new(self.sandbox, &self.onnx, &options);
        let last = pair.module.certificate().last_stage();
        for style in [Style::Tame, Style::Tame, Style::Extreme] {
            let inputs = pair.inputs(random, style);
            let seen = pair.run(0..=last, &inputs).remove(0);
            let seen: Vec<f32> = match seen.dtype {
                DType::F32 => seen.to_f32().expect("a tensor of FP32"),
                _ => integers(&seen).into_iter().map(|q| q as f32).collect(),
            };
            let wanted = expected(&inputs);
            assert_eq!(seen.len(), wanted.len(), "{}", options.file);
            for (at, (seen, wanted)) in seen.iter().zip(&wanted).enumerate() {
                let same = seen == wanted || (seen.is_nan() && wanted.is_nan());
                assert!(same, "{}: at {at} {seen}, wanted {wanted}", options.file);
            }
        }
        let inputs = pair.inputs(random, Style::Tame);
        assert!(pair.difference(&inputs) <= 1e-6, "{}: native tract differs", options.file);
        pair.assert_fuel_of_all_ranges(random);
    }
}

fn quantized(x: f32, scale: f32, zero_point: i32, dtype: i32) -> i32 {
    let (low, high) = range(dtype);
    ((x / scale).round_ties_even() as f64 + f64::from(zero_point)).clamp(low.into(), high.into())
        as i32
}

/// `round(sum * scale) + zero_point`, saturated.
fn requantized(sum: i32, scale: f32, zero_point: i32, dtype: i32) -> f32 {
    let (low, high) = range(dtype);
    let rounded = f64::from((sum as f32 * scale).round_ties_even()) + f64::from(zero_point);
    rounded.clamp(low.into(), high.into()) as f32
}

#[test]
fn quantize_and_dequantize() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(80);
    for case in 0..60 {
        let dtype = random.pick(&[INT8, UINT8]);
        let rank = random.within(1..=4);
        let shape: Vec<usize> = (0..rank).map(|_| random.within(1..=7)).collect();
        let axis = random.within(0..=rank - 1);
        let per_axis = random.pick(&[true, false]) && shape[axis] > 1;
        let count = if per_axis { shape[axis] } else { 1 };
        let scales: Vec<f32> =
            (0..count).map(|_| random.pick(&[0.003, 0.02, 0.25, 1.0 / 3.0, 1e-30, 1e30])).collect();
        let zeros = numbers(&mut random, dtype, count);
        let parameter_shape = if per_axis { vec![count] } else { vec![] };
        let inner: usize = shape[axis + 1..].iter().product();
        let channel = move |at: usize| if count > 1 { at / inner % count } else { 0 };

        let mut graph = Graph::new();
        let to_integers = random.pick(&[true, false]);
        let input = graph.input("x", if to_integers { FLOAT } else { dtype }, &dims(&shape));
        let scale = graph.floats(&parameter_shape, &scales);
        let zero = graph.integers(dtype, &parameter_shape, &zeros);
        let axis = [("axis", Attribute::Int(axis as i64))];
        let operator = if to_integers { "QuantizeLinear" } else { "DequantizeLinear" };
        let output = graph.node(operator, &[&input, &scale, &zero], &axis);
        let onnx = graph.finish_typed(&[&output], if to_integers { dtype } else { FLOAT });
        let what = format!("case {case}: {operator} {shape:?} {count} scales, type {dtype}");
        Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
            if to_integers {
                let reals = inputs[0].to_f32().expect("FP32").into_iter().enumerate();
                reals
                    .map(|(at, x)| {
                        let channel = channel(at);
                        quantized(x, scales[channel], zeros[channel], dtype) as f32
                    })
                    .collect()
            } else {
                let numbers = integers(&inputs[0]).into_iter().enumerate();
                numbers
                    .map(|(at, q)| (q - zeros[channel(at)]) as f32 * scales[channel(at)])
                    .collect()
            }
        });
    }
}

#[test]
fn ties_are_rounded_to_even() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(81);
    let mut graph = Graph::new();
    let input = graph.input("x", INT8, &dims(&[1, 256]));
    let (one, two) = (graph.floats(&[], &[1.0]), graph.floats(&[], &[2.0]));
    let zero = graph.integers(INT8, &[], &[3]);
    let real = graph.node("DequantizeLinear", &[&input, &one], &[]);
    let output = graph.node("QuantizeLinear", &[&real, &two, &zero], &[]);
    let onnx = graph.finish_typed(&[&output], INT8);
    Check { sandbox: &sandbox, what: "halves".into(), onnx }.run(&mut random, &|inputs| {
        let half = |q: i32| (q as f32 / 2.0).round_ties_even() + 3.0;
        integers(&inputs[0]).into_iter().map(half).collect()
    });
}

/// Two matrices and what there is about them.
struct Product {
    left: Vec<i32>,
    right: Vec<i32>,
    m: usize,
    k: usize,
    n: usize,
}

impl Product {
    fn sums(&self, left_zero: i32, right_zeros: &[i32]) -> Vec<i32> {
        let of = |column: usize| right_zeros[column % right_zeros.len()];
        let element = |at: usize| {
            let (row, column) = (at / self.n, at % self.n);
            let products = (0..self.k).map(|i| {
                let left = self.left[row * self.k + i] - left_zero;
                left.wrapping_mul(self.right[i * self.n + column] - of(column))
            });
            products.fold(0i32, i32::wrapping_add)
        };
        (0..self.m * self.n).map(element).collect()
    }
}

#[test]
fn quantised_matrix_products() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(82);
    for case in 0..120 {
        let m = random.pick(&[1, 1, 2, 3, 5, 8]);
        let (k, n) = (random.within(1..=45), random.within(1..=45));
        let types: [i32; 3] = std::array::from_fn(|_| random.pick(&[INT8, UINT8]));
        let per_column = random.pick(&[true, false]);
        let is_constant = per_column || random.pick(&[true, false]);
        let columns = if per_column { n } else { 1 };
        let scales: Vec<f32> = (0..columns).map(|_| 0.001 * random.within(1..=9) as f32).collect();
        let [left_zero, result_zero] = [types[0], types[2]].map(|t| numbers(&mut random, t, 1)[0]);
        let right_zeros = numbers(&mut random, types[1], columns);
        let result_scale = random.pick(&[0.02, 0.5, 3.0]);
        let constant_right = numbers(&mut random, types[1], k * n);

        let mut graph = Graph::new();
        let left = graph.input("a", types[0], &dims(&[m, k]));
        let right = match is_constant {
            true => graph.integers(types[1], &[k, n], &constant_right),
            false => graph.input("b", types[1], &dims(&[k, n])),
        };
        let parameter_shape = if per_column { vec![n] } else { vec![] };
        let left_scale = graph.floats(&[], &[0.0173]);
        let left_zero_point = graph.integers(types[0], &[], &[left_zero]);
        let right_scale = graph.floats(&parameter_shape, &scales);
        let right_zero = graph.integers(types[1], &parameter_shape, &right_zeros);
        let scale = graph.floats(&[], &[result_scale]);
        let zero = graph.integers(types[2], &[], &[result_zero]);
        let integer = random.pick(&[true, false, false]);
        let output = if integer {
            let inputs = [&*left, &right, &left_zero_point, &right_zero];
            graph.node("MatMulInteger", &inputs, &[])
        } else {
            let inputs = [
                &*left,
                &left_scale,
                &left_zero_point,
                &right,
                &right_scale,
                &right_zero,
                &scale,
                &zero,
            ];
            graph.node("QLinearMatMul", &inputs, &[])
        };
        let onnx = graph.finish_typed(&[&output], if integer { INT32 } else { types[2] });
        let what = format!(
            "case {case}: {m}x{k}x{n} types {types:?} constant {is_constant} per column {per_column}"
        );
        Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
            let right = match is_constant {
                true => constant_right.clone(),
                false => integers(&inputs[1]),
            };
            let product = Product { left: integers(&inputs[0]), right, m, k, n };
            let sums = product.sums(left_zero, &right_zeros).into_iter().enumerate();
            sums.map(|(at, sum)| {
                let multiplier = 0.0173f32 * scales[at % n % columns] / result_scale;
                match integer {
                    true => sum as f32,
                    false => requantized(sum, multiplier, result_zero, types[2]),
                }
            })
            .collect()
        });
    }
}

#[test]
fn quantised_products_of_many_matrices() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(83);
    for (left, right) in [
        (vec![2, 3, 4, 5], vec![2, 3, 5, 6]),
        (vec![3, 4, 7], vec![7, 3]),
        (vec![7], vec![2, 7, 3]),
    ] {
        let mut graph = Graph::new();
        let a = graph.input("a", UINT8, &dims(&left));
        let b = graph.input("b", INT8, &dims(&right));
        let zero = graph.input("zero", UINT8, &dims(&[1]));
        let output = graph.node("MatMulInteger", &[&a, &b, &zero], &[]);
        let onnx = graph.finish_typed(&[&output], INT32);
        let what = format!("{left:?} times {right:?} with a computed zero point");
        let (m, k) = match *left {
            [k] => (1, k),
            [.., m, k] => (m, k),
            [] => unreachable!("a matrix"),
        };
        let n = right[right.len() - 1];
        Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
            let (a, b) = (integers(&inputs[0]), integers(&inputs[1]));
            let count = (a.len() / (m * k)).max(b.len() / (k * n));
            let of = |all: &[i32], size: usize, at: usize| {
                let first = at * size % all.len();
                all[first..first + size].to_vec()
            };
            let sums = (0..count).flat_map(|at| {
                let (left, right) = (of(&a, m * k, at), of(&b, k * n, at));
                Product { left, right, m, k, n }.sums(integers(&inputs[2])[0], &[0])
            });
            sums.map(|sum| sum as f32).collect()
        });
    }
}

#[test]
fn what_is_not_supported_of_quantised_operators_is_said() {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &dims(&[2, 3]));
    let scale = graph.input("s", FLOAT, &dims(&[1]));
    let output = graph.node("QuantizeLinear", &[&input, &scale], &[]);
    let message = refusal(&graph.finish_typed(&[&output], UINT8));
    for part in ["test.onnx", "quantizelinear_1", "(QuantizeLinear)", "scale", "constant"] {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }

    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &dims(&[1, 2, 3]));
    let output = graph.node("DynamicQuantizeLSTM", &[&input], &[]);
    let message = refusal(&graph.finish(&[&output]));
    for part in ["dynamicquantizelstm_1", "(DynamicQuantizeLSTM)", "LSTM in FP32"] {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

fn refusal(onnx: &[u8]) -> String {
    let options = Options { file: "test.onnx".into(), ..Options::default() };
    compile(onnx, &options).expect_err("a model that is not supported").to_string()
}

/// A convolution as its definition has it.
struct Window {
    /// Images, channels, and two spatial dimensions.
    shape: [usize; 4],
    groups: usize,
    /// Outputs, channels of a group, and two spatial dimensions.
    weights: [usize; 4],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
}

impl Window {
    fn random(random: &mut Random, rank: usize) -> Self {
        let axis = |random: &mut Random, of: &[usize], axis: usize| match axis < 2 - rank {
            true => 1,
            false => random.pick(of),
        };
        let kernel = [0, 1].map(|i| axis(random, &[1, 1, 2, 3, 3, 5], i));
        let stride = [0, 1].map(|i| axis(random, &[1, 1, 2, 3], i));
        let dilation = [0, 1].map(|i| axis(random, &[1, 1, 2], i));
        let pads = [0, 1, 2, 3].map(|i| match i % 2 < 2 - rank {
            true => 0,
            false => random.within(0..=(kernel[i % 2] - 1) * dilation[i % 2]),
        });
        let size = [0, 1].map(|i| match i < 2 - rank {
            true => 1,
            false => (kernel[i] - 1) * dilation[i] + random.within(1..=21),
        });
        let (channels, multiplier) = random.pick(&[(1, 1), (1, 1), (1, 2), (2, 3), (3, 5), (7, 9)]);
        let groups = if channels == 1 { random.within(1..=5) } else { random.within(1..=2) };
        let batch = random.within(1..=2);
        Self {
            shape: [batch, groups * channels, size[0], size[1]],
            groups,
            weights: [groups * multiplier, channels, kernel[0], kernel[1]],
            stride,
            dilation,
            pads,
        }
    }

    fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            let padded = self.shape[i + 2] + self.pads[i] + self.pads[i + 2];
            (padded - (self.weights[i + 2] - 1) * self.dilation[i] - 1) / self.stride[i] + 1
        })
    }

    /// The sums, with the output channel of each.
    fn sums(&self, images: &[i32], weights: &[i32], bias: &[i32]) -> Vec<(i32, usize)> {
        let ([batch, channels, height, width], [outputs, per_group, rows, columns]) =
            (self.shape, self.weights);
        let [out_height, out_width] = self.output();
        let mut sums = Vec::new();
        for at in 0..batch * outputs * out_height * out_width {
            let (x, y) = (at % out_width, at / out_width % out_height);
            let output = at / (out_width * out_height) % outputs;
            let image = at / (out_width * out_height * outputs);
            let group = output / (outputs / self.groups);
            let mut sum = bias[output];
            for tap in 0..per_group * rows * columns {
                let (tx, ty) = (tap % columns, tap / columns % rows);
                let channel = tap / (columns * rows);
                let row = (y * self.stride[0] + ty * self.dilation[0]).checked_sub(self.pads[0]);
                let column = (x * self.stride[1] + tx * self.dilation[1]).checked_sub(self.pads[1]);
                if let (Some(row), Some(column)) = (row, column)
                    && row < height
                    && column < width
                {
                    let of_image = image * channels + group * per_group + channel;
                    let pixel = images[(of_image * height + row) * width + column];
                    sum += pixel * weights[output * per_group * rows * columns + tap];
                }
            }
            sums.push((sum, output));
        }
        sums
    }
}

#[test]
fn quantised_convolutions() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(84);
    for case in 0..150 {
        let rank = random.within(1..=2);
        let window = Window::random(&mut random, rank);
        let integer = random.pick(&[true, false, false]);
        check_convolution(&sandbox, &mut random, &format!("case {case}"), window, rank, integer);
    }
}

#[test]
fn quantised_convolutions_by_winograds_filtering() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(90);
    let mut kernels = std::collections::BTreeSet::new();
    for case in 0..60 {
        let pads = [0; 4].map(|_| random.within(0..=2));
        let (taps, stride) = random.pick(&[(3, 1), (3, 1), (3, 1), (5, 2), (7, 2)]);
        let size = [0; 2].map(|_| random.within(taps..=37));
        // With the most, a sum may be too large for the largest tiles.
        let channels =
            if stride == 1 { &[15, 16, 31, 64, 64, 200, 600, 1600][..] } else { &[3, 8, 9] };
        let channels = random.pick(channels);
        let size = if channels > 64 { size.map(|size| size.min(8)) } else { size };
        let outputs = if stride == 1 { random.within(4..=13) } else { random.within(24..=40) };
        let window = Window {
            shape: [random.within(1..=2), channels, size[0], size[1]],
            groups: 1,
            weights: [outputs, channels, taps, taps],
            stride: [stride; 2],
            dilation: [1, 1],
            pads,
        };
        let what = format!("case {case}");
        let kernel = check_convolution(&sandbox, &mut random, &what, window, 2, false);
        kernels.insert(kernel.split(' ').take(3).collect::<Vec<_>>().join(" "));
    }
    for wanted in [
        "winograd i8 3x3",
        "winograd i8 4x4",
        "winograd i8 2x4",
        "winograd i8 4x2",
        "winograd i8 2x2",
    ] {
        assert!(kernels.contains(wanted), "{wanted} is not among {kernels:?}");
    }
}

/// Checks a convolution with random weights, to sums or to bytes, and returns its kernel.
fn check_convolution(
    sandbox: &Sandbox,
    random: &mut Random,
    what: &str,
    window: Window,
    rank: usize,
    integer: bool,
) -> String {
    let types: [i32; 3] = std::array::from_fn(|_| random.pick(&[INT8, UINT8]));
    let outputs = window.weights[0];
    let channels = if !integer && random.pick(&[true, false]) { outputs } else { 1 };
    let scales: Vec<f32> = (0..channels).map(|_| 0.001 * random.within(1..=9) as f32).collect();
    let [zero, result_zero] = [types[0], types[2]].map(|t| numbers(random, t, 1)[0]);
    // Most models' weights have none.
    let mut zeros = vec![0; channels];
    if random.pick(&[true, false]) {
        zeros = numbers(random, types[1], channels);
    }
    let weights = numbers(random, types[1], window.weights.iter().product());
    let bias: Vec<i32> = (0..outputs).map(|_| random.within(0..=9000) as i32 - 4500).collect();
    let result_scale = random.pick(&[0.02, 0.5, 3.0]);

    let mut graph = Graph::new();
    let of_rank = |shape: [usize; 4]| [&shape[..2], &shape[4 - rank..]].concat();
    let input = graph.input("x", types[0], &dims(&of_rank(window.shape)));
    let w = graph.integers(types[1], &of_rank(window.weights), &weights);
    let parameter_shape = if channels > 1 { vec![channels] } else { vec![] };
    let input_zero = graph.integers(types[0], &[], &[zero]);
    let weight_zeros = graph.integers(types[1], &parameter_shape, &zeros);
    let lists = [window.stride, window.dilation].map(|list| super::ints(&list[2 - rank..]));
    let pads = match rank {
        1 => super::ints(&[window.pads[1], window.pads[3]]),
        _ => super::ints(&window.pads),
    };
    let attributes = [
        ("strides", Attribute::Ints(&lists[0])),
        ("dilations", Attribute::Ints(&lists[1])),
        ("pads", Attribute::Ints(&pads)),
        ("group", Attribute::Int(window.groups as i64)),
    ];
    let output = if integer {
        graph.node("ConvInteger", &[&input, &w, &input_zero, &weight_zeros], &attributes)
    } else {
        let scale = graph.floats(&[], &[0.0173]);
        let w_scale = graph.floats(&parameter_shape, &scales);
        let y_scale = graph.floats(&[], &[result_scale]);
        let y_zero = graph.integers(types[2], &[], &[result_zero]);
        let b = graph.integers(INT32, &[outputs], &bias);
        let inputs =
            [&input, &scale, &input_zero, &w, &w_scale, &weight_zeros, &y_scale, &y_zero, &b];
        graph.node("QLinearConv", &inputs.map(String::as_str), &attributes)
    };
    let onnx = graph.finish_typed(&[&output], if integer { INT32 } else { types[2] });
    let what = format!(
        "{what}: {:?} * {:?} stride {:?} dilation {:?} pads {:?} groups {} types {types:?}",
        window.shape, window.weights, window.stride, window.dilation, window.pads, window.groups
    );
    let per_output = weights.len() / outputs;
    let weights: Vec<i32> =
        weights.iter().enumerate().map(|(at, w)| w - zeros[at / per_output % channels]).collect();
    let kernel = kernels(&onnx).remove(0);
    Check { sandbox, what, onnx }.run(random, &|inputs| {
        let images: Vec<i32> = integers(&inputs[0]).into_iter().map(|q| q - zero).collect();
        let bias = if integer { vec![0; outputs] } else { bias.clone() };
        let sums = window.sums(&images, &weights, &bias).into_iter();
        sums.map(|(sum, output)| {
            let multiplier = 0.0173f32 * scales[output % channels] / result_scale;
            match integer {
                true => sum as f32,
                false => requantized(sum, multiplier, result_zero, types[2]),
            }
        })
        .collect()
    });
    kernel
}

#[test]
fn maxima_over_windows_of_bytes() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(85);
    for case in 0..60 {
        let dtype = random.pick(&[INT8, UINT8]);
        let rank = random.within(1..=2);
        let kernel: Vec<usize> = (0..rank).map(|_| random.within(1..=4)).collect();
        let stride: Vec<usize> = (0..rank).map(|_| random.within(1..=3)).collect();
        let dilation: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 1, 2])).collect();
        let pads: Vec<i64> =
            (0..2 * rank).map(|i| random.within(0..=kernel[i % rank] - 1) as i64).collect();
        let mut shape = vec![random.within(1..=2), random.within(1..=5)];
        shape.extend((0..rank).map(|axis| kernel[axis] * dilation[axis] + random.within(0..=40)));
        let ceil = random.within(0..=1) as i64;
        let mut graph = Graph::new();
        let input = graph.input("x", dtype, &dims(&shape));
        let lists = [&kernel, &stride, &dilation].map(|list| super::ints(list));
        let attributes = [
            ("kernel_shape", Attribute::Ints(&lists[0])),
            ("strides", Attribute::Ints(&lists[1])),
            ("dilations", Attribute::Ints(&lists[2])),
            ("pads", Attribute::Ints(&pads)),
            ("ceil_mode", Attribute::Int(ceil)),
        ];
        let output = graph.node("MaxPool", &[&input], &attributes);
        let what = format!(
            "case {case}: {shape:?} window {kernel:?} stride {stride:?} dilation {dilation:?} pads \
             {pads:?} ceil {ceil} type {dtype}"
        );
        super::check(&sandbox, &what, &graph.finish_typed(&[&output], dtype), &mut random);
    }
}

/// The scale and zero point of a tensor, as constants of a graph.
#[derive(Clone, Copy)]
struct Linear {
    scale: f32,
    zero_point: i32,
    dtype: i32,
}

impl Linear {
    fn random(random: &mut Random, scales: &[f32]) -> Self {
        let dtype = random.pick(&[INT8, UINT8]);
        Self { scale: random.pick(scales), zero_point: numbers(random, dtype, 1)[0], dtype }
    }

    fn constants(self, graph: &mut Graph) -> [String; 2] {
        let scale = graph.floats(&[], &[self.scale]);
        [scale, graph.integers(self.dtype, &[], &[self.zero_point])]
    }

    fn dequantize(self, graph: &mut Graph, value: &str) -> String {
        let [scale, zero] = self.constants(graph);
        graph.node("DequantizeLinear", &[value, &scale, &zero], &[])
    }

    fn quantize(self, graph: &mut Graph, value: &str) -> String {
        let [scale, zero] = self.constants(graph);
        graph.node("QuantizeLinear", &[value, &scale, &zero], &[])
    }

    fn real(self, q: i32) -> f32 {
        (q - self.zero_point) as f32 * self.scale
    }

    fn integer(self, x: f32) -> f32 {
        quantized(x, self.scale, self.zero_point, self.dtype) as f32
    }
}

#[test]
fn operators_of_onnx_runtime() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(86);
    for case in 0..60 {
        let operator = random.pick(&["QLinearAdd", "QLinearMul", "QLinearLeakyRelu"]);
        let shape = [1, random.within(1..=5), random.within(1..=9)];
        let scales = [0.01, 0.0625, 0.3];
        let [a, b, y] = std::array::from_fn(|_| Linear::random(&mut random, &scales));
        let mut graph = Graph::new();
        let left = graph.input("a", a.dtype, &dims(&shape));
        let mut inputs = vec![left];
        inputs.extend(a.constants(&mut graph));
        if operator != "QLinearLeakyRelu" {
            inputs.push(graph.input("b", b.dtype, &dims(&shape[1..])));
            inputs.extend(b.constants(&mut graph));
        }
        inputs.extend(y.constants(&mut graph));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let alpha = [("alpha", Attribute::Float(0.25))];
        let attributes = if operator == "QLinearLeakyRelu" { &alpha[..] } else { &[] };
        let output = graph.node(operator, &inputs, attributes);
        let onnx = graph.finish_typed(&[&output], y.dtype);
        let what = format!("case {case}: {operator} of {shape:?}");
        Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
            let left = integers(&inputs[0]);
            let right = inputs.get(1).map(integers);
            let of = |(at, &left): (usize, &i32)| {
                let left = a.real(left);
                let right = right.as_ref().map_or(0.0, |right| b.real(right[at % right.len()]));
                y.integer(match operator {
                    "QLinearAdd" => left + right,
                    "QLinearMul" => left * right,
                    _ => left.max(0.0) + 0.25 * left.min(0.0),
                })
            };
            left.iter().enumerate().map(of).collect()
        });
    }
}

#[test]
fn means_of_quantised_images() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(87);
    for (case, shape) in
        [[1, 3, 7, 7], [2, 5, 4, 4], [1, 6, 1, 1], [1, 9, 3, 5], [1, 1, 13, 20]].iter().enumerate()
    {
        for operator in ["QLinearGlobalAveragePool", "QLinearAveragePool", "GlobalAveragePool"] {
            let [x, y] = std::array::from_fn(|_| Linear::random(&mut random, &[0.02, 0.1]));
            let mut graph = Graph::new();
            let input = graph.input("x", x.dtype, &dims(shape));
            let output = if operator.starts_with("QLinear") {
                let mut inputs = vec![input];
                inputs.extend(x.constants(&mut graph));
                inputs.extend(y.constants(&mut graph));
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let window = super::ints(&shape[2..]);
                let attribute = [("kernel_shape", Attribute::Ints(&window))];
                let is_global = operator.contains("Global");
                graph.node(operator, &inputs, if is_global { &[] } else { &attribute })
            } else {
                let real = x.dequantize(&mut graph, &input);
                let mean = graph.node(operator, &[&real], &[]);
                y.quantize(&mut graph, &mean)
            };
            let onnx = graph.finish_typed(&[&output], y.dtype);
            let what = format!("case {case}: {operator} of {shape:?}");
            let pixels = shape[2] * shape[3];
            Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
                let numbers = integers(&inputs[0]);
                let sums = numbers
                    .chunks(pixels)
                    .map(|channel| channel.iter().map(|q| q - x.zero_point).sum::<i32>());
                let scale = x.scale / (y.scale * pixels as f32);
                sums.map(|sum| requantized(sum, scale, y.zero_point, y.dtype)).collect()
            });
        }
    }
}

/// The kernels of a model.
fn kernels(onnx: &[u8]) -> Vec<String> {
    let options = Options { name: "test".into(), ..Options::default() };
    let compiled = compile(onnx, &options).expect("a model that is supported");
    let layers = compiled.certificate().stages.iter().flat_map(|stage| &stage.layers);
    layers.map(|layer| layer.kernel.clone()).collect()
}

#[test]
fn a_convolution_between_dequantize_and_quantize_is_one_of_integers() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(88);
    for case in 0..60 {
        let window = Window::random(&mut random, 2);
        let outputs = window.weights[0];
        let [x, y] = std::array::from_fn(|_| Linear::random(&mut random, &[0.01, 0.05]));
        let scales: Vec<f32> = (0..outputs).map(|_| 0.001 * random.within(1..=9) as f32).collect();
        let weights = numbers(&mut random, INT8, window.weights.iter().product());
        let bias: Vec<i32> = (0..outputs).map(|_| random.within(0..=9000) as i32 - 4500).collect();
        let clamp = random.pick(&["", "Relu", "Clip"]);
        let quantizes = random.pick(&[true, true, false]);

        let mut graph = Graph::new();
        let input = graph.input("x", x.dtype, &dims(&window.shape));
        let image = x.dequantize(&mut graph, &input);
        let image = graph.node("Identity", &[&image], &[]);
        let w_scale = graph.floats(&[outputs], &scales);
        let w_zero = graph.integers(INT8, &[outputs], &vec![0; outputs]);
        let axis = [("axis", Attribute::Int(0))];
        let w = if random.pick(&[true, false]) {
            graph.integers(INT8, &window.weights, &weights)
        } else {
            // As PyTorch writes them.
            let per_output = weights.len() / outputs;
            let real = |(at, &w): (usize, &i32)| w as f32 * scales[at / per_output];
            let reals: Vec<f32> = weights.iter().enumerate().map(real).collect();
            let reals = graph.floats(&window.weights, &reals);
            graph.node("QuantizeLinear", &[&reals, &w_scale, &w_zero], &axis)
        };
        let w = graph.node("DequantizeLinear", &[&w, &w_scale, &w_zero], &axis);
        let of_sums: Vec<f32> = scales.iter().map(|scale| x.scale * scale).collect();
        let b = graph.integers(INT32, &[outputs], &bias);
        let b_scale = graph.floats(&[outputs], &of_sums);
        let b = graph.node("DequantizeLinear", &[&b, &b_scale], &axis);
        let lists = [window.stride, window.dilation].map(|list| super::ints(&list));
        let pads = super::ints(&window.pads);
        let attributes = [
            ("strides", Attribute::Ints(&lists[0])),
            ("dilations", Attribute::Ints(&lists[1])),
            ("pads", Attribute::Ints(&pads)),
            ("group", Attribute::Int(window.groups as i64)),
        ];
        let mut output = graph.node("Conv", &[&image, &w, &b], &attributes);
        let bounds = match clamp {
            "Relu" => (0.0, f32::INFINITY),
            "Clip" => (-0.5, 1.5),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        };
        if clamp == "Clip" {
            let (low, high) = (graph.floats(&[], &[bounds.0]), graph.floats(&[], &[bounds.1]));
            output = graph.node(clamp, &[&output, &low, &high], &[]);
        } else if !clamp.is_empty() {
            output = graph.node(clamp, &[&output], &[]);
        }
        if quantizes {
            output = y.quantize(&mut graph, &output);
        }
        let onnx = graph.finish_typed(&[&output], if quantizes { y.dtype } else { FLOAT });
        let seen = kernels(&onnx);
        let is_integer = seen.len() == 1 && seen[0].contains(" i8 ");
        assert!(is_integer, "case {case}: {seen:?} instead of one kernel");
        let what = format!("case {case}: {:?} * {:?} {clamp}", window.shape, window.weights);
        Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
            let images = integers(&inputs[0]).into_iter().map(|q| q - x.zero_point);
            let sums = window.sums(&images.collect::<Vec<_>>(), &weights, &bias).into_iter();
            sums.map(|(sum, output)| {
                if !quantizes {
                    return (sum as f32 * of_sums[output]).clamp(bounds.0, bounds.1);
                }
                let number = requantized(sum, of_sums[output] / y.scale, y.zero_point, y.dtype);
                number.clamp(y.integer(bounds.0), y.integer(bounds.1))
            })
            .collect()
        });
    }
}

#[test]
fn what_only_moves_elements_moves_integers() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(89);
    let x = Linear { scale: 0.05, zero_point: 3, dtype: UINT8 };
    let y = Linear { scale: 0.08, zero_point: -7, dtype: INT8 };
    let mut graph = Graph::new();
    let input = graph.input("x", UINT8, &dims(&[1, 4, 6, 6]));
    let real = x.dequantize(&mut graph, &input);
    let window =
        [("kernel_shape", Attribute::Ints(&[2, 2])), ("strides", Attribute::Ints(&[2, 2]))];
    let pooled = graph.node("MaxPool", &[&real], &window);
    let perm = [("perm", Attribute::Ints(&[0, 2, 3, 1]))];
    let moved = graph.node("Transpose", &[&pooled], &perm);
    let same = x.quantize(&mut graph, &moved);
    let same = x.dequantize(&mut graph, &same);
    let joined = graph.node("Concat", &[&moved, &same], &[("axis", Attribute::Int(3))]);
    let output = y.quantize(&mut graph, &joined);
    let onnx = graph.finish_typed(&[&output], INT8);
    let seen = kernels(&onnx);
    let reals = seen.iter().filter(|kernel| kernel.starts_with("map")).count();
    assert!(reals <= 2, "{seen:?} has more work on reals than the changes of scale");
    Check { sandbox: &sandbox, what: "moves".into(), onnx }.run(&mut random, &|inputs| {
        let image = integers(&inputs[0]);
        let pooled = |channel: usize, at: usize| {
            let first = channel * 36 + at / 3 * 12 + at % 3 * 2;
            [0, 1, 6, 7].into_iter().map(|tap| image[first + tap]).max().expect("four")
        };
        let pixels = (0..9).flat_map(|at| (0..8).map(move |channel| (channel % 4, at)));
        pixels.map(|(channel, at)| y.integer(x.real(pooled(channel, at)))).collect()
    });
}

#[test]
fn tensors_are_quantised_by_their_own_scale() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(90);
    for count in [1, 3, 4, 5, 15, 16, 17, 31, 64, 100] {
        // The integers, the scale, the zero point, and one of them alone.
        for output in 0..3 {
            let mut graph = Graph::new();
            let input = graph.input("x", FLOAT, &dims(&[1, count]));
            let outputs = graph.node_with_outputs("DynamicQuantizeLinear", &[&input], 3);
            let dtype = [UINT8, FLOAT, UINT8][output];
            let onnx = graph.finish_typed(&[&outputs[output]], dtype);
            let what = format!("output {output} of {count} elements");
            Check { sandbox: &sandbox, what, onnx }.run(&mut random, &|inputs| {
                let numbers = inputs[0].to_f32().expect("FP32");
                let least = numbers.iter().copied().fold(0.0, f32::min);
                let most = numbers.iter().copied().fold(0.0, f32::max);
                let scale = if least == most { 1.0 } else { (most - least) / 255.0 };
                let zero = (-least / scale).clamp(0.0, 255.0).round_ties_even();
                match output {
                    0 => numbers
                        .iter()
                        .map(|x| quantized(*x, scale, zero as i32, UINT8) as f32)
                        .collect(),
                    1 => vec![scale],
                    _ => vec![zero as i32 as f32],
                }
            });
        }
    }
}
