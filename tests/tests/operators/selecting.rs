//! Operators that select by value: the largest elements, those that are not 0, boxes
//! that do not overlap.

use leeway_compiler::{Options, compile};
use leeway_contract::Tensor;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::onnx::{Attribute, BOOL, DOUBLE, FLOAT, Graph, INT32, INT64};
use leeway_tests::random::{Random, STYLES, Style};

use super::{check, dims};

fn integers(tensor: &Tensor) -> Vec<i64> {
    tensor.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}

fn options() -> Options {
    Options { name: "test".into(), ..Options::default() }
}

/// A model of `TopK` whose outputs are both wanted.
fn top_k(shape: &[usize], dtype: i32, k: usize, axis: i64, largest: bool) -> Vec<u8> {
    let mut graph = Graph::new();
    let x = graph.input("x", dtype, &dims(shape));
    let k = graph.ints(&[k as i64]);
    let attributes = [("axis", Attribute::Int(axis)), ("largest", Attribute::Int(largest.into()))];
    let outputs = graph.node_with("TopK", &[&x, &k], &attributes, 2);
    graph.finish_each(&[(&outputs[0], dtype), (&outputs[1], INT64)])
}

#[test]
fn the_largest_elements() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(60);
    // Of few and of many, so that both ways of finding them are taken.
    for (shape, k, axis) in [
        (&[7][..], 3, 0),
        (&[1], 1, 0),
        (&[5, 3], 5, 0),
        (&[2, 33], 33, 1),
        (&[3, 70, 2], 40, 1),
        (&[2, 130], 100, -1),
    ] {
        for dtype in [FLOAT, DOUBLE, INT32, INT64] {
            for largest in [true, false] {
                let onnx = top_k(shape, dtype, k, axis, largest);
                let what = format!("TopK {k} of {shape:?} of type {dtype}");
                check(&sandbox, &what, &onnx, &mut random);
            }
        }
    }
}

/// Against a sort, with NaNs above all numbers and the first of equals first.
#[test]
fn elements_that_are_equal_or_nan_have_an_order() {
    let sandbox = sandbox(EngineKind::Native);
    for (count, k) in [(9, 4), (64, 64)] {
        for largest in [true, false] {
            let onnx = top_k(&[count], FLOAT, k, 0, largest);
            let mut pair = Pair::new(&sandbox, &onnx, &options());
            let pick = [0.0, -0.0, f32::NAN, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, 1.0];
            let numbers: Vec<f32> = (0..count).map(|i| pick[i * i % pick.len()]).collect();
            let mut order: Vec<usize> = (0..count).collect();
            let key = |&at: &usize| match numbers[at] {
                x if x.is_nan() => f32::INFINITY.to_bits() as i32 + 1,
                0.0 => 0,
                x => x.to_bits() as i32 ^ ((x.to_bits() as i32 >> 31) as u32 >> 1) as i32,
            };
            order.sort_by_key(|at| if largest { !key(at) } else { key(at) });
            let input = Tensor::from_f32(&[count as u32], &numbers);
            let seen = pair.run(0..=0, &[input]);
            let wanted: Vec<i64> = order[..k].iter().map(|&at| at as i64).collect();
            assert_eq!(integers(&seen[1]), wanted, "{numbers:?}");
        }
    }
}

#[test]
fn coordinates_of_what_is_not_zero_are_padded() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(61);
    for shape in [&[1][..], &[5], &[3, 4], &[2, 3, 3]] {
        for dtype in [FLOAT, BOOL, INT64] {
            let mut graph = Graph::new();
            let x = graph.input("x", dtype, &dims(shape));
            let output = graph.node("NonZero", &[&x], &[]);
            let onnx = graph.finish_typed(&[&output], INT64);
            check(&sandbox, &format!("NonZero of {shape:?}"), &onnx, &mut random);
        }
    }
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &dims(&[2, 3]));
    let output = graph.node("NonZero", &[&x], &[]);
    let onnx = graph.finish_typed(&[&output], INT64);
    let mut pair = Pair::new(&sandbox, &onnx, &options());
    let input = Tensor::from_f32(&[2, 3], &[0.0, 2.0, -0.0, f32::NAN, 0.0, 1.0]);
    let seen = pair.run(0..=0, &[input]);
    let wanted = [0, 1, 1, -1, -1, -1, 1, 0, 2, -1, -1, -1];
    assert_eq!((&seen[0].shape[..], &integers(&seen[0])[..]), (&[2, 6][..], &wanted[..]));
}

/// One case of non-maximum suppression.
#[derive(Clone, Copy, Debug)]
struct Suppression {
    batches: usize,
    classes: usize,
    boxes: usize,
    most: usize,
    overlap: f32,
    threshold: Option<f32>,
}

impl Suppression {
    fn model(&self) -> Vec<u8> {
        let mut graph = Graph::new();
        let boxes = graph.input("boxes", FLOAT, &dims(&[self.batches, self.boxes, 4]));
        let scores = graph.input("scores", FLOAT, &dims(&[self.batches, self.classes, self.boxes]));
        let most = graph.ints(&[self.most as i64]);
        let overlap = graph.floats(&[1], &[self.overlap]);
        let mut inputs = vec![boxes.as_str(), &scores, &most, &overlap];
        let threshold = self.threshold.map(|threshold| graph.floats(&[1], &[threshold]));
        inputs.extend(threshold.as_deref());
        let output = graph.node("NonMaxSuppression", &inputs, &[]);
        graph.finish_typed(&[&output], INT64)
    }

