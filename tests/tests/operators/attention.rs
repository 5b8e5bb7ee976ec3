//! What a transformer is made of: products of computed matrices, embeddings,
//! normalisation, and all of it together.

use leeway_compiler::Options;
use leeway_contract::{DType, Tensor};
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, relative, sandbox};
use leeway_tests::onnx::{Attribute, BOOL, FLOAT, Graph, INT32, INT64};
use leeway_tests::random::{Random, Style};

use super::{check, dims};

#[test]
fn products_of_two_computed_tensors() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(50);
    for case in 0..60 {
        let [m, k, n] = std::array::from_fn(|_| random.within(1..=21));
        let batch: Vec<usize> = (0..random.within(0..=2)).map(|_| random.within(1..=3)).collect();
        // A batch axis of one operand may be 1, and broadcast.
        let mut other = batch.clone();
        if let Some(first) = other.first_mut()
            && random.pick(&[true, false])
        {
            *first = 1;
        }
        let mut graph = Graph::new();
        let a = graph.input("a", FLOAT, &dims(&[&batch[..], &[m, k]].concat()));
        let swapped = random.pick(&[true, false]);
        let right = if swapped { [n, k] } else { [k, n] };
        let mut b = graph.input("b", FLOAT, &dims(&[&other[..], &right].concat()));
        if swapped {
            let mut order: Vec<i64> = (0..other.len() as i64 + 2).collect();
            order.swap(other.len(), other.len() + 1);
            b = graph.node("Transpose", &[&b], &[("perm", Attribute::Ints(&order))]);
        }
        let product = graph.node("MatMul", &[&a, &b], &[]);
        let output = graph.node("Relu", &[&product], &[]);
        let what = format!("case {case}: {batch:?}x{m}x{k}x{n} swapped {swapped}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn einstein_sums_with_moved_axes() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(51);
    for equation in
        ["bhid,bhjd->bhij", "bhij,bhjd->bihd", "bi,bj->bij", "bik,bkj->jbi", "ij,jk->ik"]
    {
        let (inputs, _) = equation.split_once("->").unwrap();
        let shape = |letters: &str| -> Vec<usize> {
            letters.bytes().map(|c| [2, 4, 5, 3][c as usize % 4]).collect()
        };
        let (a, b) = inputs.split_once(',').unwrap();
        let mut graph = Graph::new();
        let a = graph.input("a", FLOAT, &dims(&shape(a)));
        let b = graph.input("b", FLOAT, &dims(&shape(b)));
        let attributes = [("equation", Attribute::String(equation))];
        let output = graph.node("Einsum", &[&a, &b], &attributes);
        check(&sandbox, equation, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn layer_normalisation_and_gelu() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(52);
    for size in [1, 3, 16, 37, 130] {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[2, 5, size]));
        let scale = graph.floats(&[size], &random.numbers(size));
        let shift = graph.floats(&[size], &random.numbers(size));
        let normal = graph.node("LayerNormalization", &[&x, &scale, &shift], &[]);
        let output = gelu(&mut graph, &normal);
        check(&sandbox, &format!("layer norm {size}"), &graph.finish(&[&output]), &mut random);
    }
}

/// What takes the mean, divides, scales and shifts, is one kernel, also as exporters write
/// it before opset 17, and along an axis that is not the last.
#[test]
fn normalisation_in_one_kernel() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(55);
    for shape in [[3, 4, 1], [1, 9, 35], [7, 67, 5]] {
        for axis in [1, 2] {
            let size = shape[axis];
            let mut graph = Graph::new();
            let x = graph.input("x", FLOAT, &dims(&shape));
            let along = [("axes", Attribute::Ints(&[axis as i64]))];
            let mean = graph.node("ReduceMean", &[&x], &along);
            let centred = graph.node("Sub", &[&x, &mean], &[]);
            let two = graph.floats(&[], &[2.0]);
            let squares = graph.node("Pow", &[&centred, &two], &[]);
            let square = graph.node("ReduceMean", &[&squares], &along);
            let epsilon = graph.floats(&[], &[1e-5]);
            let above = graph.node("Add", &[&square, &epsilon], &[]);
            let root = graph.node("Sqrt", &[&above], &[]);
            let normal = graph.node("Div", &[&centred, &root], &[]);
            let mut affine = [1, 1, 1];
            affine[axis] = size;
            let scale = graph.floats(&affine, &random.numbers(size));
            let scaled = graph.node("Mul", &[&normal, &scale], &[]);
            let shift = graph.floats(&affine, &random.numbers(size));
            let output = graph.node("Add", &[&scaled, &shift], &[]);
            let onnx = graph.finish(&[&output]);
            let what = format!("normalisation of {shape:?} along {axis}");
            check(&sandbox, &what, &onnx, &mut random);
            let options = Options { name: "test".into(), ..Options::default() };
            let sealed = leeway_compiler::compile(&onnx, &options).unwrap().seal(&[]);
            let layers = sealed.certificate.stages.iter().flat_map(|stage| &stage.layers);
            let kernels: Vec<&str> = layers.map(|layer| layer.kernel.as_str()).collect();
            assert!(size == 1 || kernels == ["layer norm"], "{what}: {kernels:?}");
        }
    }
}

