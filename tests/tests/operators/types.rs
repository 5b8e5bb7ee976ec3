//! Element types other than FP32: FP64 and FP16 as real numbers, and integers of all
//! widths.

use leeway_compiler::Options;
use leeway_contract::{DType, Tensor};
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, DOUBLE, FLOAT, FLOAT16, Graph, INT16, INT64};
use leeway_tests::onnx::{UINT16, UINT32, UINT64};
use leeway_tests::random::Random;

use super::{check, dims};

#[test]
fn operators_on_fp64_and_fp16() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(50);
    for dtype in [DOUBLE, FLOAT16] {
        for size in [1, 3, 7, 16] {
            for operator in ["Add", "Sub", "Mul", "Div", "Max", "Min"] {
                let mut graph = Graph::new();
                let a = graph.input("a", dtype, &dims(&[3, 1, size]));
                let b = graph.input("b", dtype, &dims(&[2, size]));
                let output = graph.node(operator, &[&a, &b], &[]);
                let onnx = graph.finish_typed(&[&output], dtype);
                check(&sandbox, &format!("{operator} {dtype} {size}"), &onnx, &mut random);
            }
            for operator in ["Exp", "Sigmoid", "Tanh", "Sqrt", "Neg", "Softmax", "ReduceSum"] {
                if dtype == DOUBLE && operator == "Sigmoid" {
                    // tract has none; its numbers are compared below.
                    continue;
                }
                let mut graph = Graph::new();
                let x = graph.input("x", dtype, &dims(&[2, size]));
                let output = graph.node(operator, &[&x], &[]);
                let onnx = graph.finish_typed(&[&output], dtype);
                check(&sandbox, &format!("{operator} {dtype} {size}"), &onnx, &mut random);
            }
            let mut graph = Graph::new();
            let a = graph.input("a", dtype, &dims(&[2, 3, size]));
            let b = graph.input("b", dtype, &dims(&[2, size, 5]));
            let output = graph.node("MatMul", &[&a, &b], &[]);
            let onnx = graph.finish_typed(&[&output], dtype);
            check(&sandbox, &format!("MatMul {dtype} {size}"), &onnx, &mut random);
        }
    }
}

#[test]
fn a_convolution_of_fp16_is_one_of_fp32_rounded_once() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(51);
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT16, &dims(&[1, 3, 7, 9]));
    let weights = graph.floats(&[4, 3, 3, 3], &random.numbers(108));
    let weights = graph.node("Cast", &[&weights], &[("to", Attribute::Int(FLOAT16.into()))]);
    let conv = graph.node("Conv", &[&x, &weights], &[("pads", Attribute::Ints(&[1, 1, 1, 1]))]);
    let pooled = graph.node("MaxPool", &[&conv], &[("kernel_shape", Attribute::Ints(&[2, 2]))]);
    let onnx = graph.finish_typed(&[&pooled], FLOAT16);
    check(&sandbox, "Conv of FP16", &onnx, &mut random);
}

/// All numbers of FP16 there and back, and those of FP32 that lie between them.
#[test]
fn casts_to_fp16_round_to_the_nearest_even() {
    let sandbox = sandbox(EngineKind::Native);
    for (from, dtype) in [(FLOAT, DType::F32), (DOUBLE, DType::F64)] {
        let mut graph = Graph::new();
        let x = graph.input("x", from, &dims(&[3 << 15]));
        let output = graph.node("Cast", &[&x], &[("to", Attribute::Int(FLOAT16.into()))]);
        let onnx = graph.finish_typed(&[&output], FLOAT16);
        let options = Options { name: "test".into(), ..Options::default() };
        let mut pair = Pair::new(&sandbox, &onnx, &options);
        // A half, the middle between it and the next, and a bit to either side.
        let half = |bits: u32| {
            let magnitude = f64::from(f32::from_bits((bits & 0x7fff) << 13)) * 2f64.powi(112);
            if bits >> 15 == 1 { -magnitude } else { magnitude }
        };
        let numbers = (0..1u32 << 15).flat_map(|i| {
            let bits = ((i * 2 + i % 2) % 0x7bff) | ((i & 1) << 15);
            let middle = (half(bits) + half(bits + 1)) / 2.0;
            [half(bits), middle, middle * (1.0 + 1e-6)]
        });
        let data = numbers.flat_map(|number| match dtype {
            DType::F32 => (number as f32).to_le_bytes().to_vec(),
            _ => number.to_le_bytes().to_vec(),
        });
        let input = Tensor { dtype, shape: vec![3 << 15], data: data.collect() };
        let wanted = pair.oracle.run(std::slice::from_ref(&input)).unwrap();
        let seen = pair.run(0..=0, &[input]);
        assert_eq!(seen, wanted, "from {dtype}");
    }
}

