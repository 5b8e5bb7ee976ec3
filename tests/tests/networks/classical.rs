//! Random pipelines of classical models: what prepares features, then trees, linear
//! models or support vector machines, whose scores may be features of another one.

use leeway_tests::forests::{Forest, MODES, Scores, Shape};
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::Random;

/// Pipelines that are made.
const PIPELINES: u64 = 100;

struct Pipeline {
    graph: Graph,
    random: Random,
    /// The matrix of features so far: its name and columns.
    name: String,
    columns: usize,
    values: usize,
}

impl Pipeline {
    fn output(&mut self) -> String {
        self.values += 1;
        format!("value{}", self.values)
    }

    /// Adds a node on the features, whose output takes their place.
    fn replace(&mut self, operator: &str, columns: usize, attributes: &[(&str, Attribute)]) {
        let output = self.output();
        self.graph.classical(operator, &[&self.name], &[&output], attributes);
        (self.name, self.columns) = (output, columns);
    }

    /// Adds a node that prepares the features.
    fn prepare(&mut self) {
        let count = self.random.pick(&[1, self.columns]);
        let numbers = self.random.numbers(count);
        match self.random.within(0..=4) {
            0 => {
                let scale: Vec<f32> = self.random.numbers(count).iter().map(|x| x + 1.5).collect();
                let attributes =
                    [("offset", Attribute::Floats(&numbers)), ("scale", Attribute::Floats(&scale))];
                self.replace("Scaler", self.columns, &attributes);
            }
            1 => {
                let attributes = [
                    ("replaced_value_float", Attribute::Float(f32::NAN)),
                    ("imputed_value_floats", Attribute::Floats(&numbers)),
                ];
                self.replace("Imputer", self.columns, &attributes);
            }
            2 => {
                let norm = self.random.pick(&["MAX", "L1", "L2"]);
                self.replace("Normalizer", self.columns, &[("norm", Attribute::String(norm))]);
            }
            3 => {
                let threshold = [("threshold", Attribute::Float(numbers[0]))];
                self.replace("Binarizer", self.columns, &threshold);
            }
            _ => {
                let output = self.output();
                let sizes = [self.columns as i64; 2];
                let attributes = [("inputdimensions", Attribute::Ints(&sizes))];
                let inputs = [self.name.as_str(), self.name.as_str()];
                self.graph.classical("FeatureVectorizer", &inputs, &[&output], &attributes);
                (self.name, self.columns) = (output, 2 * self.columns);
            }
        }
    }

    fn forest(&mut self, targets: usize, scores: Scores) -> Forest {
        let random = &mut self.random;
        let shape = Shape {
            trees: random.within(1..=12),
            depth: random.within(0..=6),
            is_full: random.pick(&[true, false]),
            features: self.columns,
            targets,
            modes: random
                .pick(&[vec![0], (0..6).collect(), (0..MODES.len() - 1).collect()].each_ref())
                .clone(),
            tracks_nan: random.pick(&[true, false]),
            scores,
            is_positive: random.pick(&[true, false]),
        };
        Forest::random(random, &shape)
    }

    /// Adds a model whose scores take the place of the features.
    fn score(&mut self) {
        let targets = self.random.pick(&[1, 2, 5]);
        match self.random.within(0..=2) {
            0 => {
                let forest = self.forest(targets, Scores::All);
                let aggregate = self.random.pick(&["SUM", "AVERAGE", "MIN", "MAX"]);
                let output = self.output();
                let more = vec![
                    ("n_targets", Attribute::Int(targets as i64)),
                    ("aggregate_function", Attribute::String(aggregate)),
                ];
                let name = self.name.clone();
                forest.add(&mut self.graph, "TreeEnsembleRegressor", &name, &[&output], more);
                (self.name, self.columns) = (output, targets);
            }
            1 => {
                let coefficients = self.random.numbers(targets * self.columns);
                let intercepts = self.random.numbers(targets);
                let attributes = [
                    ("targets", Attribute::Int(targets as i64)),
                    ("coefficients", Attribute::Floats(&coefficients)),
                    ("intercepts", Attribute::Floats(&intercepts)),
                ];
                self.replace("LinearRegressor", targets, &attributes);
            }
            _ => {
                let vectors = self.random.within(1..=9);
                let kernel = self.random.pick(&["LINEAR", "POLY", "RBF", "SIGMOID"]);
                let points = self.random.numbers(vectors * self.columns);
                let coefficients = self.random.numbers(vectors);
                let attributes = [
                    ("kernel_type", Attribute::String(kernel)),
                    ("kernel_params", Attribute::Floats(&[0.5, 0.25, 2.0])),
                    ("n_supports", Attribute::Int(vectors as i64)),
                    ("support_vectors", Attribute::Floats(&points)),
                    ("coefficients", Attribute::Floats(&coefficients)),
                    ("rho", Attribute::Floats(&[0.3])),
                ];
                self.replace("SVMRegressor", 1, &attributes);
            }
        }
    }

    /// Adds a classifier, and returns its outputs.
    fn classify(&mut self) -> [String; 2] {
        let classes = self.random.within(3..=7);
        let labels: Vec<i64> = (0..classes as i64).map(|class| 10 - 3 * class).collect();
        let transform = self.random.pick(&["NONE", "SOFTMAX", "LOGISTIC"]);
        let outputs = [self.output(), self.output()];
        let names = outputs.each_ref().map(String::as_str);
        let input = self.name.clone();
        if self.random.pick(&[true, false]) {
            let forest = self.forest(classes, Scores::All);
            let more = vec![
                ("classlabels_int64s", Attribute::Ints(&labels)),
                ("post_transform", Attribute::String(transform)),
            ];
            forest.add(&mut self.graph, "TreeEnsembleClassifier", &input, &names, more);
        } else {
            let coefficients = self.random.numbers(classes * self.columns);
            let intercepts = self.random.numbers(classes);
            let attributes = [
                ("classlabels_ints", Attribute::Ints(&labels)),
                ("coefficients", Attribute::Floats(&coefficients)),
                ("intercepts", Attribute::Floats(&intercepts)),
                ("post_transform", Attribute::String(transform)),
            ];
            self.graph.classical("LinearClassifier", &[&input], &names, &attributes);
        }
        outputs
    }
}

fn pipeline(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let (rows, columns) = (random.pick(&[1, 1, 2, 3, 7, 9, 33]), random.within(1..=9));
    let mut graph = Graph::new();
    let name = graph.input("x", FLOAT, &[rows.into(), columns.into()]);
    let mut pipeline = Pipeline { graph, random, name, columns, values: 0 };
    for _ in 0..pipeline.random.within(0..=3) {
        pipeline.prepare();
    }
    for _ in 0..pipeline.random.within(0..=2) {
        pipeline.score();
        if pipeline.random.pick(&[true, false]) {
            pipeline.prepare();
        }
    }
    let outputs = match pipeline.random.pick(&[true, false]) {
        true => pipeline.classify().to_vec(),
        false => {
            pipeline.score();
            vec![pipeline.name.clone()]
        }
    };
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    pipeline.graph.finish(&outputs)
}

#[test]
fn classical_pipelines_are_compiled_like_native_tract_runs_them() {
    super::check_all("classical", PIPELINES, |seed| (pipeline(seed), 1e-4));
}
