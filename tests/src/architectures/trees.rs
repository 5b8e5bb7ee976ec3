//! Ensembles of decision trees: a random forest with the depth that people limit
//! it to, and gradient boosting with the depths of scikit-learn (3) and XGBoost
//! (6).

use crate::forests::{Forest, Scores, Shape};
use crate::onnx::{Attribute, FLOAT, Graph};
use crate::random::Random;

/// A forest of 100 trees of depth 8 on 64 features, with 10 classes, for this many
/// rows.
pub fn forest(rows: usize) -> Vec<u8> {
    let shape = Shape { is_positive: true, ..Shape::complete(100, 8, 64, 10) };
    let forest = Forest::random(&mut Random::new(20), &shape);
    let mut graph = Graph::new();
    graph.input("input", FLOAT, &[rows, shape.features].map(Into::into));
    let labels: Vec<i64> = (0..shape.targets as i64).collect();
    let more = vec![("classlabels_int64s", Attribute::Ints(&labels))];
    forest.add(&mut graph, "TreeEnsembleClassifier", "input", &["label", "scores"], more);
    graph.finish(&["label", "scores"])
}

/// 200 boosted trees of depth 3 on 30 features, for this many rows.
pub fn boosted(rows: usize) -> Vec<u8> {
    regressor(rows, 3)
}

/// 200 boosted trees of depth 6 on 30 features, for this many rows.
pub fn deep_boosted(rows: usize) -> Vec<u8> {
    regressor(rows, 6)
}

fn regressor(rows: usize, depth: usize) -> Vec<u8> {
    let shape = Shape { scores: Scores::First, ..Shape::complete(200, depth, 30, 1) };
    let forest = Forest::random(&mut Random::new(21), &shape);
    let mut graph = Graph::new();
    graph.input("input", FLOAT, &[rows, shape.features].map(Into::into));
    let more = vec![("n_targets", Attribute::Int(1))];
    forest.add(&mut graph, "TreeEnsembleRegressor", "input", &["output"], more);
    graph.finish(&["output"])
}
