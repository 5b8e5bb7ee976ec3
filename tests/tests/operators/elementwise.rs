//! Element-wise operators of two and three tensors, of FP32 and of integers, and
//! what gives integers: comparisons, casts, ArgMax.

use leeway_compiler::Options;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, BOOL, FLOAT, Graph, INT8, INT32, INT64, UINT8};
use leeway_tests::random::{Random, Style};

use super::{check, dims};

/// A shape, and one that broadcasts to it.
fn shapes(random: &mut Random) -> (Vec<usize>, Vec<usize>) {
    let rank = random.within(1..=3);
    let shape: Vec<usize> = (0..rank).map(|_| random.within(1..=9)).collect();
    let part = shape.iter().map(|&size| if random.pick(&[true, false]) { size } else { 1 });
    let part = part.collect();
    (shape, part)
}

#[test]
fn comparisons_logic_and_where() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(30);
    for case in 0..60 {
        let (shape, part) = shapes(&mut random);
        let operator = random.pick(&["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"]);
        let mut graph = Graph::new();
        let a = graph.input("a", FLOAT, &dims(&shape));
        let b = graph.input("b", FLOAT, &dims(&part));
        let first = graph.node(operator, &[&a, &b], &[]);
        let zero = graph.floats(&[], &[0.0]);
        let second = graph.node("Less", &[&b, &zero], &[]);
        let logic = random.pick(&["And", "Or", "Xor"]);
        let both = graph.node(logic, &[&first, &second], &[]);
        let not = graph.node("Not", &[&both], &[]);
        let what = format!("case {case}: {operator} {logic} {shape:?} {part:?}");
        if random.pick(&[true, false]) {
            check(&sandbox, &what, &graph.finish_typed(&[&not, &first], BOOL), &mut random);
        } else {
            let chosen = graph.node("Where", &[&not, &a, &b], &[]);
            check(&sandbox, &what, &graph.finish(&[&chosen]), &mut random);
        }
    }
}

#[test]
fn powers_and_remainders() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(31);
    for exponent in [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 4.0, 5.0, 13.0] {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[37]));
        let shift = graph.floats(&[], &[1.5]);
        let away = graph.node("Add", &[&x, &shift], &[]);
        let exponents = graph.floats(&[], &[exponent]);
        let power = graph.node("Pow", &[&away, &exponents], &[]);
        check(&sandbox, &format!("x^{exponent}"), &graph.finish(&[&power]), &mut random);
    }
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &dims(&[5, 7]));
    let y = graph.input("y", FLOAT, &dims(&[5, 1]));
    let shift = graph.floats(&[], &[1.5]);
    let positive = graph.node("Add", &[&y, &shift], &[]);
    let power = graph.node("Pow", &[&positive, &x], &[]);
    let rest = graph.node("Mod", &[&x, &positive], &[("fmod", Attribute::Int(1))]);
    check(&sandbox, "Pow and Mod", &graph.finish(&[&power, &rest]), &mut random);
}

#[test]
fn integers_of_every_width() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(32);
    let binary = ["Add", "Sub", "Mul", "Min", "Max", "Less", "Equal", "GreaterOrEqual"];
    for dtype in [INT64, INT32, UINT8, INT8] {
        for operator in binary {
            let (shape, part) = shapes(&mut random);
            let mut graph = Graph::new();
            let a = graph.input("a", dtype, &dims(&shape));
            let b = graph.input("b", dtype, &dims(&part));
            let output = graph.node(operator, &[&a, &b], &[]);
            let is_truth = ["Less", "Equal", "GreaterOrEqual"].contains(&operator);
            let onnx = graph.finish_typed(&[&output], if is_truth { BOOL } else { dtype });
            compare(&sandbox, &format!("{operator} of {dtype}"), &onnx, &mut random);
        }
        // tract casts to I64 by way of I32: of I64 itself it loses bits.
        for to in [INT64, INT32, UINT8, INT8, FLOAT].into_iter().filter(|&to| to != dtype) {
            let mut graph = Graph::new();
            let a = graph.input("a", dtype, &dims(&[3, 7]));
            let output = graph.node("Cast", &[&a], &[("to", Attribute::Int(to.into()))]);
            let onnx = graph.finish_typed(&[&output], to);
            compare(&sandbox, &format!("cast from {dtype} to {to}"), &onnx, &mut random);
        }
    }
}

#[test]
fn reductions_of_integers() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(34);
    for dtype in [INT64, INT32] {
        for operator in ["ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum"] {
            for axis in 0..3 {
                let mut graph = Graph::new();
                // Small ones, whose sums and products do not overflow.
                let x = graph.input("x", INT8, &dims(&[3, 4, 3]));
                let x = graph.node("Cast", &[&x], &[("to", Attribute::Int(INT32.into()))]);
                let x = graph.node("Cast", &[&x], &[("to", Attribute::Int(dtype.into()))]);
                let output = match operator {
                    "ReduceSum" => {
                        let axes = graph.ints(&[axis]);
                        graph.node(operator, &[&x, &axes], &[])
                    }
                    _ => graph.node(operator, &[&x], &[("axes", Attribute::Ints(&[axis]))]),
                };
                let onnx = graph.finish_typed(&[&output], dtype);
                let what = format!("{operator} of {dtype} along {axis}");
                compare(&sandbox, &what, &onnx, &mut random);
            }
        }
    }
}

/// Integers that are as random as their bits have no tame style: outputs must be
/// the same, and so must the fuel.
fn compare(
    sandbox: &leeway_runtime::sandbox::Sandbox,
    what: &str,
    onnx: &[u8],
    random: &mut Random,
) {
    let options = Options { name: "test".into(), file: what.into(), ..Options::default() };
    let mut pair = Pair::new(sandbox, onnx, &options);
    for _ in 0..3 {
        let inputs = pair.inputs(random, Style::AnyBits);
        assert!(pair.difference(&inputs) <= 1e-6, "{what}");
        let last = pair.module.certificate().last_stage();
        pair.run(0..=last, &inputs);
    }
}

#[test]
fn a_division_of_integers_never_traps() {
    let sandbox = sandbox(EngineKind::Native);
    let mut graph = Graph::new();
    let a = graph.input("a", INT64, &dims(&[6]));
    let b = graph.input("b", INT64, &dims(&[6]));
    let output = graph.node("Div", &[&a, &b], &[]);
    let onnx = graph.finish_typed(&[&output], INT64);
    let options = Options { name: "test".into(), ..Options::default() };
    let mut pair = Pair::new(&sandbox, &onnx, &options);
    let tensor = |values: [i64; 6]| leeway_contract::Tensor {
        dtype: leeway_contract::DType::I64,
        shape: vec![6],
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let a = tensor([7, -7, 7, i64::MIN, 5, i64::MIN]);
    let b = tensor([2, 2, -2, -1, 0, 1]);
    let outputs = pair.run(0..=0, &[a, b]);
    assert_eq!(outputs, [tensor([3, -3, -3, i64::MIN, 0, i64::MIN])]);
}

#[test]
fn index_of_the_largest() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(33);
    for case in 0..30 {
        let (shape, _) = shapes(&mut random);
        let axis = random.within(0..=shape.len() - 1);
        let operator = random.pick(&["ArgMax", "ArgMin"]);
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let attributes = [
            ("axis", Attribute::Int(axis as i64)),
            ("keepdims", Attribute::Int(random.within(0..=1) as i64)),
        ];
        let output = graph.node(operator, &[&x], &attributes);
        let what = format!("case {case}: {operator} {shape:?} along {axis}");
        check(&sandbox, &what, &graph.finish_typed(&[&output], INT64), &mut random);
    }
}
