//! Operators whose addresses are computed, from indices or coordinates, and windows of
//! any number of dimensions.

use leeway_compiler::Options;
use leeway_contract::Tensor;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, DOUBLE, FLOAT, FLOAT16, Graph, INT32, INT64, UINT8};
use leeway_tests::random::Random;

use super::{check, dims};

#[test]
fn scattered_updates() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(80);
    for reduction in ["none", "add", "mul", "min", "max"] {
        for dtype in [FLOAT, DOUBLE, INT32, INT64] {
            let reduction = [("reduction", Attribute::String(reduction))];
            let mut graph = Graph::new();
            let data = graph.input("data", dtype, &dims(&[5, 3]));
            let indices: Vec<i64> = (0..6).map(|_| random.within(0..=9) as i64 - 5).collect();
            let indices = graph.ints_shaped(&[2, 3], &indices);
            let updates = graph.input("updates", dtype, &dims(&[2, 3]));
            let output = graph.node("ScatterElements", &[&data, &indices, &updates], &reduction);
            let onnx = graph.finish_typed(&[&output], dtype);
            check(&sandbox, &format!("ScatterElements of type {dtype}"), &onnx, &mut random);

            let mut graph = Graph::new();
            let data = graph.input("data", dtype, &dims(&[4, 3, 5]));
            let indices: Vec<i64> =
                (0..6).map(|at| random.within(0..=[3, 2][at % 2]) as i64).collect();
            let indices = graph.ints_shaped(&[3, 2], &indices);
            let updates = graph.input("updates", dtype, &dims(&[3, 5]));
            let output = graph.node("ScatterND", &[&data, &indices, &updates], &reduction);
            let onnx = graph.finish_typed(&[&output], dtype);
            check(&sandbox, &format!("ScatterND of type {dtype}"), &onnx, &mut random);
        }
    }
}

/// What a `ConstantOfShape` without a value is filled with are FP32 zeros.
#[test]
fn updates_scattered_into_zeros() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(91);
    let mut graph = Graph::new();
    let shape = graph.ints(&[4, 5]);
    let zeros = graph.node("ConstantOfShape", &[&shape], &[]);
    let indices = graph.ints_shaped(&[2, 1], &[3, 1]);
    let updates = graph.input("updates", FLOAT, &dims(&[2, 5]));
    let output = graph.node("ScatterND", &[&zeros, &indices, &updates], &[]);
    check(&sandbox, "ScatterND into zeros", &graph.finish(&[&output]), &mut random);
}

#[test]
fn gathered_blocks() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(81);
    for (data, indices, batch) in [
        (&[4, 3, 5][..], &[2, 2][..], 0),
        (&[4, 3, 5], &[3, 1], 0),
        (&[2, 3, 7], &[2, 4, 1], 1),
        (&[2, 3], &[5, 2], 0),
    ] {
        for dtype in [FLOAT, FLOAT16, INT64] {
            let mut graph = Graph::new();
            let x = graph.input("x", dtype, &dims(data));
            let count: usize = indices.iter().product();
            let numbers: Vec<i64> = (0..count).map(|_| random.within(0..=1) as i64).collect();
            let at = graph.ints_shaped(indices, &numbers);
            let attributes = [("batch_dims", Attribute::Int(batch))];
            let output = graph.node("GatherND", &[&x, &at], &attributes);
            let onnx = graph.finish_typed(&[&output], dtype);
            check(&sandbox, &format!("GatherND {data:?} {indices:?}"), &onnx, &mut random);
        }
    }
}

/// Indices that ONNX leaves undefined read and write inside all the same.
#[test]
fn computed_indices_stay_inside() {
    let sandbox = sandbox(EngineKind::Native);
    let options = Options { name: "test".into(), ..Options::default() };
    let mut graph = Graph::new();
    let data = graph.input("data", FLOAT, &dims(&[3]));
    let indices = graph.input("indices", INT64, &dims(&[4]));
    let updates = graph.input("updates", FLOAT, &dims(&[4]));
    let output = graph.node("ScatterElements", &[&data, &indices, &updates], &[]);
    let mut pair = Pair::new(&sandbox, &graph.finish(&[&output]), &options);
    let indices = [i64::MIN, i64::MAX, -1, 1].iter().flat_map(|i| i.to_le_bytes()).collect();
    let indices = Tensor { dtype: leeway_contract::DType::I64, shape: vec![4], data: indices };
    let inputs =
        [Tensor::from_f32(&[3], &[0.0; 3]), indices, Tensor::from_f32(&[4], &[1.0, 2.0, 3.0, 4.0])];
    assert_eq!(pair.run(0..=0, &inputs)[0].to_f32().unwrap(), [1.0, 4.0, 3.0]);
}

#[test]
fn sampled_grids() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(82);
    for mode in ["bilinear", "nearest", "bicubic"] {
        for padding in ["zeros", "border", "reflection"] {
            for align in [0, 1] {
                for (image, grid) in [
                    (&[1, 1, 3, 5][..], &[1, 4, 3, 2][..]),
                    (&[2, 3, 1, 7], &[2, 1, 5, 2]),
                    (&[1, 2, 3, 4, 5], &[1, 2, 3, 2, 3]),
                ] {
                    if mode == "bicubic" && image.len() > 4 {
                        continue;
                    }
                    let mut graph = Graph::new();
                    let x = graph.input("x", FLOAT, &dims(image));
                    let at = graph.input("grid", FLOAT, &dims(grid));
                    // Beyond the edges as well.
                    let far = graph.floats(&[1], &[1.7]);
                    let at = graph.node("Mul", &[&at, &far], &[]);
                    let attributes = [
                        ("mode", Attribute::String(mode)),
                        ("padding_mode", Attribute::String(padding)),
                        ("align_corners", Attribute::Int(align)),
                    ];
                    let output = graph.node("GridSample", &[&x, &at], &attributes);
                    let what = format!("GridSample {mode} {padding} {align} of {image:?}");
                    check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
                }
            }
        }
    }
}

