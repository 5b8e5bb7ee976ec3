//! Random small networks: several layers of random kinds with random shapes,
//! residual connections, concatenations and branches. Each is compared with
//! native tract; fuel, cuts and Pulley are checked as for single operators.
//!
//! A failure prints the seed: `LEEWAY_SEED=N cargo test ... networks` runs that
//! network alone. Of 8-bit integers and of classical models there are some as well.

use leeway_compiler::{Options, Oracle};
use leeway_runtime::sandbox::{EngineKind, Sandbox};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, Dim, FLOAT, Graph, UINT8};
use leeway_tests::random::{Random, STYLES, Style};

#[path = "networks/classical.rs"]
mod classical;
#[path = "networks/quantised.rs"]
mod quantised;

/// Networks that are made.
const NETWORKS: u64 = 150;

/// How far outputs may be from tract's: the layers' rounding errors add up.
const TOLERANCE: f32 = 1e-4;

/// A value of the network: images as `[batch, channels, height, width]`, or
/// features as `[batch, features]`.
#[derive(Clone)]
struct Value {
    name: String,
    shape: Vec<usize>,
}

struct Network {
    graph: Graph,
    random: Random,
    values: Vec<Value>,
}

impl Network {
    fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        shape: Vec<usize>,
    ) -> Value {
        let name = self.graph.node(op, inputs, attributes);
        let value = Value { name, shape };
        self.values.push(value.clone());
        value
    }

    /// Numbers scaled so that sums of `fan_in` products stay near 1.
    fn weights(&mut self, shape: &[usize], fan_in: usize) -> String {
        let scale = 1.0 / (fan_in as f32).sqrt();
        let numbers = self.random.numbers(shape.iter().product());
        let numbers: Vec<f32> = numbers.into_iter().map(|x| x * scale).collect();
        self.graph.floats(shape, &numbers)
    }

    fn layer(&mut self, input: Value) -> Value {
        match input.shape.len() {
            4 => self.image_layer(input),
            _ => self.feature_layer(input),
        }
    }

    fn image_layer(&mut self, input: Value) -> Value {
        let &[n, c, h, w] = &input.shape[..] else { unreachable!("images have four axes") };
        let x = input.name.as_str();
        match self.random.within(0..=9) {
            0..=2 => {
                let k = self.random.pick(&[1, 3, 3, 5]).min(h).min(w);
                let stride = self.random.pick(&[1, 1, 2]);
                let pad = self.random.pick(&[0, k / 2]);
                let outputs = self.random.within(1..=10);
                let weights = self.weights(&[outputs, c, k, k], c * k * k);
                let bias = self.weights(&[outputs], 1);
                let size = |s: usize| (s + 2 * pad - k) / stride + 1;
                let pads = [pad as i64; 4];
                let strides = [stride as i64; 2];
                let attributes =
                    [("pads", Attribute::Ints(&pads)), ("strides", Attribute::Ints(&strides))];
                let shape = vec![n, outputs, size(h), size(w)];
                self.node("Conv", &[x, &weights, &bias], &attributes, shape)
            }
            3 => {
                let weights = self.weights(&[c, 1, 3, 3], 9);
                let attributes =
                    [("pads", Attribute::Ints(&[1; 4])), ("group", Attribute::Int(c as i64))];
                self.node("Conv", &[x, &weights], &attributes, input.shape.clone())
            }
            4 => {
                let op = self.random.pick(&["MaxPool", "AveragePool"]);
                let k = self.random.within(1..=h.min(w).min(3));
                let size = |s: usize| (s - k) / k + 1;
                let window = [k as i64; 2];
                let attributes = [
                    ("kernel_shape", Attribute::Ints(&window)),
                    ("strides", Attribute::Ints(&window)),
                ];
                self.node(op, &[x], &attributes, vec![n, c, size(h), size(w)])
            }
            5 => {
                let parameters: Vec<String> = (0..2).map(|_| self.weights(&[c], 1)).collect();
                let mean = self.weights(&[c], 1);
                let variance = self.graph.floats(&[c], &vec![0.75; c]);
                let inputs = [x, &parameters[0], &parameters[1], &mean, &variance];
                self.node("BatchNormalization", &inputs, &[], input.shape.clone())
            }
            6 => self.with_another(input),
            7 => {
                let flat = vec![n, c * h * w];
                self.node("Flatten", &[x], &[("axis", Attribute::Int(1))], flat)
            }
            8 => {
                let order = ("perm", Attribute::Ints(&[0, 1, 3, 2]));
                self.node("Transpose", &[x], &[order], vec![n, c, w, h])
            }
            _ => self.activation(input),
        }
    }

    fn feature_layer(&mut self, input: Value) -> Value {
        let &[n, features] = &input.shape[..] else { unreachable!("features have two axes") };
        let x = input.name.as_str();
        match self.random.within(0..=5) {
            0..=2 => {
                let outputs = self.random.within(1..=40);
                let weights = self.weights(&[features, outputs], features);
                let bias = self.weights(&[outputs], 1);
                self.node("Gemm", &[x, &weights, &bias], &[], vec![n, outputs])
            }
            3 => self.with_another(input),
            4 => self.node("Softmax", &[x], &[("axis", Attribute::Int(1))], input.shape.clone()),
            _ => self.activation(input),
        }
    }

    fn activation(&mut self, input: Value) -> Value {
        let op = self.random.pick(&["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Abs"]);
        self.node(op, &[&input.name], &[], input.shape.clone())
    }

    /// Joins the value with an earlier one of the same shape, or a constant.
    fn with_another(&mut self, input: Value) -> Value {
        let fitting: Vec<Value> =
            self.values.iter().filter(|v| v.shape == input.shape).cloned().collect();
        let x = input.name.as_str();
        if fitting.is_empty() || self.random.within(0..=3) == 0 {
            let c = input.shape[1];
            let mut shape = vec![1; input.shape.len()];
            shape[1] = c;
            let constant = self.weights(&shape, 1);
            let op = self.random.pick(&["Add", "Sub", "Mul", "Max"]);
            return self.node(op, &[x, &constant], &[], input.shape.clone());
        }
        let other = fitting[self.random.within(0..=fitting.len() - 1)].clone();
        if self.random.within(0..=2) == 0 {
            let mut shape = input.shape.clone();
            shape[1] *= 2;
            let axis = ("axis", Attribute::Int(1));
            return self.node("Concat", &[x, &other.name], &[axis], shape);
        }
        let op = self.random.pick(&["Add", "Sub", "Min", "Max"]);
        self.node(op, &[x, &other.name], &[], input.shape.clone())
    }
}