/// Once to FP32 and from there to FP16 would round this one up.
#[test]
fn a_cast_from_fp64_to_fp16_rounds_once() {
    let sandbox = sandbox(EngineKind::Native);
    let mut graph = Graph::new();
    let x = graph.input("x", DOUBLE, &dims(&[2]));
    let output = graph.node("Cast", &[&x], &[("to", Attribute::Int(FLOAT16.into()))]);
    let options = Options { name: "test".into(), ..Options::default() };
    let onnx = graph.finish_typed(&[&output], FLOAT16);
    let mut pair = Pair::new(&sandbox, &onnx, &options);
    let just_below_the_middle = 1.0 + 2f64.powi(-11) - 2f64.powi(-40);
    let data = [just_below_the_middle, -just_below_the_middle];
    let data = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    let seen = pair.run(0..=0, &[Tensor { dtype: DType::F64, shape: vec![2], data }]);
    assert_eq!(seen[0].data, [0, 0x3c, 0, 0xbc]);
}

#[test]
fn integers_of_all_widths() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(52);
    for dtype in [INT16, UINT16, UINT32, UINT64, INT64] {
        for operator in ["Add", "Sub", "Mul", "Max", "Min", "Less", "Greater", "Equal"] {
            let mut graph = Graph::new();
            let a = graph.input("a", dtype, &dims(&[3, 5]));
            let b = graph.input("b", dtype, &dims(&[5]));
            let output = graph.node(operator, &[&a, &b], &[]);
            let is_truth = ["Less", "Greater", "Equal"].contains(&operator);
            let output_type = if is_truth { leeway_tests::onnx::BOOL } else { dtype };
            let onnx = graph.finish_typed(&[&output], output_type);
            check(&sandbox, &format!("{operator} of type {dtype}"), &onnx, &mut random);
        }
        for to in [FLOAT, DOUBLE, FLOAT16, INT64, UINT16] {
            if to == INT64 && [UINT32, UINT64, INT64].contains(&dtype) {
                // tract casts by way of `i32` here: see `casts_to_i64_keep_all_bits`.
                continue;
            }
            let mut graph = Graph::new();
            let x = graph.input("x", dtype, &dims(&[7]));
            let output = graph.node("Cast", &[&x], &[("to", Attribute::Int(to.into()))]);
            let onnx = graph.finish_typed(&[&output], to);
            check(&sandbox, &format!("Cast from {dtype} to {to}"), &onnx, &mut random);
        }
    }
}