/// What an `Attention` is of: sizes, and how its tensors lie.
struct Attention {
    batch: usize,
    heads: usize,
    heads_of_keys: usize,
    queries: usize,
    past: usize,
    new: usize,
    size: usize,
    is_flat: bool,
    is_causal: bool,
}

impl Attention {
    fn random(random: &mut Random) -> Self {
        let heads_of_keys = random.within(1..=2);
        Self {
            batch: random.within(1..=2),
            heads: heads_of_keys * random.pick(&[1, 3]),
            heads_of_keys,
            queries: random.within(1..=6),
            past: random.pick(&[0, 0, 3]),
            new: random.within(1..=7),
            size: random.pick(&[4, 5]),
            is_flat: random.pick(&[true, false]),
            is_causal: random.pick(&[true, false]),
        }
    }

    fn keys(&self) -> usize {
        self.past + self.new
    }

    fn shape(&self, heads: usize, length: usize) -> Vec<usize> {
        match self.is_flat {
            true => vec![self.batch, length, heads * self.size],
            false => vec![self.batch, heads, length, self.size],
        }
    }

    fn onnx(&self, has_mask: bool) -> Vec<u8> {
        let mut graph = Graph::new();
        let queries = graph.input("q", FLOAT, &dims(&self.shape(self.heads, self.queries)));
        let of_keys = dims(&self.shape(self.heads_of_keys, self.new));
        let [keys, values] = ["k", "v"].map(|name| graph.input(name, FLOAT, &of_keys));
        let mut inputs = vec![queries, keys, values];
        if has_mask {
            inputs.push(graph.input("mask", BOOL, &dims(&[self.queries, self.keys()])));
        } else if self.past > 0 {
            inputs.push(String::new());
        }
        if self.past > 0 {
            let before = dims(&[self.batch, self.heads_of_keys, self.past, self.size]);
            inputs.extend(["pk", "pv"].map(|name| graph.input(name, FLOAT, &before)));
        }
        let mut attributes = vec![("is_causal", Attribute::Int(self.is_causal.into()))];
        if self.is_flat {
            attributes.push(("q_num_heads", Attribute::Int(self.heads as i64)));
            attributes.push(("kv_num_heads", Attribute::Int(self.heads_of_keys as i64)));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let output = graph.node("Attention", &inputs, &attributes);
        graph.finish(&[&output])
    }

    /// A number of a tensor of so many heads.
    fn at(&self, tensor: &[f32], [heads, length]: [usize; 2], at: [usize; 4]) -> f64 {
        let [sample, head, place, number] = at;
        let row = match self.is_flat {
            true => (sample * length + place) * heads + head,
            false => (sample * heads + head) * length + place,
        };
        f64::from(tensor[row * self.size + number])
    }

    /// What comes out, by the definition.
    fn expected(&self, inputs: &[Tensor], has_mask: bool) -> Tensor {
        let numbers = |at: usize| inputs[at].to_f32().unwrap();
        let [q, k, v] = [0, 1, 2].map(numbers);
        let mask = has_mask.then(|| &inputs[3].data);
        let first_past = 3 + usize::from(has_mask);
        let before = (self.past > 0).then(|| [first_past, first_past + 1].map(numbers));
        let lies_apart = Self { is_flat: false, ..*self };
        let of_keys = |which: usize, at: [usize; 4]| match (&before, at[2].checked_sub(self.past)) {
            (Some(before), None) => {
                lies_apart.at(&before[which], [self.heads_of_keys, self.past], at)
            }
            (_, place) => {
                let at = [at[0], at[1], place.unwrap_or_default(), at[3]];
                self.at([&k, &v][which], [self.heads_of_keys, self.new], at)
            }
        };
        let shape = self.shape(self.heads, self.queries);
        let mut output = vec![0.0; shape.iter().product()];
        for sample in 0..self.batch {
            for head in 0..self.heads {
                let group = head * self.heads_of_keys / self.heads;
                for query in 0..self.queries {
                    let is_allowed = |key: &usize| {
                        !(self.is_causal && *key > query + self.past)
                            && mask.is_none_or(|mask| mask[query * self.keys() + key] != 0)
                    };
                    let keys: Vec<usize> = (0..self.keys()).filter(is_allowed).collect();
                    let score = |key: usize| -> f64 {
                        let products = (0..self.size).map(|number| {
                            let at = [sample, head, query, number];
                            self.at(&q, [self.heads, self.queries], at)
                                * of_keys(0, [sample, group, key, number])
                        });
                        (products.sum::<f64>() / (self.size as f64).sqrt()).exp()
                    };
                    let scores: Vec<f64> = keys.iter().map(|&key| score(key)).collect();
                    let all: f64 = scores.iter().sum();
                    for number in 0..self.size {
                        let value = |&key: &usize| of_keys(1, [sample, group, key, number]);
                        let weighed = keys.iter().map(value).zip(&scores);
                        let sum: f64 = weighed.map(|(value, score)| value * score / all).sum();
                        let row = match self.is_flat {
                            true => (sample * self.queries + query) * self.heads + head,
                            false => (sample * self.heads + head) * self.queries + query,
                        };
                        output[row * self.size + number] = sum as f32;
                    }
                }
            }
        }
        let shape = shape.iter().map(|&size| size as u32).collect();
        let data = output.iter().flat_map(|number| number.to_le_bytes()).collect();
        Tensor { dtype: DType::F32, shape, data }
    }
}

/// In groups of heads, after keys of before, with masks that may hide all keys of a query.
#[test]
fn attention_as_it_is_defined() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(56);
    for case in 0..40 {
        let attention = Attention::random(&mut random);
        let has_mask = random.pick(&[true, false]);
        let mut pair = Pair::new(&sandbox, &attention.onnx(has_mask), &Options::default());
        let inputs = pair.inputs(&mut random, Style::Tame);
        let last = pair.sealed.certificate.last_stage();
        let seen = pair.run(0..=last, &inputs);
        let apart = relative(&seen[0], &attention.expected(&inputs, has_mask));
        assert!(apart < 1e-5, "case {case}: {apart}");
        pair.assert_fuel_of_all_ranges(&mut random);
    }
}

