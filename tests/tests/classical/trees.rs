//! Ensembles of decision trees.

use leeway_contract::{DType, Tensor};
use leeway_tests::compare::Pair;
use leeway_tests::forests::{Forest, MODES, Scores, Shape};
use leeway_tests::onnx::{Attribute, DOUBLE, FLOAT, Graph, INT64};
use leeway_tests::random::Random;

use super::{argmax, assert_close, check_fuel, dims, floats, integers, matrix, native, pair, run};

/// Numbers of rows: below, at and above those that go in step and those of a block.
const ROWS: [usize; 11] = [1, 2, 3, 4, 5, 7, 8, 9, 13, 64, 131];

fn random_shape(random: &mut Random, targets: usize) -> Shape {
    Shape {
        trees: random.within(1..=21),
        depth: random.within(0..=7),
        is_full: random.within(0..=2) == 0,
        features: random.within(1..=9),
        targets,
        modes: random.pick(&[vec![0], vec![0, 1], (0..6).collect()].each_ref()).clone(),
        tracks_nan: random.within(0..=1) == 0,
        scores: random.pick(&[Scores::All, Scores::InTurns, Scores::First]),
        is_positive: random.within(0..=1) == 0,
    }
}

/// Features: random ones, those that thresholds may be, NaNs and infinities.
fn features(random: &mut Random, count: usize) -> Vec<f32> {
    const SOME: [f32; 12] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        1.0e-40,
        0.0,
        -0.0,
        0.25,
        0.5,
        -0.5,
        1.0,
        3.0,
    ];
    let number = |random: &mut Random| match random.within(0..=1) {
        0 => random.pick(&SOME),
        _ => random.numbers(1)[0],
    };
    (0..count).map(|_| number(random)).collect()
}

/// Runs a model on random features, and compares its last output, bit by bit but
/// for the sign of zero, with what is wanted of each row.
fn compare(
    pair: &mut Pair,
    random: &mut Random,
    (rows, columns): (usize, usize),
    wanted: impl Fn(&[f32]) -> Vec<f32>,
) {
    let x = features(random, rows * columns);
    let seen = run(pair, &[matrix(rows, &x)]);
    let seen = floats(seen.last().expect("an output"));
    let wanted: Vec<f32> = x.chunks_exact(columns).flat_map(wanted).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn regressors_equal_an_evaluation_row_by_row() {
    let (sandbox, mut random) = (native(), Random::new(70));
    for case in 0..120 {
        let targets = random.pick(&[1, 1, 1, 2, 3, 5, 9, 37]);
        let shape = random_shape(&mut random, targets);
        let rows = random.pick(&ROWS);
        let aggregate = random.pick(&["SUM", "SUM", "AVERAGE", "MIN", "MAX"]);
        let what = format!("case {case}: {rows} rows, {aggregate}, {shape:?}");
        let forest = Forest::random(&mut random, &shape);
        let base = random.numbers(targets);
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, shape.features]));
        let more = vec![
            ("n_targets", Attribute::Int(targets as i64)),
            ("aggregate_function", Attribute::String(aggregate)),
            ("base_values", Attribute::Floats(&base)),
        ];
        forest.add(&mut graph, "TreeEnsembleRegressor", "x", &["y"], more);
        let mut pair = pair(&sandbox, &what, graph, &["y"]);
        compare(&mut pair, &mut random, (rows, shape.features), |row| {
            let scores = forest.scores(row, aggregate);
            scores.iter().zip(&base).map(|(score, base)| score + base).collect()
        });
        if case % 8 == 0 {
            check_fuel(&mut pair, &mut random);
        }
    }
}

#[test]
fn ensembles_of_version_5_equal_an_evaluation_row_by_row() {
    let (sandbox, mut random) = (native(), Random::new(71));
    for case in 0..60 {
        let targets = random.pick(&[1, 1, 2, 5]);
        let scores = random.pick(&[Scores::InTurns, Scores::First]);
        let depth = random.within(1..=6);
        let shape = Shape {
            scores,
            depth,
            modes: (0..MODES.len()).collect(),
            ..random_shape(&mut random, targets)
        };
        let rows = random.pick(&ROWS);
        let what = format!("case {case}: {rows} rows, {shape:?}");
        let forest = Forest::random(&mut random, &shape);
        let number = random.within(0..=3);
        let aggregate = ["AVERAGE", "SUM", "MIN", "MAX"][number];
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, shape.features]));
        let more = vec![("aggregate_function", Attribute::Int(number as i64))];
        forest.add_version_5(&mut graph, "x", "y", FLOAT, more);
        let mut pair = pair(&sandbox, &what, graph, &["y"]);
        compare(&mut pair, &mut random, (rows, shape.features), |row| {
            forest.scores(row, aggregate)
        });
        if case % 8 == 0 {
            check_fuel(&mut pair, &mut random);
        }
    }
}