/// What lies beyond 32 bits is not compared with tract 0.23, whose reader takes a cast
/// to I64 for one to a dimension (`TDim`), which `Tensor::cast_to_dt` reaches by way of
/// `i32`. Wanted are Rust's own casts: integers wrap, real numbers saturate.
#[test]
fn casts_to_i64_keep_all_bits() {
    let sandbox = sandbox(EngineKind::Native);
    let unsigned = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 40, 1 << 63, u64::MAX];
    let bytes = |of: fn(u64) -> Vec<u8>| unsigned.iter().copied().flat_map(of).collect();
    let wanted = |of: fn(u64) -> i64| unsigned.iter().copied().map(of).collect();
    let cases: [(i32, DType, Vec<u8>, Vec<i64>); 4] = [
        (
            UINT32,
            DType::U32,
            bytes(|x| (x as u32).to_le_bytes().into()),
            wanted(|x| x as u32 as i64),
        ),
        (UINT64, DType::U64, bytes(|x| x.to_le_bytes().into()), wanted(|x| x as i64)),
        (
            FLOAT,
            DType::F32,
            bytes(|x| (x as f32).to_le_bytes().into()),
            wanted(|x| x as f32 as i64),
        ),
        (
            DOUBLE,
            DType::F64,
            bytes(|x| (x as f64).to_le_bytes().into()),
            wanted(|x| x as f64 as i64),
        ),
    ];
    for (from, dtype, data, wanted) in cases {
        let mut graph = Graph::new();
        let x = graph.input("x", from, &dims(&[unsigned.len()]));
        let output = graph.node("Cast", &[&x], &[("to", Attribute::Int(INT64.into()))]);
        let options = Options { name: "test".into(), ..Options::default() };
        let onnx = graph.finish_typed(&[&output], INT64);
        let mut pair = Pair::new(&sandbox, &onnx, &options);
        let input = Tensor { dtype, shape: vec![unsigned.len() as u32], data };
        let seen = pair.run(0..=0, &[input]).remove(0);
        let seen: Vec<i64> =
            seen.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        assert_eq!(seen, wanted, "from {dtype}");
    }
}

#[test]
fn contractions_of_one_and_three_operands_and_diagonals() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(53);
    let cases: &[(&str, &[&[usize]])] = &[
        ("ij->ji", &[&[3, 5]]),
        ("ijk->j", &[&[3, 5, 2]]),
        ("...ii->...i", &[&[2, 4, 4]]),
        ("ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 5]]),
        ("i,i->", &[&[7], &[7]]),
        ("bij,bjk->bik", &[&[2, 3, 5], &[2, 5, 4]]),
    ];
    for &(equation, shapes) in cases {
        for dtype in [FLOAT, DOUBLE] {
            let mut graph = Graph::new();
            let names: Vec<String> = (0..shapes.len())
                .map(|at| graph.input(&format!("x{at}"), dtype, &dims(shapes[at])))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let equation = [("equation", Attribute::String(equation))];
            let output = graph.node("Einsum", &names, &equation);
            let onnx = graph.finish_typed(&[&output], dtype);
            check(&sandbox, &format!("{} of type {dtype}", shapes.len()), &onnx, &mut random);
        }
    }
}

