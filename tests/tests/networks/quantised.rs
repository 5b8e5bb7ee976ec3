//! Random networks of 8-bit integers, in both formats of ONNX: operators on integers
//! (`QLinear*`), and operators on reals between `DequantizeLinear` and
//! `QuantizeLinear`; and products quantised at run time.

use leeway_tests::onnx::{Attribute, FLOAT, Graph, INT8, INT32, UINT8};
use leeway_tests::random::Random;

fn ints(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&value| value as i64).collect()
}

/// Networks that are made.
const NETWORKS: u64 = 100;

/// A tensor of integers that stand for reals.
#[derive(Clone)]
struct Value {
    name: String,
    shape: Vec<usize>,
    scale: f32,
    zero: i32,
    dtype: i32,
}

struct Network {
    graph: Graph,
    random: Random,
    values: Vec<Value>,
}

impl Network {
    /// The scale and the zero point of a value or of what becomes one, as constants.
    fn grid(&mut self, scale: f32, zero: i32, dtype: i32) -> [String; 2] {
        [self.graph.floats(&[], &[scale]), self.graph.integers(dtype, &[], &[zero])]
    }

    /// A scale, a zero point and a type for numbers of about -2 to 2.
    fn some_grid(&mut self) -> (f32, i32, i32) {
        let dtype = self.random.pick(&[INT8, UINT8]);
        let middle = if dtype == INT8 { -20 } else { 108 };
        (
            self.random.pick(&[0.01, 0.02, 1.0 / 64.0]),
            middle + self.random.within(0..=40) as i32,
            dtype,
        )
    }

    fn keep(&mut self, name: String, shape: Vec<usize>, grid: (f32, i32, i32)) -> Value {
        let (scale, zero, dtype) = grid;
        let value = Value { name, shape, scale, zero, dtype };
        self.values.push(value.clone());
        value
    }

    fn real(&mut self, value: &Value) -> String {
        let [scale, zero] = self.grid(value.scale, value.zero, value.dtype);
        self.graph.node("DequantizeLinear", &[&value.name, &scale, &zero], &[])
    }

    fn quantised(&mut self, real: &str, shape: Vec<usize>) -> Value {
        let grid = self.some_grid();
        let [scale, zero] = self.grid(grid.0, grid.1, grid.2);
        let name = self.graph.node("QuantizeLinear", &[real, &scale, &zero], &[]);
        self.keep(name, shape, grid)
    }

    /// Constant weights in integers, which keep sums of `fan_in` products near 1, their
    /// scales for each of `outputs` or for all, and their zero points.
    fn weights(&mut self, shape: &[usize], fan_in: usize, outputs: usize) -> [String; 3] {
        let count: usize = shape.iter().product();
        let numbers: Vec<i32> =
            (0..count).map(|_| self.random.within(0..=254) as i32 - 127).collect();
        let numbers = self.graph.integers(INT8, shape, &numbers);
        let scale = 1.0 / (127.0 * (fan_in as f32).sqrt());
        let outputs = if self.random.pick(&[true, false]) { outputs } else { 1 };
        let of_each = if outputs == 1 { vec![] } else { vec![outputs] };
        let scales: Vec<f32> =
            self.random.numbers(outputs).iter().map(|x| scale * (1.5 + x)).collect();
        let scales = self.graph.floats(&of_each, &scales);
        let zeros = self.graph.integers(INT8, &of_each, &vec![0; outputs]);
        [numbers, scales, zeros]
    }

