//! Classical models: the operators of `ai.onnx.ml` against evaluations written
//! down here, fuel against the certificate, ranges of stages against the whole.

use leeway_compiler::Options;
use leeway_contract::{DType, Tensor};
use leeway_runtime::sandbox::{EngineKind, Sandbox};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Dim, Graph};
use leeway_tests::random::{Random, STYLES};

#[path = "classical/features.rs"]
mod features;
#[path = "classical/labels.rs"]
mod labels;
#[path = "classical/linear.rs"]
mod linear;
#[path = "classical/trees.rs"]
mod trees;
#[path = "classical/vectors.rs"]
mod vectors;

/// A compiled model with outputs of these names.
fn pair(sandbox: &Sandbox, what: &str, graph: Graph, outputs: &[&str]) -> Pair {
    let options = Options { name: "test".into(), file: what.into(), ..Options::default() };
    Pair::new(sandbox, &graph.finish(outputs), &options)
}

/// Runs a model on inputs, and compares it with the graph that was lowered, run
/// natively by tract.
fn run(pair: &mut Pair, inputs: &[Tensor]) -> Vec<Tensor> {
    let difference = pair.difference(inputs);
    assert!(difference <= 1e-5, "differs from the graph run natively by {difference}");
    let last = pair.module.certificate().last_stage();
    pair.run(0..=last, inputs)
}

/// The fuel is exact on irregular inputs, and on all ranges of stages.
fn check_fuel(pair: &mut Pair, random: &mut Random) {
    let last = pair.module.certificate().last_stage();
    for style in STYLES {
        let inputs = pair.inputs(random, style);
        pair.run(0..=last, &inputs);
    }
    pair.assert_fuel_of_all_ranges(random);
}

fn matrix(rows: usize, numbers: &[f32]) -> Tensor {
    Tensor::from_f32(&[rows as u32, (numbers.len() / rows) as u32], numbers)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32().expect("an output of type FP32")
}

fn integers(tensor: &Tensor) -> Vec<i64> {
    assert_eq!(tensor.dtype, DType::I64);
    let bytes = tensor.data.chunks_exact(8);
    bytes.map(|bytes| i64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect()
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| size.into()).collect()
}

fn assert_close(seen: &[f32], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(seen.len(), wanted.len(), "{what}");
    for (&seen, &wanted) in seen.iter().zip(wanted) {
        let difference = (f64::from(seen) - wanted).abs() / wanted.abs().max(1.0);
        let same = difference <= tolerance || (seen.is_nan() && wanted.is_nan());
        assert!(same, "{what}: seen {seen}, wanted {wanted}");
    }
}

/// The first of the largest.
fn argmax(scores: &[f64]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

fn native() -> Sandbox {
    sandbox(EngineKind::Native)
}