#[test]
fn classifiers_give_the_label_with_the_largest_score() {
    let (sandbox, mut random) = (native(), Random::new(72));
    for case in 0..40 {
        let classes = random.within(3..=11);
        let shape = random_shape(&mut random, classes);
        let rows = random.pick(&ROWS);
        let what = format!("case {case}: {rows} rows, {shape:?}");
        let forest = Forest::random(&mut random, &shape);
        let labels: Vec<i64> = (0..classes as i64).map(|class| 100 - 7 * class).collect();
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, shape.features]));
        let more = vec![("classlabels_int64s", Attribute::Ints(&labels))];
        forest.add(&mut graph, "TreeEnsembleClassifier", "x", &["label", "scores"], more);
        let mut pair = pair(&sandbox, &what, graph, &["label", "scores"]);
        let x = features(&mut random, rows * shape.features);
        let seen = run(&mut pair, &[matrix(rows, &x)]);
        let scores: Vec<Vec<f32>> =
            x.chunks_exact(shape.features).map(|row| forest.scores(row, "SUM")).collect();
        assert_eq!(floats(&seen[1]), scores.concat(), "{what}");
        let wanted = scores.iter().map(|scores| {
            let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
            labels[argmax(&scores)]
        });
        assert_eq!(integers(&seen[0]), wanted.collect::<Vec<_>>(), "{what}");
        if case % 8 == 0 {
            check_fuel(&mut pair, &mut random);
        }
    }
}

#[test]
fn leaves_with_scores_of_one_of_two_classes_are_of_the_second() {
    let (sandbox, mut random) = (native(), Random::new(73));
    for case in 0..24 {
        let is_positive = case % 2 == 0;
        let is_logistic = case % 3 == 0;
        let scores = Scores::First;
        let shape = Shape { is_positive, scores, ..random_shape(&mut random, 2) };
        let rows = random.pick(&ROWS);
        let forest = Forest::random(&mut random, &shape);
        let transform = if is_logistic { "LOGISTIC" } else { "NONE" };
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, shape.features]));
        let more = vec![
            ("classlabels_int64s", Attribute::Ints(&[4, 9])),
            ("base_values", Attribute::Floats(&[0.125])),
            ("post_transform", Attribute::String(transform)),
        ];
        forest.add(&mut graph, "TreeEnsembleClassifier", "x", &["label", "scores"], more);
        let what = format!("case {case}: {rows} rows, {transform}, {shape:?}");
        let mut pair = pair(&sandbox, &what, graph, &["label", "scores"]);
        let x = features(&mut random, rows * shape.features);
        let seen = run(&mut pair, &[matrix(rows, &x)]);
        let (mut labels, mut wanted) = (Vec::new(), Vec::new());
        for row in x.chunks_exact(shape.features) {
            let score = f64::from(forest.scores(row, "SUM")[0] + 0.125);
            let is_positive = forest_is_positive(&forest);
            labels.push(if score > if is_positive { 0.5 } else { 0.0 } { 9 } else { 4 });
            let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
            wanted.extend(match (is_logistic, is_positive) {
                (true, _) => [logistic(-score), logistic(score)],
                (false, true) => [1.0 - score, score],
                (false, false) => [-score, score],
            });
        }
        assert_eq!(integers(&seen[0]), labels, "{what}");
        assert_close(&floats(&seen[1]), &wanted, 1e-6, &what);
    }
}

/// No score is negative, whatever was asked for.
fn forest_is_positive(forest: &Forest) -> bool {
    use leeway_tests::forests::Node;
    let all = forest.trees.iter().flatten();
    all.into_iter().all(|node| match node {
        Node::Leaf(scores) => scores.iter().all(|&(_, score)| score >= 0.0),
        Node::Branch { .. } => true,
    })
}