    fn layer(&mut self, input: Value) -> Value {
        match (self.random.within(0..=9), input.shape.len()) {
            (0..=2, 4) => self.convolution(&input),
            (3, 4) => self.pool(&input),
            (4, 4) => {
                let real = self.real(&input);
                let flat = vec![input.shape[0], input.shape[1..].iter().product()];
                let real = self.graph.node("Flatten", &[&real], &[("axis", Attribute::Int(1))]);
                self.quantised(&real, flat)
            }
            (0..=4, _) => self.product(&input),
            (5..=6, _) => self.with_another(&input),
            _ => {
                let real = self.real(&input);
                let operator = self.random.pick(&["Relu", "LeakyRelu", "Clip", "HardSwish"]);
                let real = match operator {
                    "Clip" => {
                        let [least, most] = [0.0, 1.5].map(|x| self.graph.floats(&[], &[x]));
                        self.graph.node("Clip", &[&real, &least, &most], &[])
                    }
                    _ => self.graph.node(operator, &[&real], &[]),
                };
                self.quantised(&real, input.shape)
            }
        }
    }

    fn convolution(&mut self, input: &Value) -> Value {
        let &[n, c, h, w] = &input.shape[..] else { unreachable!("images have four axes") };
        let is_depthwise = self.random.within(0..=3) == 0;
        let k = self.random.pick(&[1, 3, 3, 5]).min(h).min(w);
        let (stride, pad) = (self.random.pick(&[1, 1, 2]), self.random.pick(&[0, k / 2]));
        let outputs = if is_depthwise { c } else { self.random.within(1..=10) };
        let inputs = if is_depthwise { 1 } else { c };
        let [weights, scales, zeros] =
            self.weights(&[outputs, inputs, k, k], inputs * k * k, outputs);
        let size = |s: usize| (s + 2 * pad - k) / stride + 1;
        let shape = vec![n, outputs, size(h), size(w)];
        let pads = ints(&[pad; 4]);
        let strides = ints(&[stride; 2]);
        let groups = if is_depthwise { c } else { 1 };
        let attributes = [
            ("pads", Attribute::Ints(&pads)),
            ("strides", Attribute::Ints(&strides)),
            ("group", Attribute::Int(groups as i64)),
        ];
        if self.random.pick(&[true, false]) {
            let real = self.real(input);
            let axis = [("axis", Attribute::Int(0))];
            let weights = self.graph.node("DequantizeLinear", &[&weights, &scales, &zeros], &axis);
            let bias = self.random.numbers(outputs);
            let bias = self.graph.floats(&[outputs], &bias);
            let mut sums = self.graph.node("Conv", &[&real, &weights, &bias], &attributes);
            if self.random.pick(&[true, false]) {
                sums = self.graph.node("Relu", &[&sums], &[]);
            }
            return self.quantised(&sums, shape);
        }
        let [scale, zero] = self.grid(input.scale, input.zero, input.dtype);
        let grid = self.some_grid();
        let [to_scale, to_zero] = self.grid(grid.0, grid.1, grid.2);
        let bias: Vec<i32> =
            (0..outputs).map(|_| self.random.within(0..=2000) as i32 - 1000).collect();
        let bias = self.graph.integers(INT32, &[outputs], &bias);
        let operands =
            [&*input.name, &scale, &zero, &weights, &scales, &zeros, &to_scale, &to_zero, &bias];
        let name = self.graph.node("QLinearConv", &operands, &attributes);
        self.keep(name, shape, grid)
    }

    fn pool(&mut self, input: &Value) -> Value {
        let &[n, c, h, w] = &input.shape[..] else { unreachable!("images have four axes") };
        let k = self.random.within(1..=h.min(w).min(3));
        let shape = vec![n, c, h / k, w / k];
        let window = ints(&[k; 2]);
        let attributes =
            [("kernel_shape", Attribute::Ints(&window)), ("strides", Attribute::Ints(&window))];
        match self.random.within(0..=2) {
            0 => {
                let name = self.graph.node("MaxPool", &[&input.name], &attributes);
                self.keep(name, shape, (input.scale, input.zero, input.dtype))
            }
            1 => {
                let real = self.real(input);
                let mean = self.graph.node("AveragePool", &[&real], &attributes);
                self.quantised(&mean, shape)
            }
            _ => {
                let real = self.real(input);
                let mean = self.graph.node("GlobalAveragePool", &[&real], &[]);
                self.quantised(&mean, vec![n, c, 1, 1])
            }
        }
    }

