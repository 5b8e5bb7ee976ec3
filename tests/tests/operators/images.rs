//! Operators that change the size of images or move their parts: `Resize`,
//! `ConvTranspose`, `Pad`, `Tile`, `DepthToSpace`, and others that go by
//! position.

use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::sandbox;
use leeway_tests::onnx::{Attribute, FLOAT, Graph, INT64};
use leeway_tests::random::Random;

use super::{check, dims, ints};

#[test]
fn resizing() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(60);
    for case in 0..60 {
        let shape = [1, random.within(1..=5), random.within(2..=9), random.within(2..=9)];
        let mode = random.pick(&["nearest", "linear", "cubic"]);
        let coordinates =
            random.pick(&["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]);
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let attributes = [
            ("mode", Attribute::String(mode)),
            ("coordinate_transformation_mode", Attribute::String(coordinates)),
            ("nearest_mode", Attribute::String(random.pick(&["floor", "round_prefer_ceil"]))),
        ];
        let output = if random.pick(&[true, false]) {
            let scales = [1.0, 1.0, random.pick(&[0.5, 2.0, 3.0]), random.pick(&[1.0, 1.5, 2.0])];
            let scales = graph.floats(&[4], &scales);
            graph.node("Resize", &[&x, "", &scales], &attributes)
        } else {
            let sizes = [shape[0], shape[1], random.within(1..=17), random.within(1..=17)];
            let sizes = graph.ints(&ints(&sizes));
            graph.node("Resize", &[&x, "", "", &sizes], &attributes)
        };
        let what = format!("case {case}: Resize {shape:?} {mode} {coordinates}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn transposed_convolutions() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(61);
    for case in 0..80 {
        let rank = random.within(1..=3);
        let groups = random.pick(&[1, 1, 2, 4]);
        let (inputs, outputs) = (groups * random.within(1..=4), random.within(1..=5));
        let kernel: Vec<usize> = (0..rank).map(|_| random.within(1..=4)).collect();
        let stride: Vec<usize> = (0..rank).map(|_| random.within(1..=3)).collect();
        let dilation: Vec<usize> = (0..rank).map(|_| random.pick(&[1, 1, 2])).collect();
        let pads: Vec<usize> =
            (0..2 * rank).map(|i| random.within(0..=(kernel[i % rank] - 1).min(2))).collect();
        let more: Vec<usize> = stride.iter().map(|&s| random.within(0..=s - 1)).collect();
        let mut shape = vec![random.within(1..=2), inputs];
        // Large enough that something is left after the padding.
        shape.extend((0..rank).map(|_| random.within(4..=9)));
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let weight_shape = [&[inputs, outputs], &kernel[..]].concat();
        let count = weight_shape.iter().product();
        let weights = graph.floats(&weight_shape, &random.numbers(count));
        let bias = graph.floats(&[outputs * groups], &random.numbers(outputs * groups));
        let attributes = [
            ("kernel_shape", Attribute::Ints(&ints(&kernel))),
            ("strides", Attribute::Ints(&ints(&stride))),
            ("dilations", Attribute::Ints(&ints(&dilation))),
            ("pads", Attribute::Ints(&ints(&pads))),
            ("output_padding", Attribute::Ints(&ints(&more))),
            ("group", Attribute::Int(groups as i64)),
        ];
        let up = graph.node("ConvTranspose", &[&x, &weights, &bias], &attributes);
        let output = graph.node("Relu", &[&up], &[]);
        let what = format!(
            "case {case}: {shape:?} * {weight_shape:?} stride {stride:?} dilation {dilation:?} \
             pads {pads:?} more {more:?} groups {groups}"
        );
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

/// Every second row and column of tokens that are turned into an image, as in LeViT: tract
/// alone gives up.
#[test]
fn slices_with_a_step_of_what_was_reshaped() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(92);
    let mut graph = Graph::new();
    let tokens = graph.input("tokens", FLOAT, &dims(&[1, 30, 4]));
    let shape = graph.ints(&[1, 5, 6, 4]);
    let image = graph.node("Reshape", &[&tokens, &shape], &[]);
    let (starts, ends) = (graph.ints(&[0, 1]), graph.ints(&[5, 6]));
    let (axes, steps) = (graph.ints(&[1, 2]), graph.ints(&[2, 2]));
    let image = graph.node("Slice", &[&image, &starts, &ends, &axes, &steps], &[]);
    let shape = graph.ints(&[1, 9, 4]);
    let tokens = graph.node("Reshape", &[&image, &shape], &[]);
    check(&sandbox, "slices of a reshape", &graph.finish(&[&tokens]), &mut random);
}

#[test]
fn padding_from_inside() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(62);
    for case in 0..30 {
        let shape: Vec<usize> = (0..3).map(|_| random.within(3..=7)).collect();
        let mode = random.pick(&["reflect", "edge"]);
        let pads: Vec<i64> = (0..6).map(|_| random.within(0..=2) as i64).collect();
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let pads = graph.ints(&pads);
        let output = graph.node("Pad", &[&x, &pads], &[("mode", Attribute::String(mode))]);
        let what = format!("case {case}: Pad {mode} {shape:?}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn moving_blocks() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(63);
    let block = ("blocksize", 2);
    for (operator, shape) in [("DepthToSpace", [1, 8, 3, 5]), ("SpaceToDepth", [1, 3, 4, 6])] {
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let output = graph.node(operator, &[&x], &[(block.0, Attribute::Int(block.1))]);
        check(&sandbox, operator, &graph.finish(&[&output]), &mut random);
    }
    for case in 0..20 {
        let shape: Vec<usize> = (0..3).map(|_| random.within(1..=6)).collect();
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let times = graph.ints(&[random.within(1..=3) as i64, 2, random.within(1..=3) as i64]);
        let tiled = graph.node("Tile", &[&x, &times], &[]);
        let [starts, ends, axes, steps] =
            [&[-1i64][..], &[i64::MIN], &[1], &[-2]].map(|numbers| graph.ints(numbers));
        let output = graph.node("Slice", &[&tiled, &starts, &ends, &axes, &steps], &[]);
        let what = format!("case {case}: Tile and Slice backwards {shape:?}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn triangles_sums_and_marks() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(64);
    for case in 0..40 {
        let shape: Vec<usize> = (0..3).map(|_| random.within(1..=7)).collect();
        let mut graph = Graph::new();
        let x = graph.input("x", FLOAT, &dims(&shape));
        let operator = random.pick(&["Trilu", "CumSum", "Hardmax", "LRN"]);
        let output = match operator {
            "Trilu" => {
                let k = graph.ints_shaped(&[], &[random.within(0..=4) as i64 - 2]);
                let upper = ("upper", Attribute::Int(random.within(0..=1) as i64));
                graph.node("Trilu", &[&x, &k], &[upper])
            }
            "CumSum" => {
                let axis = graph.ints_shaped(&[], &[random.within(0..=2) as i64]);
                let attributes = [
                    ("exclusive", Attribute::Int(random.within(0..=1) as i64)),
                    ("reverse", Attribute::Int(random.within(0..=1) as i64)),
                ];
                graph.node("CumSum", &[&x, &axis], &attributes)
            }
            "Hardmax" => {
                let axis = random.within(0..=2) as i64;
                graph.node("Hardmax", &[&x], &[("axis", Attribute::Int(axis))])
            }
            _ => {
                let size = random.pick(&[1, 3, 5]);
                graph.node("LRN", &[&x], &[("size", Attribute::Int(size))])
            }
        };
        let what = format!("case {case}: {operator} {shape:?}");
        check(&sandbox, &what, &graph.finish(&[&output]), &mut random);
    }
}

#[test]
fn cumulative_sums_of_integers() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(65);
    let mut graph = Graph::new();
    let x = graph.input("x", INT64, &dims(&[3, 5]));
    let axis = graph.ints_shaped(&[], &[1]);
    let output = graph.node("CumSum", &[&x, &axis], &[]);
    let onnx = graph.finish_typed(&[&output], INT64);
    check(&sandbox, "CumSum of I64", &onnx, &mut random);
}