/// A network of 2 to 9 layers.
fn network(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut graph = Graph::new();
    let is_image = random.within(0..=3) > 0;
    let shape: Vec<usize> = match is_image {
        true => {
            let size = random.within(5..=18);
            vec![random.pick(&[1, 1, 2]), random.within(1..=4), size, size + random.within(0..=3)]
        }
        false => vec![random.pick(&[1, 1, 3]), random.within(1..=50)],
    };
    let dims: Vec<Dim> = shape.iter().map(|&size| size.into()).collect();
    let bytes = random.within(0..=3) == 0;
    let mut name = graph.input("x", if bytes { UINT8 } else { FLOAT }, &dims);
    if bytes {
        name = graph.node("Cast", &[&name], &[("to", Attribute::Int(i64::from(FLOAT)))]);
        let scale = graph.floats(&[], &[1.0 / 255.0]);
        name = graph.node("Mul", &[&name, &scale], &[]);
    }
    let layers = random.within(2..=9);
    let first = Value { name, shape };
    let mut network = Network { graph, random, values: vec![first.clone()] };
    let mut value = first;
    for _ in 0..layers {
        value = network.layer(value);
    }
    let mut outputs = vec![value.name.clone()];
    if network.random.within(0..=4) == 0 {
        // A second output from inside, for an early exit.
        let inner = network.values[network.values.len() / 2].name.clone();
        if inner != value.name && inner != network.values[0].name {
            outputs.push(inner);
        }
    }
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    network.graph.finish(&outputs)
}

/// Whether a model could be checked: tract 0.23's optimiser fails on a few that the
/// compiler takes. Otherwise, how far it is from native tract's numbers.
fn check(native: &Sandbox, pulley: &Sandbox, file: &str, onnx: &[u8], seed: u64) -> Option<f32> {
    let options = Options { name: "network".into(), file: file.into(), ..Options::default() };
    Oracle::new(onnx, &options).ok()?;
    let mut pair = Pair::new(native, onnx, &options);
    let mut on_pulley = Pair::new(pulley, onnx, &options);
    let mut random = Random::new(seed);
    let inputs = pair.inputs(&mut random, Style::Tame);
    let difference = pair.difference(&inputs);
    let last = pair.module.certificate().last_stage();
    for style in [Style::Tame, random.pick(&STYLES)] {
        let inputs = pair.inputs(&mut random, style);
        let (seen, wanted) = (on_pulley.run(0..=last, &inputs), pair.run(0..=last, &inputs));
        assert_eq!(seen, wanted, "{file}: Pulley on {style:?} inputs");
    }
    pair.assert_fuel_of_all_ranges(&mut random);
    Some(difference)
}

/// Checks this many models, or the one whose seed is asked for. `make` gives a model
/// and how far its outputs may be from tract's.
fn check_all(kind: &str, count: u64, make: impl Fn(u64) -> (Vec<u8>, f32)) {
    let (native, pulley) = (sandbox(EngineKind::Native), sandbox(EngineKind::Pulley));
    let checked = |seed: u64| {
        let (onnx, tolerance) = make(seed);
        let file = format!("{kind} network of LEEWAY_SEED={seed}");
        let difference = check(&native, &pulley, &file, &onnx, seed);
        let near = difference.is_none_or(|difference| difference <= tolerance);
        assert!(near, "{file}: differs from native tract by {difference:?}");
        difference.is_some()
    };
    match std::env::var("LEEWAY_SEED").ok().map(|seed| seed.parse().expect("a number")) {
        Some(seed) => assert!(checked(seed), "tract does not run this network"),
        None => {
            let checked = (0..count).filter(|&seed| checked(seed)).count();
            assert!(checked * 50 >= count as usize * 49, "{checked} of {count}");
        }
    }
}

#[test]
fn networks_are_compiled_like_native_tract_runs_them() {
    check_all("FP32", NETWORKS, |seed| (network(seed), TOLERANCE));
}