    fn product(&mut self, input: &Value) -> Value {
        let &[n, features] = &input.shape[..] else { unreachable!("features have two axes") };
        let outputs = self.random.within(1..=40);
        let shape = vec![n, outputs];
        let [weights, scales, zeros] = self.weights(&[features, outputs], features, outputs);
        match self.random.within(0..=2) {
            0 => {
                let [scale, zero] = self.grid(input.scale, input.zero, input.dtype);
                let grid = self.some_grid();
                let [to_scale, to_zero] = self.grid(grid.0, grid.1, grid.2);
                let operands =
                    [&*input.name, &scale, &zero, &weights, &scales, &zeros, &to_scale, &to_zero];
                let name = self.graph.node("QLinearMatMul", &operands, &[]);
                self.keep(name, shape, grid)
            }
            1 => {
                let real = self.real(input);
                let axis = [("axis", Attribute::Int(1))];
                let weights =
                    self.graph.node("DequantizeLinear", &[&weights, &scales, &zeros], &axis);
                let bias = self.random.numbers(outputs);
                let bias = self.graph.floats(&[outputs], &bias);
                let sums = self.graph.node("Gemm", &[&real, &weights, &bias], &[]);
                self.quantised(&sums, shape)
            }
            _ => {
                let real = self.real(input);
                let dynamic = self.graph.node_with("DynamicQuantizeLinear", &[&real], &[], 3);
                let operands = [&*dynamic[0], &weights, &dynamic[2]];
                let sums = self.graph.node("MatMulInteger", &operands, &[]);
                let sums =
                    self.graph.node("Cast", &[&sums], &[("to", Attribute::Int(FLOAT.into()))]);
                let scale = self.graph.node("Mul", &[&dynamic[1], &scales], &[]);
                let sums = self.graph.node("Mul", &[&sums, &scale], &[]);
                self.quantised(&sums, shape)
            }
        }
    }

    /// Joins the value with an earlier one of the same shape, or with itself.
    fn with_another(&mut self, input: &Value) -> Value {
        let fitting: Vec<Value> =
            self.values.iter().filter(|v| v.shape == input.shape).cloned().collect();
        let other = fitting[self.random.within(0..=fitting.len() - 1)].clone();
        let [one, two] = [input, &other].map(|value| self.real(value));
        let mut shape = input.shape.clone();
        let real = match self.random.within(0..=3) {
            0 if shape[1] <= 32 => {
                shape[1] *= 2;
                self.graph.node("Concat", &[&one, &two], &[("axis", Attribute::Int(1))])
            }
            1 => self.graph.node("Mul", &[&one, &two], &[]),
            _ => self.graph.node("Add", &[&one, &two], &[]),
        };
        self.quantised(&real, shape)
    }
}

/// A network and the distance of two neighbours among the numbers of its output.
fn network(seed: u64) -> (Vec<u8>, f32) {
    let mut random = Random::new(seed);
    let shape: Vec<usize> = match random.within(0..=3) {
        0 => vec![random.pick(&[1, 1, 3]), random.within(1..=50)],
        _ => {
            let size = random.within(3..=14);
            vec![random.pick(&[1, 1, 2]), random.within(1..=5), size, size + random.within(0..=3)]
        }
    };
    let mut graph = Graph::new();
    let dims: Vec<_> = shape.iter().map(|&size| size.into()).collect();
    let input = graph.input("x", FLOAT, &dims);
    let layers = random.within(2..=8);
    let mut network = Network { graph, random, values: Vec::new() };
    let mut value = network.quantised(&input, shape);
    for _ in 0..layers {
        value = network.layer(value);
    }
    let output = network.real(&value);
    (network.graph.finish(&[&output]), value.scale)
}

/// Sums of reals round in another order than tract's, so that a number may be the
/// neighbour of the one that tract has.
#[test]
fn quantised_networks_are_compiled_like_native_tract_runs_them() {
    super::check_all("quantised", NETWORKS, |seed| {
        let (onnx, step) = network(seed);
        (onnx, 2.01 * step)
    });
}
