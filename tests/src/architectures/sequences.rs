//! Networks over sequences and features: GRU and LSTM as for spotting keywords
//! (Zhang et al., "Hello Edge", 2017), a small transformer encoder (Vaswani et
//! al. 2017, as BERT has it), and the dense auto-encoder of MLPerf Tiny's
//! anomaly detection.

use super::net::Net;
use crate::onnx::{Attribute, FLOAT, INT64};

/// Features of each step of a recurrent network.
const FEATURES: usize = 40;

/// Units of a recurrent network.
const UNITS: usize = 128;

/// A GRU over `[length, 1, 40]`, and 12 classes from its last step.
pub fn gru(length: usize) -> Vec<u8> {
    recurrent("GRU", 3, &[("linear_before_reset", Attribute::Int(1))], length)
}

/// An LSTM over `[length, 1, 40]`, and 12 classes from its last step.
pub fn lstm(length: usize) -> Vec<u8> {
    recurrent("LSTM", 4, &[], length)
}

fn recurrent(
    operator: &str,
    gates: usize,
    attributes: &[(&str, Attribute)],
    length: usize,
) -> Vec<u8> {
    let mut net = Net::new(gates as u64);
    let x = net.graph.input("input", FLOAT, &[length, 1, FEATURES].map(Into::into));
    // A third of the variance that keeps a ReLU's magnitude, as gates saturate.
    let w = net.weights(&[1, gates * UNITS, FEATURES], 3 * FEATURES);
    let r = net.weights(&[1, gates * UNITS, UNITS], 3 * UNITS);
    let bias = net.weights(&[1, 2 * gates * UNITS], 600);
    let mut all = vec![("hidden_size", Attribute::Int(UNITS as i64))];
    for (name, value) in attributes {
        let Attribute::Int(value) = value else { unreachable!("only integers are passed") };
        all.push((name, Attribute::Int(*value)));
    }
    let y = net.graph.node(operator, &[&x, &w, &r, &bias], &all);
    let last = net.graph.ints(&[-1]);
    let y = net.graph.node("Gather", &[&y, &last], &[("axis", Attribute::Int(0))]);
    let flat = net.graph.ints(&[1, UNITS as i64]);
    let y = net.op("Reshape", &[&y, &flat]);
    let classes = net.dense(&y, UNITS, 12);
    let classes = net.graph.node("Softmax", &[&classes], &[("axis", Attribute::Int(1))]);
    net.finish(&[&classes])
}

/// Tokens that the transformer knows.
const VOCABULARY: usize = 1000;

/// Numbers of a token inside the transformer.
const WIDTH: usize = 128;

/// Heads of its attention.
const HEADS: usize = 4;

/// An encoder of two layers over `[1, length]` tokens, and four classes from the
/// first.
pub fn transformer(length: usize) -> Vec<u8> {
    let mut net = Net::new(17);
    let tokens = net.graph.input("tokens", INT64, &[1, length].map(Into::into));
    let words = net.weights(&[VOCABULARY, WIDTH], 6);
    // Tokens count round, so that any 64 bits name a word.
    let size = net.graph.ints_shaped(&[], &[VOCABULARY as i64]);
    let tokens = net.op("Mod", &[&tokens, &size]);
    let words = net.graph.node("Gather", &[&words, &tokens], &[("axis", Attribute::Int(0))]);
    let positions = net.weights(&[1, length, WIDTH], 6);
    let x = net.op("Add", &[&words, &positions]);
    let mut x = layer_norm(&mut net, &x);
    for _ in 0..2 {
        let attended = attention(&mut net, &x, length);
        let sum = net.op("Add", &[&x, &attended]);
        x = layer_norm(&mut net, &sum);
        let inner = project(&mut net, &x, WIDTH, 4 * WIDTH);
        let inner = gelu(&mut net, &inner);
        let outer = project(&mut net, &inner, 4 * WIDTH, WIDTH);
        let sum = net.op("Add", &[&x, &outer]);
        x = layer_norm(&mut net, &sum);
    }
    let first = net.graph.ints_shaped(&[], &[0]);
    let x = net.graph.node("Gather", &[&x, &first], &[("axis", Attribute::Int(1))]);
    let classes = net.dense(&x, WIDTH, 4);
    net.finish(&[&classes])
}

fn layer_norm(net: &mut Net, x: &str) -> String {
    let scale = net.graph.floats(&[WIDTH], &[1.0; WIDTH]);
    let bias = net.bias(WIDTH);
    net.graph.node("LayerNormalization", &[x, &scale, &bias], &[("axis", Attribute::Int(-1))])
}

/// A dense layer on each token.
fn project(net: &mut Net, x: &str, inputs: usize, outputs: usize) -> String {
    let weights = net.weights(&[inputs, outputs], 2 * inputs);
    let bias = net.bias(outputs);
    let product = net.op("MatMul", &[x, &weights]);
    net.op("Add", &[&product, &bias])
}

/// `x * (1 + erf(x / sqrt 2)) / 2`, as exporters write it.
fn gelu(net: &mut Net, x: &str) -> String {
    let [root, one, half] =
        [std::f32::consts::SQRT_2, 1.0, 0.5].map(|x| net.graph.floats(&[], &[x]));
    let scaled = net.op("Div", &[x, &root]);
    let erf = net.op("Erf", &[&scaled]);
    let sum = net.op("Add", &[&erf, &one]);
    let product = net.op("Mul", &[x, &sum]);
    net.op("Mul", &[&product, &half])
}

/// Scaled dot-product attention of several heads.
fn attention(net: &mut Net, x: &str, length: usize) -> String {
    let each = WIDTH / HEADS;
    let split = net.graph.ints(&[1, length, HEADS, each].map(|size| size as i64));
    let heads = |net: &mut Net, perm: &[i64]| {
        let projected = project(net, x, WIDTH, WIDTH);
        let heads = net.op("Reshape", &[&projected, &split]);
        net.graph.node("Transpose", &[&heads], &[("perm", Attribute::Ints(perm))])
    };
    let query = heads(net, &[0, 2, 1, 3]);
    let key = heads(net, &[0, 2, 3, 1]);
    let value = heads(net, &[0, 2, 1, 3]);
    let scores = net.op("MatMul", &[&query, &key]);
    let scale = net.graph.floats(&[], &[1.0 / (each as f32).sqrt()]);
    let scores = net.op("Mul", &[&scores, &scale]);
    let shares = net.graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let mixed = net.op("MatMul", &[&shares, &value]);
    let mixed = net.graph.node("Transpose", &[&mixed], &[("perm", Attribute::Ints(&[0, 2, 1, 3]))]);
    let joined = net.graph.ints(&[1, length as i64, WIDTH as i64]);
    let joined = net.op("Reshape", &[&mixed, &joined]);
    project(net, &joined, WIDTH, WIDTH)
}

/// The auto-encoder over `[1, features]`.
pub fn auto_encoder(features: usize) -> Vec<u8> {
    let mut net = Net::new(640);
    let mut x = net.graph.input("input", FLOAT, &[1, features].map(Into::into));
    let mut inputs = features;
    for outputs in [128, 128, 128, 128, 8, 128, 128, 128, 128] {
        x = net.dense(&x, inputs, outputs);
        x = net.op("Relu", &[&x]);
        inputs = outputs;
    }
    let x = net.dense(&x, inputs, features);
    net.finish(&[&x])
}