/// A function of FP64: its ONNX operator, the standard library's, the bounds of its
/// arguments' magnitudes, and the largest error that is allowed, in units in the last
/// place. The standard library's is within one unit of the exact one.
type Function = (&'static str, fn(f64) -> f64, (f64, f64), f64);

const FUNCTIONS: &[Function] = &[
    ("Exp", f64::exp, (1e-30, 700.0), 1.0),
    ("Log", f64::ln, (0.0, f64::MAX), 1.0),
    ("Sigmoid", |x| 1.0 / (1.0 + (-x).exp()), (1e-30, 700.0), 2.0),
    ("Tanh", f64::tanh, (1e-30, 30.0), 3.0),
    ("Sinh", f64::sinh, (1e-30, 709.0), 4.0),
    ("Cosh", f64::cosh, (1e-30, 709.0), 4.0),
    ("Asinh", f64::asinh, (1e-30, 1e300), 4.0),
    ("Acosh", f64::acosh, (1.0, 1e300), 4.0),
    ("Atanh", |x| x.abs().atanh().copysign(x), (1e-30, 1.0), 4.0),
    ("Sin", f64::sin, (1e-30, 1e6), 3.0),
    ("Cos", f64::cos, (1e-30, 1e6), 3.0),
    ("Tan", f64::tan, (1e-30, 1e6), 6.0),
    ("Atan", f64::atan, (1e-30, 1e300), 8.0),
    ("Asin", f64::asin, (1e-30, 1.0), 12.0),
    ("Acos", f64::acos, (1e-30, 1.0), 12.0),
];

/// The distance of two numbers in units in the last place of the wanted one.
fn ulp(seen: f64, wanted: f64) -> f64 {
    if seen == wanted || (seen.is_nan() && wanted.is_nan()) {
        return 0.0;
    }
    let unit = f64::from_bits(wanted.abs().to_bits().max(1 << 52) & !((1 << 52) - 1));
    ((seen - wanted).abs() / unit) * 2f64.powi(52)
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    tensor.data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
}

#[test]
fn no_function_of_fp64_errs_by_more_than_is_stated() {
    const COUNT: usize = 1 << 14;
    let sandbox = sandbox(EngineKind::Native);
    for &(operator, exact, (low, high), most) in FUNCTIONS {
        let mut graph = Graph::new();
        let x = graph.input("x", DOUBLE, &dims(&[COUNT]));
        let output = graph.node(operator, &[&x], &[]);
        let options = Options { name: "test".into(), ..Options::default() };
        let onnx = graph.finish_typed(&[&output], DOUBLE);
        let mut pair = Pair::new(&sandbox, &onnx, &options);
        // Steps through the bits between the bounds.
        let (low, high) = (low.to_bits(), high.to_bits());
        let step = (high - low) / (COUNT as u64 / 2);
        let number = |i: usize| {
            let bits = low + step * (i as u64 / 2) + (i as u64 * 0x9e37_79b9) % step.max(1);
            f64::from_bits(bits.min(high) | ((i % 2) as u64) << 63)
        };
        let numbers: Vec<f64> = (0..COUNT).map(number).collect();
        let data = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let input = Tensor { dtype: DType::F64, shape: vec![COUNT as u32], data };
        let seen = floats(&pair.run(0..=0, &[input])[0]);
        let errors = numbers.iter().zip(&seen).map(|(&x, &seen)| (ulp(seen, exact(x)), x, seen));
        let worst = errors.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("{operator} of FP64: {:.3} ulp, at {:e}", worst.0, worst.1);
        assert!(worst.0 <= most, "{operator} of {:e} is {:e}: {} ulp", worst.1, worst.2, worst.0);
    }
}

/// Powers of whole numbers that FP64 holds are exact, and all others within a unit.
#[test]
fn powers_of_fp64() {
    let sandbox = sandbox(EngineKind::Native);
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    for a in 1..=30 {
        for b in 0..=10 {
            pairs.push((f64::from(a), f64::from(b)));
            pairs.push((f64::from(-a), f64::from(b)));
        }
    }
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let special = [0.0, -0.0, 1.0, -1.0, 0.5, -1.5, 3.0, inf, -inf, nan, 1e-310, 1e300, -1e300];
    pairs.extend(special.iter().flat_map(|&a| special.iter().map(move |&b| (a, b))));
    for i in 0..2000 {
        let t = f64::from(i) / 2000.0;
        let a = (1.0 + t) * 2f64.powi(i % 2000 - 1000);
        pairs.push((a, 700.0 * (t - 0.5) / a.ln().abs().max(1.0)));
    }
    let mut graph = Graph::new();
    let a = graph.input("a", DOUBLE, &dims(&[pairs.len()]));
    let b = graph.input("b", DOUBLE, &dims(&[pairs.len()]));
    let output = graph.node("Pow", &[&a, &b], &[]);
    let options = Options { name: "test".into(), ..Options::default() };
    let onnx = graph.finish_typed(&[&output], DOUBLE);
    let mut pair = Pair::new(&sandbox, &onnx, &options);
    let tensor = |pick: fn(&(f64, f64)) -> f64| Tensor {
        dtype: DType::F64,
        shape: vec![pairs.len() as u32],
        data: pairs.iter().map(pick).flat_map(f64::to_le_bytes).collect(),
    };
    let seen = floats(&pair.run(0..=0, &[tensor(|pair| pair.0), tensor(|pair| pair.1)])[0]);
    for (&(a, b), seen) in pairs.iter().zip(seen) {
        let wanted = a.powf(b);
        let whole = a.fract() == 0.0 && (0.0..=10.0).contains(&b) && wanted.abs() < 2f64.powi(53);
        let most = if whole { 0.0 } else { 1.0 };
        assert!(ulp(seen, wanted) <= most, "{a:e}^{b:e} is {seen:e}, wanted {wanted:e}");
    }
}