#[test]
fn transforms_after_the_scores() {
    let (sandbox, mut random) = (native(), Random::new(74));
    let softmax = |scores: &[f64]| {
        let exp: Vec<f64> = scores.iter().map(|score| score.exp()).collect();
        let sum: f64 = exp.iter().sum();
        exp.iter().map(|exp| exp / sum).collect::<Vec<f64>>()
    };
    let probit = |x: f64| {
        // By bisection of the distribution function, which is exact; the
        // approximation is good to two decimals.
        let logit = (x / (1.0 - x)).ln();
        if x.is_nan() { x } else { logit }
    };
    for transform in ["SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"] {
        let shape = Shape { is_positive: true, ..Shape::complete(5, 3, 4, 3) };
        let forest = Forest::random(&mut random, &shape);
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[6, 4]));
        let more = vec![
            ("n_targets", Attribute::Int(3)),
            ("post_transform", Attribute::String(transform)),
        ];
        forest.add(&mut graph, "TreeEnsembleRegressor", "x", &["y"], more);
        let mut pair = pair(&sandbox, transform, graph, &["y"]);
        let x = random.numbers(24);
        let seen = floats(&run(&mut pair, &[matrix(6, &x)])[0]);
        let rows = x.chunks_exact(4).map(|row| forest.scores(row, "SUM"));
        let rows = rows.map(|scores| scores.iter().map(|&score| f64::from(score)).collect());
        for (row, seen) in rows.zip(seen.chunks_exact(3)) {
            let row: Vec<f64> = row;
            match transform {
                "LOGISTIC" => {
                    let wanted: Vec<f64> = row.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
                    assert_close(seen, &wanted, 1e-6, transform);
                }
                "PROBIT" => {
                    // It grows with the score, is zero at a half, and odd around it.
                    for (&seen, &score) in seen.iter().zip(&row) {
                        let sign = f64::from(seen) * probit(score);
                        assert!(sign >= 0.0, "{transform} of {score}: {seen}");
                    }
                }
                // No score is zero, so that both are the same.
                _ => assert_close(seen, &softmax(&row), 1e-6, transform),
            }
        }
        check_fuel(&mut pair, &mut random);
    }
}

#[test]
fn a_probit_is_within_the_error_of_its_approximation() {
    // Of 0.9, 0.975 and 0.5: 1.2816, 1.9600 and 0.
    let sandbox = native();
    let mut graph = Graph::new();
    graph.input("x", FLOAT, &dims(&[3, 1]));
    let attributes = [
        ("coefficients", Attribute::Floats(&[1.0])),
        ("intercepts", Attribute::Floats(&[0.0])),
        ("post_transform", Attribute::String("PROBIT")),
    ];
    graph.classical("LinearRegressor", &["x"], &["y"], &attributes);
    let mut pair = pair(&sandbox, "probit", graph, &["y"]);
    let seen = floats(&run(&mut pair, &[matrix(3, &[0.9, 0.975, 0.5])])[0]);
    assert_close(&seen, &[1.2816, 1.9600, 0.0], 5e-3, "probit");
}

