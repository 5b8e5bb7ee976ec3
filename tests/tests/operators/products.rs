//! Products of matrices, on shapes at which tiles, loops and their rests end
//! differently: the same numbers as native tract's, and on Pulley the same bits and
//! the same fuel as on native code.

use leeway_compiler::Options;
use leeway_runtime::sandbox::{EngineKind, Limits};
use leeway_tests::compare::sandbox;
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::{Random, STYLES};

use super::{check, dims};

/// A product of a kind: by weights on the right, of computed matrices, or over the
/// channels of an image.
fn product(random: &mut Random, kind: usize, [m, k, n]: [usize; 3]) -> Vec<u8> {
    let mut graph = Graph::new();
    // So that the sums are about as large as the operands.
    let weights = |random: &mut Random, graph: &mut Graph, shape: &[usize]| {
        let numbers = random.numbers(shape.iter().product());
        graph.floats(shape, &numbers.iter().map(|n| n / 8.0).collect::<Vec<_>>())
    };
    let output = match kind {
        0 => {
            let x = graph.input("x", FLOAT, &dims(&[m, k]));
            let right = weights(random, &mut graph, &[k, n]);
            let bias = graph.floats(&[n], &random.numbers(n));
            graph.node("Gemm", &[&x, &right, &bias], &[])
        }
        1 => {
            let left = graph.input("left", FLOAT, &dims(&[2, m, k]));
            let right = graph.input("right", FLOAT, &dims(&[2, k, n]));
            let eighth = graph.floats(&[1], &[0.125]);
            let right = graph.node("Mul", &[&right, &eighth], &[]);
            graph.node("MatMul", &[&left, &right], &[])
        }
        _ => {
            let x = graph.input("x", FLOAT, &dims(&[1, k, 1, n]));
            let filter = weights(random, &mut graph, &[m, k, 1, 1]);
            let bias = graph.floats(&[m], &random.numbers(m));
            let kernel = [("kernel_shape", Attribute::Ints(&[1, 1]))];
            graph.node("Conv", &[&x, &filter, &bias], &kernel)
        }
    };
    let output = graph.node(random.pick(&["Relu", "Tanh", "Neg"]), &[&output], &[]);
    graph.finish(&[&output])
}

/// Sizes around those of tiles, of vectors, and of the iterations of loops.
fn shape(random: &mut Random) -> [usize; 3] {
    let m = random.pick(&[1, 1, 2, 3, 5, 6, 7, 12, 13, 19]);
    let k = random.pick(&[1, 2, 7, 12, 16, 23, 24, 25, 37, 61]);
    let n = random.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 33, 41, 49]);
    [m, k, n]
}

#[test]
fn products_of_all_kinds_and_shapes() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(90);
    for case in 0..90 {
        let (kind, shape) = (case % 3, shape(&mut random));
        let onnx = product(&mut random, kind, shape);
        check(&sandbox, &format!("case {case}: {shape:?} of kind {kind}"), &onnx, &mut random);
    }
}

#[test]
fn pulley_gives_the_same_bits_and_fuel_as_native_code_for_products() {
    let engines = [EngineKind::Native, EngineKind::Pulley].map(sandbox);
    let mut random = Random::new(91);
    for case in 0..45 {
        let (kind, shape) = (case % 3, shape(&mut random));
        let onnx = product(&mut random, kind, shape);
        let compiled = leeway_compiler::compile(&onnx, &Options::default());
        let sealed = compiled.expect("it compiles").seal(&[]);
        let mut instances = engines.each_ref().map(|sandbox| {
            let module = sandbox.load(&sealed.component).expect("the component loads");
            module.instantiate().expect("an instance of a loaded module")
        });
        let last = sealed.certificate.last_stage();
        for style in STYLES {
            let inputs = random.tensors(sealed.certificate.inputs(), style);
            let [native, pulley] = instances.each_mut().map(|instance| {
                let run = instance.run(0..=last, &inputs, &Limits::default());
                let execution = run.expect("the component runs");
                (execution.outputs, execution.fuel)
            });
            assert!(native == pulley, "case {case}: {shape:?} of kind {kind}, {style:?} inputs");
        }
    }
}