#[test]
fn fourier_transforms() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(83);
    for (shape, axis) in
        [(&[1, 7, 2][..], 1), (&[2, 8, 3, 2], 1), (&[1, 3, 16, 2], 2), (&[1, 1, 2], 1)]
    {
        for inverse in [0, 1] {
            for dtype in [FLOAT, DOUBLE] {
                let mut graph = Graph::new();
                let x = graph.input("x", dtype, &dims(shape));
                let attributes =
                    [("axis", Attribute::Int(axis)), ("inverse", Attribute::Int(inverse))];
                let output = graph.node("DFT", &[&x], &attributes);
                let onnx = graph.finish_typed(&[&output], dtype);
                check(&sandbox, &format!("DFT of {shape:?}"), &onnx, &mut random);
            }
        }
    }
    for (length, hop, frame) in [(32, 4, 8), (33, 5, 7)] {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[2, length, 1]));
        let hop = graph.ints_shaped(&[], &[hop]);
        let window = graph.floats(&[frame], &random.numbers(frame));
        let attributes = [("onesided", Attribute::Int(1))];
        let output = graph.node("STFT", &[&x, &hop, &window], &attributes);
        check(&sandbox, &format!("STFT of {length}"), &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn windows_of_three_dimensions_and_other_types() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(84);
    for operator in ["MaxPool", "AveragePool"] {
        for (kernel, stride, pads) in
            [([2, 2, 2], [1, 1, 1], [0; 6]), ([3, 1, 2], [2, 1, 3], [1, 0, 1, 1, 0, 0])]
        {
            for include in [0, 1] {
                let mut graph = Graph::new();
                let x = graph.input("x", FLOAT, &dims(&[1, 3, 5, 4, 7]));
                let mut attributes = vec![
                    ("kernel_shape", Attribute::Ints(&kernel)),
                    ("strides", Attribute::Ints(&stride)),
                    ("pads", Attribute::Ints(&pads)),
                ];
                if operator == "AveragePool" {
                    attributes.push(("count_include_pad", Attribute::Int(include)));
                }
                let output = graph.node(operator, &[&x], &attributes);
                let what = format!("{operator} {kernel:?} {stride:?} {pads:?}");
                check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
            }
        }
    }
    let kernel = [("kernel_shape", Attribute::Ints(&[2, 3]))];
    let mut graph = Graph::new();
    let x = graph.input("x", UINT8, &dims(&[1, 2, 5, 7]));
    let output = graph.node("MaxPool", &[&x], &kernel);
    let onnx = graph.finish_typed(&[&output], UINT8);
    check(&sandbox, "MaxPool of bytes", &onnx, &mut random);
    for order in [0, 1] {
        let attributes =
            [("kernel_shape", Attribute::Ints(&[2, 3])), ("storage_order", Attribute::Int(order))];
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&[2, 2, 5, 7]));
        let outputs = graph.node_with("MaxPool", &[&x], &attributes, 2);
        let onnx = graph.finish_each(&[(&outputs[0], FLOAT), (&outputs[1], INT64)]);
        check(&sandbox, "MaxPool with indices", &onnx, &mut random);
    }
}

#[test]
fn crops_that_are_resized() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(85);
    for mode in ["linear", "nearest"] {
        for roi in
            [[0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 0.6, 0.8], [0.0, 0.0, 0.4, -0.2, 1.0, 1.0, 1.4, 0.8]]
        {
            let mut graph = Graph::new();
            let x = graph.input("x", FLOAT, &dims(&[1, 1, 4, 5]));
            let roi = graph.floats(&[8], &roi);
            let sizes = graph.ints(&[1, 1, 3, 6]);
            let attributes = [
                ("mode", Attribute::String(mode)),
                ("coordinate_transformation_mode", Attribute::String("tf_crop_and_resize")),
                ("extrapolation_value", Attribute::Float(10.0)),
            ];
            let output = graph.node("Resize", &[&x, &roi, "", &sizes], &attributes);
            check(&sandbox, &format!("a crop, {mode}"), &graph.finish(&[&output]), &mut random);
        }
    }
}

#[test]
fn transpositions_of_awkward_sizes() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(84);
    for (shape, order) in [
        (&[4, 4][..], &[1, 0][..]),
        (&[5, 7], &[1, 0]),
        (&[3, 9], &[1, 0]),
        (&[6, 4, 5], &[2, 1, 0]),
        (&[2, 5, 3, 11], &[0, 2, 3, 1]),
        (&[2, 11, 5, 4], &[0, 3, 1, 2]),
        (&[3, 8, 2, 13], &[3, 0, 2, 1]),
    ] {
        for dtype in [FLOAT, INT32, DOUBLE, UINT8] {
            let mut graph = Graph::new();
            let x = graph.input("x", dtype, &dims(shape));
            let order = [("perm", Attribute::Ints(order))];
            let output = graph.node("Transpose", &[&x], &order);
            let onnx = graph.finish_typed(&[&output], dtype);
            check(&sandbox, &format!("Transpose of {shape:?}, {dtype}"), &onnx, &mut random);
        }
    }
}