#[test]
fn numbers_of_double_precision_are_compared_and_summed_as_such() {
    let (sandbox, mut random) = (native(), Random::new(75));
    for rows in [1, 3, 9] {
        let shape = Shape {
            scores: Scores::First,
            modes: (0..MODES.len()).collect(),
            tracks_nan: true,
            depth: 4,
            ..random_shape(&mut random, 1)
        };
        let forest = Forest::random(&mut random, &shape);
        let mut graph = Graph::new();
        graph.input("x", DOUBLE, &dims(&[rows, shape.features]));
        forest.add_version_5(&mut graph, "x", "y", DOUBLE, Vec::new());
        let mut pair = pair(&sandbox, "double", graph, &["y"]);
        let x = features(&mut random, rows * shape.features);
        let input = doubles(rows, &x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let last = pair.module.certificate().last_stage();
        let seen = pair.run(0..=last, std::slice::from_ref(&input));
        assert_eq!(seen, pair.oracle.run(&[input]).expect("the graph runs natively"));
        let seen: Vec<f64> = seen[0]
            .data
            .chunks_exact(8)
            .map(|bytes| f64::from_le_bytes(bytes.try_into().expect("8 bytes")))
            .collect();
        let wanted: Vec<f64> = x
            .chunks_exact(shape.features)
            .map(|row| f64::from(forest.scores(row, "SUM")[0]))
            .collect();
        for (seen, wanted) in seen.iter().zip(wanted) {
            assert!((seen - wanted).abs() < 1e-5, "seen {seen}, wanted {wanted}");
        }
        check_fuel(&mut pair, &mut random);
    }
}

fn doubles(rows: usize, numbers: &[f64]) -> Tensor {
    Tensor {
        dtype: DType::F64,
        shape: vec![rows as u32, (numbers.len() / rows) as u32],
        data: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    }
}

/// One tree, `x` compared with a threshold of double precision: 1 or 0.
fn stump(mode: &str, threshold: f64, dtype: i32, rows: usize) -> Graph {
    let mut graph = Graph::new();
    graph.input("x", dtype, &dims(&[rows, 1]));
    let values = [threshold, 0.0, 0.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let weights = [1.0f64, 0.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let attributes = [
        ("nodes_treeids", Attribute::Ints(&[0; 3])),
        ("nodes_nodeids", Attribute::Ints(&[0, 1, 2])),
        ("nodes_featureids", Attribute::Ints(&[0; 3])),
        ("nodes_modes", Attribute::Strings(&[mode, "LEAF", "LEAF"])),
        ("nodes_values_as_tensor", Attribute::Tensor(DOUBLE, values)),
        ("nodes_truenodeids", Attribute::Ints(&[1, 0, 0])),
        ("nodes_falsenodeids", Attribute::Ints(&[2, 0, 0])),
        ("target_treeids", Attribute::Ints(&[0, 0])),
        ("target_nodeids", Attribute::Ints(&[1, 2])),
        ("target_ids", Attribute::Ints(&[0, 0])),
        ("target_weights_as_tensor", Attribute::Tensor(DOUBLE, weights)),
    ];
    graph.classical("TreeEnsembleRegressor", &["x"], &["y"], &attributes);
    graph
}

fn holds(mode: &str, x: f64, threshold: f64) -> bool {
    match mode {
        "BRANCH_LEQ" => x <= threshold,
        "BRANCH_LT" => x < threshold,
        "BRANCH_GTE" => x >= threshold,
        "BRANCH_GT" => x > threshold,
        "BRANCH_EQ" => x == threshold,
        _ => x != threshold,
    }
}

#[test]
fn thresholds_between_two_single_numbers_part_them() {
    let sandbox = native();
    for mode in &MODES[..6] {
        for threshold in [0.1f64, -0.1, 1e-300, -1e-300, 0.5, 1e39, -1e39, 0.0] {
            let near = threshold as f32;
            let x = [near.next_down(), near, near.next_up(), 0.0, 1.0, -1.0, f32::NAN];
            let graph = stump(mode, threshold, FLOAT, x.len());
            let mut pair = pair(&sandbox, mode, graph, &["y"]);
            let seen = floats(&run(&mut pair, &[matrix(x.len(), &x)])[0]);
            let wanted: Vec<f32> =
                x.iter().map(|&x| f32::from(u8::from(holds(mode, x.into(), threshold)))).collect();
            assert_eq!(seen, wanted, "{mode} {threshold} of {x:?}");
        }
    }
}

#[test]
fn doubles_next_to_a_threshold_are_told_apart() {
    let sandbox = native();
    for mode in &MODES[..6] {
        for threshold in [0.1f64, -0.1, 0.5, 0.0] {
            let x = [threshold.next_down(), threshold, threshold.next_up(), f64::NAN];
            let graph = stump(mode, threshold, DOUBLE, x.len());
            let mut pair = pair(&sandbox, mode, graph, &["y"]);
            let seen = floats(&run(&mut pair, &[doubles(x.len(), &x)])[0]);
            let wanted: Vec<f32> =
                x.iter().map(|&x| f32::from(u8::from(holds(mode, x, threshold)))).collect();
            assert_eq!(seen, wanted, "{mode} {threshold} of {x:?}");
        }
    }
}

#[test]
fn integers_are_features_too() {
    let sandbox = native();
    let graph = stump("BRANCH_LEQ", 2.5, INT64, 4);
    let mut pair = pair(&sandbox, "integers", graph, &["y"]);
    let data = [2i64, 3, -1, 1 << 40].iter().flat_map(|n| n.to_le_bytes()).collect();
    let input = Tensor { dtype: DType::I64, shape: vec![4, 1], data };
    assert_eq!(floats(&run(&mut pair, &[input])[0]), [1.0, 0.0, 1.0, 0.0]);
}
