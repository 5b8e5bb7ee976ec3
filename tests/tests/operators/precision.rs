//! The largest errors of the element-wise functions, in units in the last place,
//! against `f64` on numbers of all exponents.

use leeway_compiler::{Options, compile};
use leeway_contract::{DType, Tensor};
use leeway_runtime::sandbox::{EngineKind, Limits};
use leeway_tests::compare::sandbox;
use leeway_tests::onnx::{FLOAT, Graph};
use leeway_tests::random::Random;

use super::dims;

/// A function: its ONNX operator, the reference, the bounds of its arguments'
/// magnitudes, and the largest error that is allowed.
struct Function {
    operator: &'static str,
    exact: fn(f64) -> f64,
    magnitudes: (f32, f32),
    most_ulp: f64,
}

const FUNCTIONS: &[Function] = &[
    function("Exp", f64::exp, (1e-30, 87.0), 2.0),
    function("Sigmoid", |x| 1.0 / (1.0 + (-x).exp()), (1e-30, 80.0), 3.0),
    function("Tanh", f64::tanh, (1e-30, 30.0), 6.0),
    function("Erf", erf, (1e-30, 10.0), 6.0),
    function("Log", f64::ln, (0.0, f32::MAX), 1.0),
    function("Sin", f64::sin, (1e-30, 5e8), 1.0),
    function("Cos", f64::cos, (1e-30, 5e8), 1.0),
    function("Tan", f64::tan, (1e-30, 5e8), 1.0),
    function("Asin", f64::asin, (1e-30, 1.0), 1.0),
    function("Acos", f64::acos, (1e-30, 1.0), 1.0),
    function("Atan", f64::atan, (1e-30, f32::MAX), 1.0),
    function("Sinh", f64::sinh, (1e-30, 89.0), 1.0),
    function("Cosh", f64::cosh, (1e-30, 89.0), 1.0),
    function("Asinh", f64::asinh, (1e-30, f32::MAX), 1.0),
    function("Acosh", f64::acosh, (1.0, f32::MAX), 1.0),
    function("Atanh", f64::atanh, (1e-30, 1.0), 1.0),
];

const fn function(
    operator: &'static str,
    exact: fn(f64) -> f64,
    magnitudes: (f32, f32),
    most_ulp: f64,
) -> Function {
    Function { operator, exact, magnitudes, most_ulp }
}

/// `2 x e^(-x^2) / sqrt(pi)` times the sum of `(2 x^2)^n / (2n + 1)!!`, whose terms
/// are all positive.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..400 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    std::f64::consts::FRAC_2_SQRT_PI * x * (-x * x).exp() * sum
}

/// The distance of two numbers in units in the last place of the exact one.
fn ulp(seen: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if seen == nearest || (seen.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    let exponent = nearest.abs().max(f32::MIN_POSITIVE).log2().floor() as i32;
    (f64::from(seen) - exact).abs() / 2f64.powi(exponent - 23)
}

#[test]
fn no_function_errs_by_more_than_is_stated() {
    const COUNT: usize = 1 << 16;
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(40);
    for function in FUNCTIONS {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[COUNT]));
        let output = graph.node(function.operator, &[&x], &[]);
        let options = Options { name: "test".into(), ..Options::default() };
        let compiled = compile(&graph.finish(&[&output]), &options).unwrap();
        let module = sandbox.load(&compiled.seal(&[]).component).unwrap();
        let mut instance = module.instantiate().unwrap();

        // Neighbouring steps through the bits between the bounds, from anywhere.
        let (low, high) = (function.magnitudes.0.to_bits(), function.magnitudes.1.to_bits());
        let step = (high - low) as f64 / (COUNT / 2) as f64;
        let mut worst = (0.0, 0.0, 0.0);
        for _ in 0..8 {
            let start = random.within(0..=step as usize) as f64;
            let number = |i: usize| {
                let bits = (f64::from(low) + start + step * (i / 2) as f64) as u32;
                f32::from_bits(bits.min(high) | ((i % 2) as u32) << 31)
            };
            let numbers: Vec<f32> = (0..COUNT).map(number).collect();
            let data = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            let input = Tensor { dtype: DType::F32, shape: vec![COUNT as u32], data };
            let run = instance.run(0..=0, &[input], &Limits::default()).unwrap();
            let seen = run.outputs[0].to_f32().unwrap();
            for (&x, seen) in numbers.iter().zip(seen) {
                let exact = (function.exact)(f64::from(x));
                let error = ulp(seen, exact);
                if error.is_nan() || error > worst.0 {
                    worst = (error, x, seen);
                }
            }
        }
        let (error, x, seen) = worst;
        println!("{}: {error:.3} ulp, at {x:e}", function.operator);
        assert!(
            error <= function.most_ulp,
            "{} of {x:e} is {seen:e}, which is off by {error} ulp",
            function.operator
        );
    }
}

#[test]
fn powers_have_the_special_values_of_c() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        0.5,
        -0.5,
        3.0,
        -3.0,
        1.5,
        -1.5,
        inf,
        -inf,
        nan,
        1e-40,
        -1e-40,
        3e38,
        -3e38,
        16_777_217.0,
        4e9,
        127.0,
    ];
    let sandbox = sandbox(EngineKind::Native);
    let count = numbers.len() * numbers.len();
    let mut graph = Graph::new();
    let a = graph.input("a", FLOAT, &dims(&[count]));
    let b = graph.input("b", FLOAT, &dims(&[count]));
    let output = graph.node("Pow", &[&a, &b], &[]);
    let options = Options { name: "test".into(), ..Options::default() };
    let compiled = compile(&graph.finish(&[&output]), &options).unwrap();
    let module = sandbox.load(&compiled.seal(&[]).component).unwrap();
    let mut instance = module.instantiate().unwrap();
    let pairs: Vec<(f32, f32)> =
        numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b))).collect();
    let tensor = |pick: fn(&(f32, f32)) -> f32| Tensor {
        dtype: DType::F32,
        shape: vec![count as u32],
        data: pairs.iter().map(pick).flat_map(f32::to_le_bytes).collect(),
    };
    let inputs = [tensor(|pair| pair.0), tensor(|pair| pair.1)];
    let run = instance.run(0..=0, &inputs, &Limits::default()).unwrap();
    for (&(a, b), seen) in pairs.iter().zip(run.outputs[0].to_f32().unwrap()) {
        let exact = f64::from(a).powf(f64::from(b));
        assert!(ulp(seen, exact) <= 1.0, "{a}^{b} is {seen}, wanted {exact}");
    }
}
