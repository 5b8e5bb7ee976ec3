//! Support vector machines.

use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::Random;

use super::{assert_close, check_fuel, dims, floats, integers, matrix, native, pair, run};

const KERNELS: [&str; 4] = ["LINEAR", "POLY", "RBF", "SIGMOID"];
/// gamma, coef0, degree.
const PARAMETERS: [f32; 3] = [0.4, 0.25, 3.0];

fn alike(kernel: &str, a: &[f32], b: &[f32]) -> f64 {
    let [gamma, coef0, degree] = PARAMETERS.map(f64::from);
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    match kernel {
        "LINEAR" => dot,
        "POLY" => (gamma * dot + coef0).powf(degree),
        "RBF" => (-gamma * pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp(),
        _ => (gamma * dot + coef0).tanh(),
    }
}

#[test]
fn regressors_and_one_class_machines() {
    let (sandbox, mut random) = (native(), Random::new(90));
    for kernel in KERNELS {
        for (rows, features, vectors) in [(1, 3, 1), (1, 10, 70), (5, 4, 26), (9, 1, 23)] {
            for is_one_class in [false, true] {
                let what = format!("{kernel}, {rows} rows, {vectors} vectors, {is_one_class}");
                let points = random.numbers(features * vectors);
                let coefficients = random.numbers(vectors);
                let mut graph = Graph::new();
                graph.input("x", FLOAT, &dims(&[rows, features]));
                let attributes = [
                    ("kernel_type", Attribute::String(kernel)),
                    ("kernel_params", Attribute::Floats(&PARAMETERS)),
                    ("n_supports", Attribute::Int(vectors as i64)),
                    ("support_vectors", Attribute::Floats(&points)),
                    ("coefficients", Attribute::Floats(&coefficients)),
                    ("rho", Attribute::Floats(&[0.3])),
                    ("one_class", Attribute::Int(is_one_class.into())),
                ];
                graph.classical("SVMRegressor", &["x"], &["y"], &attributes);
                let mut pair = pair(&sandbox, &what, graph, &["y"]);
                let x = random.numbers(rows * features);
                let seen = run(&mut pair, &[matrix(rows, &x)]);
                let wanted: Vec<f64> = x
                    .chunks_exact(features)
                    .map(|row| {
                        let all = points.chunks_exact(features).zip(&coefficients);
                        let terms = all.map(|(p, &c)| f64::from(c) * alike(kernel, row, p));
                        let score = f64::from(0.3f32) + terms.sum::<f64>();
                        if is_one_class { if score > 0.0 { 1.0 } else { -1.0 } } else { score }
                    })
                    .collect();
                assert_close(&floats(&seen[0]), &wanted, 1e-5, &what);
                check_fuel(&mut pair, &mut random);
            }
        }
    }
}

/// A classifier with this many vectors for each class.
struct Machine {
    kernel: &'static str,
    features: usize,
    per_class: Vec<i64>,
    points: Vec<f32>,
    coefficients: Vec<f32>,
    rho: Vec<f32>,
}

impl Machine {
    fn random(random: &mut Random, kernel: &'static str, classes: usize) -> Self {
        let features = random.within(1..=6);
        let per_class: Vec<i64> = (0..classes).map(|_| random.within(1..=9) as i64).collect();
        let vectors = per_class.iter().sum::<i64>() as usize;
        Self {
            kernel,
            features,
            per_class,
            points: random.numbers(features * vectors),
            coefficients: random.numbers((classes - 1) * vectors),
            rho: random.numbers(classes * (classes - 1) / 2),
        }
    }

    fn attributes(&self) -> Vec<(&'static str, Attribute<'_>)> {
        vec![
            ("kernel_type", Attribute::String(self.kernel)),
            ("kernel_params", Attribute::Floats(&PARAMETERS)),
            ("vectors_per_class", Attribute::Ints(&self.per_class)),
            ("support_vectors", Attribute::Floats(&self.points)),
            ("coefficients", Attribute::Floats(&self.coefficients)),
            ("rho", Attribute::Floats(&self.rho)),
        ]
    }

    /// The score of each pair of classes, and the votes of each class.
    fn scores(&self, row: &[f32]) -> (Vec<f64>, Vec<usize>) {
        let classes = self.per_class.len();
        let mut class_of = Vec::new();
        for (class, &count) in self.per_class.iter().enumerate() {
            class_of.extend(std::iter::repeat_n(class, count as usize));
        }
        let of_points: Vec<f64> =
            self.points.chunks_exact(self.features).map(|p| alike(self.kernel, row, p)).collect();
        let coefficient =
            |row: usize, vector: usize| f64::from(self.coefficients[row * class_of.len() + vector]);
        let (mut scores, mut votes) = (Vec::new(), vec![0; classes]);
        for i in 0..classes {
            for j in i + 1..classes {
                let mut score = f64::from(self.rho[scores.len()]);
                for (vector, &class) in class_of.iter().enumerate() {
                    if class == i {
                        score += coefficient(j - 1, vector) * of_points[vector];
                    } else if class == j {
                        score += coefficient(i, vector) * of_points[vector];
                    }
                }
                votes[if score > 0.0 { i } else { j }] += 1;
                scores.push(score);
            }
        }
        (scores, votes)
    }
}

#[test]
fn classifiers_vote_by_pairs_of_classes() {
    let (sandbox, mut random) = (native(), Random::new(91));
    for kernel in KERNELS {
        for (classes, rows) in [(2, 1), (2, 6), (3, 5), (5, 3)] {
            let machine = Machine::random(&mut random, kernel, classes);
            let what = format!("{kernel}, {classes} classes, {rows} rows");
            let labels: Vec<i64> = (0..classes as i64).map(|class| 50 - class).collect();
            let mut graph = Graph::new();
            graph.input("x", FLOAT, &dims(&[rows, machine.features]));
            let mut attributes = machine.attributes();
            attributes.push(("classlabels_ints", Attribute::Ints(&labels)));
            graph.classical("SVMClassifier", &["x"], &["label", "scores"], &attributes);
            let mut pair = pair(&sandbox, &what, graph, &["label", "scores"]);
            let x = random.numbers(rows * machine.features);
            let seen = run(&mut pair, &[matrix(rows, &x)]);
            let (mut wanted, mut of_rows) = (Vec::new(), Vec::new());
            for row in x.chunks_exact(machine.features) {
                let (scores, votes) = machine.scores(row);
                let most = votes.iter().max().expect("classes");
                of_rows.push(labels[votes.iter().position(|n| n == most).expect("one has most")]);
                match &*scores {
                    &[score] => wanted.extend([-score, score]),
                    scores => wanted.extend(scores),
                }
            }
            assert_eq!(integers(&seen[0]), of_rows, "{what}");
            assert_close(&floats(&seen[1]), &wanted, 1e-5, &what);
            check_fuel(&mut pair, &mut random);
        }
    }
}

#[test]
fn probabilities_of_pairs_are_coupled() {
    let (sandbox, mut random) = (native(), Random::new(92));
    for (classes, rows) in [(2, 1), (3, 4), (6, 2)] {
        let machine = Machine::random(&mut random, "RBF", classes);
        let pairs = machine.rho.len();
        let a: Vec<f32> = random.numbers(pairs).iter().map(|n| -1.0 - n.abs()).collect();
        let b = random.numbers(pairs);
        let labels: Vec<i64> = (0..classes as i64).collect();
        let mut graph = Graph::new();
        graph.input("x", FLOAT, &dims(&[rows, machine.features]));
        let mut attributes = machine.attributes();
        attributes.extend([
            ("classlabels_ints", Attribute::Ints(&labels)),
            ("prob_a", Attribute::Floats(&a)),
            ("prob_b", Attribute::Floats(&b)),
        ]);
        graph.classical("SVMClassifier", &["x"], &["label", "scores"], &attributes);
        let mut pair = pair(&sandbox, "probabilities", graph, &["label", "scores"]);
        let x = random.numbers(rows * machine.features);
        let seen = floats(&run(&mut pair, &[matrix(rows, &x)])[1]);
        for (row, seen) in x.chunks_exact(machine.features).zip(seen.chunks_exact(classes)) {
            let of_pairs: Vec<f64> = (machine.scores(row).0.iter().zip(a.iter().zip(&b)))
                .map(|(score, (&a, &b))| 1.0 / (1.0 + (f64::from(a) * score + f64::from(b)).exp()))
                .collect();
            check_coupling(seen, &of_pairs);
        }
        check_fuel(&mut pair, &mut random);
    }
}

/// Probabilities add up to one, and are the fixed point of the coupling within
/// its tolerance: `(q p)[i]` is `p q p` for all classes.
fn check_coupling(p: &[f32], of_pairs: &[f64]) {
    let k = p.len();
    let p: Vec<f64> = p.iter().map(|&p| p.into()).collect();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{p:?}");
    let mut r = vec![0.0; k * k];
    let mut pairs = of_pairs.iter();
    for i in 0..k {
        for j in i + 1..k {
            r[i * k + j] = *pairs.next().expect("a number for each pair");
            r[j * k + i] = 1.0 - r[i * k + j];
        }
    }
    let term = |i: usize, j: usize| r[j * k + i] * (r[j * k + i] * p[i] - r[i * k + j] * p[j]);
    let qp: Vec<f64> =
        (0..k).map(|i| (0..k).filter(|&j| j != i).map(|j| term(i, j)).sum()).collect();
    let pqp: f64 = qp.iter().zip(&p).map(|(qp, p)| qp * p).sum();
    for qp in qp {
        assert!((qp - pqp).abs() < 0.0051 / k as f64, "{p:?}: {qp} and {pqp}");
    }
}

#[test]
fn a_machine_without_vectors_is_linear() {
    let (sandbox, mut random) = (native(), Random::new(93));
    let coefficients = random.numbers(12);
    let mut graph = Graph::new();
    graph.input("x", FLOAT, &dims(&[5, 4]));
    let attributes = [
        ("classlabels_ints", Attribute::Ints(&[7, 8, 9])),
        ("coefficients", Attribute::Floats(&coefficients)),
        ("rho", Attribute::Floats(&[0.5])),
    ];
    graph.classical("SVMClassifier", &["x"], &["label", "scores"], &attributes);
    let mut pair = pair(&sandbox, "linear", graph, &["label", "scores"]);
    let x = random.numbers(20);
    let seen = run(&mut pair, &[matrix(5, &x)]);
    for (index, row) in x.chunks_exact(4).enumerate() {
        let scores: Vec<f64> = coefficients
            .chunks_exact(4)
            .map(|of| 0.5 + row.iter().zip(of).map(|(&a, &b)| f64::from(a * b)).sum::<f64>())
            .collect();
        assert_close(&floats(&seen[1])[3 * index..3 * index + 3], &scores, 1e-5, "scores");
        assert_eq!(integers(&seen[0])[index], 7 + super::argmax(&scores) as i64);
    }
    check_fuel(&mut pair, &mut random);
}