    /// As ONNX describes it: boxes in the order of their scores, each kept if it
    /// overlaps none that was kept before it.
    fn select(&self, boxes: &[f32], scores: &[f32]) -> Vec<i64> {
        let mut rows = Vec::new();
        for batch in 0..self.batches {
            let corner = |at: usize| -> [f32; 4] {
                let given = &boxes[4 * (batch * self.boxes + at)..][..4];
                [
                    given[0].min(given[2]),
                    given[1].min(given[3]),
                    given[0].max(given[2]),
                    given[1].max(given[3]),
                ]
            };
            for class in 0..self.classes {
                let scores = &scores[(batch * self.classes + class) * self.boxes..][..self.boxes];
                let mut order: Vec<usize> = (0..self.boxes).collect();
                order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
                let mut kept: Vec<usize> = Vec::new();
                for at in order {
                    let passes = self.threshold.is_none_or(|threshold| scores[at] > threshold);
                    let is_free = kept
                        .iter()
                        .all(|&other| overlap(corner(at), corner(other)) <= self.overlap);
                    if kept.len() < self.most && passes && is_free {
                        kept.push(at);
                        rows.extend([batch as i64, class as i64, at as i64]);
                    }
                }
            }
        }
        rows
    }
}

/// The intersection of two boxes by their union.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let height = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let width = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = height * width;
    if both == 0.0 { 0.0 } else { both / (area(a) + area(b) - both) }
}

#[test]
fn overlapping_boxes_are_suppressed() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(62);
    for (batches, classes, boxes, most) in
        [(1, 1, 1, 1), (1, 2, 5, 3), (2, 3, 37, 6), (1, 1, 64, 64)]
    {
        for (overlap, threshold) in [(0.3, None), (0.5, Some(0.4)), (0.0, Some(0.9))] {
            let case = Suppression { batches, classes, boxes, most, overlap, threshold };
            let mut pair = Pair::new(&sandbox, &case.model(), &options());
            for _ in 0..4 {
                let inputs = pair.inputs(&mut random, Style::Tame);
                let [of_boxes, scores] = [0, 1].map(|at| inputs[at].to_f32().unwrap());
                let mut wanted = case.select(&of_boxes, &scores);
                wanted.resize(3 * batches * classes * most.min(boxes), -1);
                let seen = pair.run(0..=0, &inputs);
                assert_eq!(integers(&seen[0]), wanted, "{case:?}");
            }
            // NaN boxes and scores cost the same fuel.
            for style in STYLES {
                let inputs = pair.inputs(&mut random, style);
                pair.run(0..=0, &inputs);
            }
            pair.assert_fuel_of_all_ranges(&mut random);
        }
    }
}

/// A small detector in the style of YOLO: a convolutional body, boxes and scores from
/// its head, and the suppression in the graph.
#[test]
fn a_detector_with_its_suppression() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(63);
    let (classes, cells) = (3usize, 64usize);
    let mut graph = Graph::new();
    let image = graph.input("image", FLOAT, &dims(&[1, 3, 32, 32]));
    let mut layer = |graph: &mut Graph, x: &str, from: usize, to: usize, stride: i64| {
        let weights: Vec<f32> = random.numbers(to * from * 9).iter().map(|w| w * 0.3).collect();
        let weights = graph.floats(&[to, from, 3, 3], &weights);
        let attributes = [
            ("pads", Attribute::Ints(&[1, 1, 1, 1])),
            ("strides", Attribute::Ints(&[stride, stride])),
        ];
        let conv = graph.node("Conv", &[x, &weights], &attributes);
        let gate = graph.node("Sigmoid", &[&conv], &[]);
        graph.node("Mul", &[&conv, &gate], &[])
    };
    let x = layer(&mut graph, &image, 3, 8, 2);
    let x = layer(&mut graph, &x, 8, 16, 2);
    let head = layer(&mut graph, &x, 16, 4 + classes, 1);
    let shape = graph.ints(&[1, 4 + classes as i64, cells as i64]);
    let head = graph.node("Reshape", &[&head, &shape], &[]);
    let part = |graph: &mut Graph, from: i64, to: i64| {
        let (from, to, axis) = (graph.ints(&[from]), graph.ints(&[to]), graph.ints(&[1]));
        graph.node("Slice", &[&head, &from, &to, &axis], &[])
    };
    let boxes = part(&mut graph, 0, 4);
    let boxes = graph.node("Sigmoid", &[&boxes], &[]);
    let boxes = graph.node("Transpose", &[&boxes], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
    let scores = part(&mut graph, 4, 4 + classes as i64);
    let scores = graph.node("Sigmoid", &[&scores], &[]);
    let (most, share) = (graph.ints(&[5]), graph.floats(&[1], &[0.45]));
    let threshold = graph.floats(&[1], &[0.25]);
    let inputs = [boxes.as_str(), &scores, &most, &share, &threshold];
    let centers = [("center_point_box", Attribute::Int(1))];
    let selected = graph.node("NonMaxSuppression", &inputs, &centers);
    let onnx = graph.finish_typed(&[&selected], INT64);
    check(&sandbox, "a detector", &onnx, &mut random);
}

#[test]
fn what_must_be_known_is_named() {
    let mut graph = Graph::new();
    let boxes = graph.input("boxes", FLOAT, &dims(&[1, 4, 4]));
    let scores = graph.input("scores", FLOAT, &dims(&[1, 1, 4]));
    let most = graph.ints(&[2]);
    let overlap = graph.input("overlap", FLOAT, &dims(&[1]));
    let output = graph.node("NonMaxSuppression", &[&boxes, &scores, &most, &overlap], &[]);
    let onnx = graph.finish_typed(&[&output], INT64);
    let Err(error) = compile(&onnx, &options()) else { panic!("it was compiled") };
    let message = error.to_string();
    assert!(message.contains("iou_threshold") && message.contains("constant"), "{message}");
}
