//! Weights are pages of a file that all instances share: an instance takes memory
//! for what it writes, and no more. One test alone, as it reads the memory of the
//! whole process.

use std::fs;

use leeway_compiler::Options;
use leeway_contract::Tensor;
use leeway_runtime::sandbox::{Limits, Sandbox, SandboxConfig};
use leeway_tests::onnx::{FLOAT, Graph};
use leeway_tests::random::{Random, Style};

/// Inputs and outputs of a layer.
const SIZE: usize = 1024;

/// Layers, of 4 MB each.
const LAYERS: usize = 4;

/// Instances that are made.
const INSTANCES: usize = 8;

fn onnx() -> Vec<u8> {
    let mut graph = Graph::new();
    let mut value = graph.input("x", FLOAT, &[1, SIZE].map(Into::into));
    for layer in 0..LAYERS {
        let weights = Random::new(layer as u64).numbers(SIZE * SIZE);
        let weights = graph.floats(&[SIZE, SIZE], &weights);
        value = graph.node("MatMul", &[&value, &weights], &[]);
    }
    graph.finish(&[&value])
}

/// Bytes of memory that only this process has, and no file.
fn private_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:")).expect("a field");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    1024 * kilobytes.parse::<u64>().expect("a number")
}

#[test]
fn instances_share_the_weights_and_code_from_the_cache_is_mapped() {
    let weight_bytes = (4 * SIZE * SIZE * LAYERS) as u64;
    let compiled = leeway_compiler::compile(&onnx(), &Options::default()).expect("it compiles");
    let component = compiled.seal(&[]).component;
    drop(compiled);
    let directory = tempfile::tempdir().expect("a directory");
    let config = || SandboxConfig {
        cache_dir: Some(directory.path().join("cache")),
        ..SandboxConfig::default()
    };
    drop(Sandbox::new(config()).expect("an engine").load(&component).expect("it loads"));

    let sandbox = Sandbox::new(config()).expect("an engine");
    let before = private_bytes();
    let module = sandbox.load(&component).expect("it loads");
    assert!(module.from_cache());
    let loaded = private_bytes().saturating_sub(before);
    assert!(
        loaded < weight_bytes / 4,
        "{loaded} bytes for code of {weight_bytes} bytes of weights"
    );

    let inputs: Vec<Tensor> = Random::new(1).tensors(module.certificate().inputs(), Style::Tame);
    let before = private_bytes();
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        let mut instance = module.instantiate().expect("an instance");
        let last = module.certificate().last_stage();
        instance.run(0..=last, &inputs, &Limits::default()).expect("it runs");
        instances.push(instance);
    }
    let each = private_bytes().saturating_sub(before) / INSTANCES as u64;
    assert!(each < weight_bytes / 16, "{each} bytes for each instance");
}