#[test]
fn attention_with_too_many_places_is_refused() {
    let attention = Attention {
        batch: 1,
        heads: 1,
        heads_of_keys: 1,
        queries: 4000,
        past: 0,
        new: 4000,
        size: 4,
        is_flat: false,
        is_causal: true,
    };
    let options = Options { name: "test".into(), ..Options::default() };
    let error = leeway_compiler::compile(&attention.onnx(false), &options).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("16000000 pairs of a query and a key"), "{words}");
}

/// As exporters write it before opset 20.
fn gelu(graph: &mut Graph, x: &str) -> String {
    let root = graph.floats(&[], &[std::f32::consts::SQRT_2]);
    let one = graph.floats(&[], &[1.0]);
    let half = graph.floats(&[], &[0.5]);
    let scaled = graph.node("Div", &[x, &root], &[]);
    let erf = graph.node("Erf", &[&scaled], &[]);
    let sum = graph.node("Add", &[&erf, &one], &[]);
    let product = graph.node("Mul", &[x, &sum], &[]);
    graph.node("Mul", &[&product, &half], &[])
}

fn integers(dtype: i32, shape: &[usize], values: &[i64]) -> Tensor {
    let wide = dtype == INT64;
    Tensor {
        dtype: if wide { DType::I64 } else { DType::I32 },
        shape: shape.iter().map(|&size| size as u32).collect(),
        data: values
            .iter()
            .flat_map(|&v| {
                if wide { v.to_le_bytes().to_vec() } else { (v as i32).to_le_bytes().to_vec() }
            })
            .collect(),
    }
}

/// Runs on the inputs, and compares with native tract.
fn compare(onnx: &[u8], what: &str, inputs: &[Tensor]) {
    let sandbox = sandbox(EngineKind::Native);
    let options = Options { name: "test".into(), file: what.into(), ..Options::default() };
    let mut pair = Pair::new(&sandbox, onnx, &options);
    let difference = pair.difference(inputs);
    assert!(difference <= 1e-5, "{what}: differs from native tract by {difference}");
    let last = pair.module.certificate().last_stage();
    pair.run(0..=last, inputs);
}

