//! `LinearRegressor` and `LinearClassifier`.

use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::Random;

use super::{argmax, assert_close, check_fuel, dims, floats, integers, matrix, native, pair, run};

/// Products of each row with each row of coefficients, plus intercepts.
fn scores(x: &[f32], features: usize, coefficients: &[f32], intercepts: &[f32]) -> Vec<Vec<f64>> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    x.chunks_exact(features)
        .map(|row| {
            let rows = coefficients.chunks_exact(features).zip(intercepts);
            rows.map(|(of, &intercept)| dot(row, of) + f64::from(intercept)).collect()
        })
        .collect()
}

#[test]
fn regressors_of_several_targets() {
    let (sandbox, mut random) = (native(), Random::new(80));
    for (rows, features, targets) in [(1, 1, 1), (1, 13, 1), (3, 5, 2), (9, 7, 3), (64, 4, 5)] {
        let coefficients = random.numbers(features * targets);
        let intercepts = random.numbers(targets);
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, features]));
        let attributes = [
            ("targets", Attribute::Int(targets as i64)),
            ("coefficients", Attribute::Floats(&coefficients)),
            ("intercepts", Attribute::Floats(&intercepts)),
        ];
        graph.classical("LinearRegressor", &["x"], &["y"], &attributes);
        let mut pair = pair(&sandbox, "regressor", graph, &["y"]);
        let x = random.numbers(rows * features);
        let seen = run(&mut pair, &[matrix(rows, &x)]);
        let wanted = scores(&x, features, &coefficients, &intercepts).concat();
        assert_close(&floats(&seen[0]), &wanted, 1e-6, "regressor");
        check_fuel(&mut pair, &mut random);
    }
}

#[test]
fn classifiers_of_two_and_more_classes() {
    let (sandbox, mut random) = (native(), Random::new(81));
    for (rows, features, classes, transform) in [
        (1, 30, 1, "LOGISTIC"),
        (5, 3, 1, "NONE"),
        (7, 4, 3, "SOFTMAX"),
        (8, 4, 3, "LOGISTIC"),
        (3, 6, 10, "NONE"),
    ] {
        let what = format!("{rows} rows, {classes} scores, {transform}");
        let coefficients = random.numbers(features * classes);
        let intercepts = random.numbers(classes);
        let labels: Vec<i64> = (0..classes.max(2) as i64).map(|class| 3 * class - 1).collect();
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, features]));
        let attributes = [
            ("classlabels_ints", Attribute::Ints(&labels)),
            ("coefficients", Attribute::Floats(&coefficients)),
            ("intercepts", Attribute::Floats(&intercepts)),
            ("post_transform", Attribute::String(transform)),
        ];
        graph.classical("LinearClassifier", &["x"], &["label", "scores"], &attributes);
        let mut pair = pair(&sandbox, &what, graph, &["label", "scores"]);
        let x = random.numbers(rows * features);
        let seen = run(&mut pair, &[matrix(rows, &x)]);
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut wanted, mut of_rows) = (Vec::new(), Vec::new());
        for scores in scores(&x, features, &coefficients, &intercepts) {
            let class = match &*scores {
                &[score] => usize::from(score > 0.0),
                scores => argmax(scores),
            };
            of_rows.push(labels[class]);
            match (transform, &*scores) {
                ("LOGISTIC", &[score]) => wanted.extend([logistic(-score), logistic(score)]),
                (_, &[score]) => wanted.extend([1.0 - score, score]),
                ("LOGISTIC", scores) => wanted.extend(scores.iter().map(|&score| logistic(score))),
                ("SOFTMAX", scores) => {
                    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
                    wanted.extend(scores.iter().map(|score| score.exp() / sum));
                }
                (_, scores) => wanted.extend(scores),
            }
        }
        assert_eq!(integers(&seen[0]), of_rows, "{what}");
        assert_close(&floats(&seen[1]), &wanted, 1e-6, &what);
        check_fuel(&mut pair, &mut random);
    }
}