#[test]
fn gathers_by_computed_indices() {
    let mut random = Random::new(53);
    for case in 0..30 {
        let shape: Vec<usize> = (0..3).map(|_| random.within(1..=7)).collect();
        let axis = random.within(0..=2);
        let dtype = random.pick(&[INT64, INT32]);
        let elements = random.pick(&[true, false]);
        let index_shape = if elements { shape.clone() } else { vec![2, 3] };
        let mut graph = Graph::new();
        let data = graph.input("data", FLOAT, &dims(&shape));
        let indices = graph.input("indices", dtype, &dims(&index_shape));
        let operator = if elements { "GatherElements" } else { "Gather" };
        let output =
            graph.node(operator, &[&data, &indices], &[("axis", Attribute::Int(axis as i64))]);
        let onnx = graph.finish(&[&output]);
        let size = shape[axis] as i64;
        let count: usize = index_shape.iter().product();
        let values: Vec<i64> =
            (0..count).map(|_| random.within(0..=2 * size as usize - 1) as i64 - size).collect();
        let count = shape.iter().product();
        let data = Tensor {
            dtype: DType::F32,
            shape: shape.iter().map(|&size| size as u32).collect(),
            data: random.numbers(count).iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        let what = format!("case {case}: {operator} {shape:?} along {axis}");
        compare(&onnx, &what, &[data, integers(dtype, &index_shape, &values)]);
    }
}

#[test]
fn an_index_outside_is_the_nearest_inside() {
    let mut graph = Graph::new();
    let table = graph.floats(&[3, 1], &[10.0, 11.0, 12.0]);
    let indices = graph.input("indices", INT64, &dims(&[6]));
    let output = graph.node("Gather", &[&table, &indices], &[]);
    let options = Options { name: "test".into(), ..Options::default() };
    let sandbox = sandbox(EngineKind::Native);
    let mut pair = Pair::new(&sandbox, &graph.finish(&[&output]), &options);
    let values = [0, -1, 3, -4, i64::MAX, i64::MIN];
    let outputs = pair.run(0..=0, &[integers(INT64, &[6], &values)]);
    assert_eq!(outputs[0].to_f32().unwrap(), [10.0, 12.0, 12.0, 10.0, 12.0, 10.0]);
}

/// An encoder layer with two heads over embedded tokens.
#[test]
fn a_transformer_encoder() {
    let (tokens, width, heads, hidden, words) = (7, 16, 2, 32, 11);
    let mut random = Random::new(54);
    let mut graph = Graph::new();
    let ids = graph.input("ids", INT64, &dims(&[1, tokens]));
    let mut floats = |graph: &mut Graph, shape: &[usize]| {
        let count = shape.iter().product();
        graph.floats(shape, &random.numbers(count))
    };
    let table = floats(&mut graph, &[words, width]);
    let positions = floats(&mut graph, &[1, tokens, width]);
    let embedded = graph.node("Gather", &[&table, &ids], &[]);
    let x = graph.node("Add", &[&embedded, &positions], &[]);

    let head_shape = graph.ints(&[1, tokens as i64, heads, (width as i64) / heads]);
    let mut project = |graph: &mut Graph, perm: &[i64]| {
        let weights = floats(graph, &[width, width]);
        let projected = graph.node("MatMul", &[&x, &weights], &[]);
        let split = graph.node("Reshape", &[&projected, &head_shape], &[]);
        graph.node("Transpose", &[&split], &[("perm", Attribute::Ints(perm))])
    };
    let query = project(&mut graph, &[0, 2, 1, 3]);
    let key = project(&mut graph, &[0, 2, 3, 1]);
    let value = project(&mut graph, &[0, 2, 1, 3]);
    let scores = graph.node("MatMul", &[&query, &key], &[]);
    let scale = graph.floats(&[], &[0.35]);
    let scores = graph.node("Mul", &[&scores, &scale], &[]);
    let attention = graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let mixed = graph.node("MatMul", &[&attention, &value], &[]);
    let perm = [0, 2, 1, 3];
    let mixed = graph.node("Transpose", &[&mixed], &[("perm", Attribute::Ints(&perm))]);
    let flat = graph.ints(&[1, tokens as i64, width as i64]);
    let mixed = graph.node("Reshape", &[&mixed, &flat], &[]);
    let residual = graph.node("Add", &[&mixed, &x], &[]);
    let scale = floats(&mut graph, &[width]);
    let shift = floats(&mut graph, &[width]);
    let normal = graph.node("LayerNormalization", &[&residual, &scale, &shift], &[]);
    let up = floats(&mut graph, &[width, hidden]);
    let down = floats(&mut graph, &[hidden, width]);
    let wide = graph.node("MatMul", &[&normal, &up], &[]);
    let active = gelu(&mut graph, &wide);
    let narrow = graph.node("MatMul", &[&active, &down], &[]);
    let output = graph.node("Add", &[&narrow, &normal], &[]);
    let onnx = graph.finish(&[&output]);

    let mut random = Random::new(55);
    let ids: Vec<i64> = (0..tokens).map(|_| random.within(0..=words - 1) as i64).collect();
    compare(&onnx, "encoder", &[integers(INT64, &[1, tokens], &ids)]);
    let options = Options { name: "test".into(), ..Options::default() };
    let sandbox = sandbox(EngineKind::Native);
    let mut pair = Pair::new(&sandbox, &onnx, &options);
    let inputs = pair.inputs(&mut random, Style::AnyBits);
    pair.run(0..=pair.module.certificate().last_stage(), &inputs);
    pair.assert_fuel_of_all_ranges(&mut random);
}
