//! `SVMClassifier` and `SVMRegressor`, with support vectors (LIBSVM) and without
//! (LIBLINEAR), and probabilities by Platt's method.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::Sigmoid;

use super::attributes::{class_labels, floats, ints, string};
use super::coupling::Coupling;
use super::distances::SquaredDistances;
use super::linear::transposed;
use super::post::Transform;
use super::trees::second_class;
use crate::composed::wire::Wire;
use crate::composed::{Read, composed};

/// The most classes.
const CLASSES_LIMIT: usize = 256;
/// The most coefficients of all pairs of classes.
const COEFFICIENTS_LIMIT: usize = 1 << 24;
/// Probabilities of a pair are at least this far from 0 and 1.
const LEAST_PROBABILITY: f32 = 1e-7;

/// A kernel: how alike two vectors are.
#[derive(Clone, Copy, PartialEq)]
enum Likeness {
    /// `x s`
    Linear,
    /// `(gamma x s + coef0)^degree`
    Poly { gamma: f32, coef0: f32, degree: f32 },
    /// `e^(-gamma |x - s|^2)`
    Rbf { gamma: f32 },
    /// `tanh(gamma x s + coef0)`
    Sigmoid { gamma: f32, coef0: f32 },
}

impl Likeness {
    fn read(node: &NodeProto) -> TractResult<Self> {
        let parameters = floats(node, "kernel_params")?;
        let &[gamma, coef0, degree] = match parameters {
            [] => &[0.0; 3],
            _ => parameters.first_chunk().with_context(|| {
                format!(
                    "Node {} ({}), attribute 'kernel_params': expected gamma, coef0 and degree, \
                     got {} elements",
                    node.name,
                    node.op_type,
                    parameters.len()
                )
            })?,
        };
        Ok(match string(node, "kernel_type", "LINEAR")? {
            "LINEAR" => Likeness::Linear,
            "POLY" => Likeness::Poly { gamma, coef0, degree },
            "RBF" => Likeness::Rbf { gamma },
            "SIGMOID" => Likeness::Sigmoid { gamma, coef0 },
            other => {
                let what = format!("{other:?} is none of LINEAR, POLY, RBF, SIGMOID");
                return node.bail_attr("kernel_type", &what);
            }
        })
    }

    /// How alike rows are to vectors `[vectors, features]`.
    fn wire(
        self,
        wire: &mut Wire,
        input: OutletId,
        vectors: &Arc<Tensor>,
        transposed: &Arc<Tensor>,
    ) -> TractResult<OutletId> {
        let affine = |wire: &mut Wire, gamma, coef0| {
            let product = wire.product(input, transposed)?;
            let scaled = wire.times(product, gamma)?;
            wire.plus(scaled, coef0)
        };
        match self {
            Likeness::Linear => wire.product(input, transposed),
            Likeness::Rbf { gamma } => {
                let points = vectors.clone();
                let distances = wire.op(SquaredDistances { points }, &[input])?;
                let scaled = wire.times(distances, -gamma)?;
                wire.unary(Box::new(math::Exp {}), scaled)
            }
            Likeness::Poly { gamma, coef0, degree } => {
                let affine = affine(wire, gamma, coef0)?;
                let degree = wire.constant(tensor0(degree))?;
                wire.binary(Box::new(math::Pow), affine, degree)
            }
            Likeness::Sigmoid { gamma, coef0 } => {
                let affine = affine(wire, gamma, coef0)?;
                wire.unary(Box::new(math::Tanh {}), affine)
            }
        }
    }
}

/// Support vectors.
struct Vectors {
    likeness: Likeness,
    /// `[vectors, features]`
    rows: Arc<Tensor>,
    /// `[features, vectors]`
    columns: Arc<Tensor>,
}

impl Vectors {
    fn read(node: &NodeProto, count: usize) -> TractResult<Self> {
        let numbers = floats(node, "support_vectors")?;
        let fits = !numbers.is_empty() && numbers.len().is_multiple_of(count);
        node.expect_attr("support_vectors", fits, || {
            format!("as many elements for each of {count} vectors, got {}", numbers.len())
        })?;
        let rows = tensor1(numbers).into_shape(&[count, numbers.len() / count])?;
        let columns = transposed(numbers, count)?;
        Ok(Self { likeness: Likeness::read(node)?, rows: rows.into_arc_tensor(), columns })
    }

    fn wire(&self, wire: &mut Wire, input: OutletId) -> TractResult<OutletId> {
        self.likeness.wire(wire, input, &self.rows, &self.columns)
    }
}

/// Reads an `SVMRegressor`, which may tell outliers (-1) from others (1).
pub fn regressor(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let count = node.get_attr_opt::<i64>("n_supports")?.unwrap_or(0);
    let coefficients = floats(node, "coefficients")?;
    node.expect_attr("coefficients", !coefficients.is_empty(), "at least one")?;
    let vectors = match usize::try_from(count) {
        Ok(0) => None,
        Ok(count) => {
            super::attributes::want(node, "coefficients", coefficients.len(), count)?;
            Some(Vectors::read(node, count)?)
        }
        Err(_) => return node.bail_attr("n_supports", &format!("{count} is no number of vectors")),
    };
    let coefficients = transposed(coefficients, 1)?;
    let rho = rho(node, 1)?[0];
    let is_one_class = node.get_attr_opt::<i64>("one_class")?.unwrap_or(0) != 0;
    let transform = Transform::read(node)?;
    composed("SVMRegressor", 1, move |wire, inputs| {
        let input = wire.features(inputs[0])?;
        let alike = match &vectors {
            Some(vectors) => vectors.wire(wire, input)?,
            None => input,
        };
        let product = wire.product(alike, &coefficients)?;
        let score = wire.plus(product, rho)?;
        if is_one_class {
            let is_inside = wire.is_above(score, 0.0)?;
            let (inside, outside) = (wire.row(&[1.0])?, wire.row(&[-1.0])?);
            return Ok(tvec!(wire.select(is_inside, inside, outside)?));
        }
        Ok(tvec!(transform.wire(wire, score)?))
    })
}

fn rho(node: &NodeProto, wanted: usize) -> TractResult<&[f32]> {
    let rho = floats(node, "rho")?;
    node.expect_attr("rho", rho.len() >= wanted, || {
        format!("{wanted} elements, got {}", rho.len())
    })?;
    Ok(&rho[..wanted])
}

/// Reads an `SVMClassifier`.
pub fn classifier(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let labels = class_labels(node, "classlabels_ints", "classlabels_strings")?;
    let (classes, name) = (labels.len(), "classlabels_ints");
    node.expect_attr(name, (2..=CLASSES_LIMIT).contains(&classes), || {
        format!("2 to {CLASSES_LIMIT} classes, got {classes}")
    })?;
    match ints(node, "vectors_per_class")? {
        [] => linear_classifier(node, labels),
        per_class => pairwise_classifier(node, labels, per_class),
    }
}

/// With a vector of coefficients for each class.
fn linear_classifier(node: &NodeProto, labels: Vec<i64>) -> Read {
    let coefficients = floats(node, "coefficients")?;
    let classes = labels.len();
    let fits = !coefficients.is_empty() && coefficients.len().is_multiple_of(classes);
    node.expect_attr("coefficients", fits, || {
        format!("as many for each of {classes} classes, got {}", coefficients.len())
    })?;
    let is_positive = coefficients.iter().all(|&number| number >= 0.0);
    let has_probabilities = !floats(node, "prob_a")?.is_empty();
    let matrix = transposed(coefficients, classes)?;
    let rho = rho(node, 1)?[0];
    let transform = Transform::read(node)?;
    composed("SVMClassifier", 2, move |wire, inputs| {
        let input = wire.features(inputs[0])?;
        let product = wire.product(input, &matrix)?;
        let scores = wire.plus(product, rho)?;
        let mut largest = wire.largest(scores)?;
        if classes == 2 && !has_probabilities {
            // As ONNX Runtime: a score beyond the threshold is of the second class.
            let most = wire.reduce(scores, tract_core::ops::nn::Reducer::Max)?;
            let threshold = if is_positive { 0.5f32.next_down() } else { 0.0 };
            let is_second = wire.is_above(most, threshold)?;
            let second = wire.constant(tensor2(&[[1i64]]))?;
            largest = wire.cast(largest, i64::datum_type())?;
            largest = wire.select(is_second, second, largest)?;
        }
        let label = wire.look_up(tensor1(&labels), largest)?;
        Ok(tvec!(label, transform.wire(wire, scores)?))
    })
}

/// With a classifier for each pair of classes, which vote.
fn pairwise_classifier(node: &NodeProto, labels: Vec<i64>, per_class: &[i64]) -> Read {
    let classes = labels.len();
    super::attributes::want(node, "vectors_per_class", per_class.len(), classes)?;
    let counts: Option<Vec<usize>> = per_class.iter().map(|&n| usize::try_from(n).ok()).collect();
    let total = counts
        .as_ref()
        .and_then(|counts| counts.iter().try_fold(0usize, |sum, &count| sum.checked_add(count)));
    let (Some(counts), Some(total @ 1..)) = (counts, total) else {
        return node.bail_attr("vectors_per_class", "expected numbers of vectors");
    };
    let vectors = Vectors::read(node, total)?;
    let pairs = Pairs::read(node, &counts, total)?;
    let transform = Transform::read(node)?;
    composed("SVMClassifier", 2, move |wire, inputs| {
        let input = wire.features(inputs[0])?;
        let alike = vectors.wire(wire, input)?;
        let scores = pairs.scores(wire, alike)?;
        let winner = pairs.winner(wire, scores)?;
        let label = wire.look_up(tensor1(&labels), winner)?;
        let scores = match &pairs.platt {
            Some(platt) => {
                let probabilities = platt.wire(wire, scores)?;
                let coupled = wire.op(Coupling { classes }, &[probabilities])?;
                transform.wire(wire, coupled)?
            }
            None if classes == 2 => {
                second_class(wire, scores, transform, transform != Transform::None)?
            }
            None => transform.wire(wire, scores)?,
        };
        Ok(tvec!(label, scores))
    })
}

/// The classifiers of all pairs of classes `i < j`, in order.
struct Pairs {
    classes: usize,
    /// `[vectors, pairs]`
    coefficients: Arc<Tensor>,
    rho: Vec<f32>,
    platt: Option<Platt>,
}

impl Pairs {
    fn read(node: &NodeProto, counts: &[usize], total: usize) -> TractResult<Self> {
        let classes = counts.len();
        let pairs = classes * (classes - 1) / 2;
        let seen = floats(node, "coefficients")?;
        super::attributes::want(node, "coefficients", seen.len(), (classes - 1) * total)?;
        let count = pairs.checked_mul(total).filter(|&count| count <= COEFFICIENTS_LIMIT);
        let Some(count) = count else {
            let what = format!("{pairs} pairs of classes with {total} vectors each");
            return node.bail_attr(
                "vectors_per_class",
                &format!("{what}; {COEFFICIENTS_LIMIT} coefficients are supported"),
            );
        };
        let starts: Vec<usize> = counts
            .iter()
            .scan(0, |next, &count| Some(std::mem::replace(next, *next + count)))
            .collect();
        let mut matrix = vec![0f32; count];
        let all = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j)));
        for (pair, (i, j)) in all.enumerate() {
            // Against class j, class i has row j - 1; against i, j has row i.
            for (class, row) in [(i, j - 1), (j, i)] {
                for vector in starts[class]..starts[class] + counts[class] {
                    matrix[vector * pairs + pair] = seen[row * total + vector];
                }
            }
        }
        let coefficients = tensor1(&matrix).into_shape(&[total, pairs])?.into_arc_tensor();
        let rho = rho(node, pairs)?.to_vec();
        Ok(Self { classes, coefficients, rho, platt: Platt::read(node, pairs)? })
    }

    /// The score of each pair, which is positive for its first class.
    fn scores(&self, wire: &mut Wire, alike: OutletId) -> TractResult<OutletId> {
        let product = wire.product(alike, &self.coefficients)?;
        let rho = wire.row(&self.rho)?;
        wire.binary(Box::new(math::Add), product, rho)
    }

    /// The class with the most votes, the first one of several.
    fn winner(&self, wire: &mut Wire, scores: OutletId) -> TractResult<OutletId> {
        let (k, pairs) = (self.classes, self.rho.len());
        // What a vote for the first class of a pair changes, and the votes without.
        let mut matrix = vec![0f32; pairs * k];
        let mut votes = vec![0f32; k];
        let all = (0..k).flat_map(|i| (i + 1..k).map(move |j| (i, j)));
        for (pair, (i, j)) in all.enumerate() {
            matrix[pair * k + i] = 1.0;
            matrix[pair * k + j] = -1.0;
            votes[j] += 1.0;
        }
        let is_first = wire.is_above(scores, 0.0)?;
        let is_first = wire.cast(is_first, f32::datum_type())?;
        let matrix = tensor1(&matrix).into_shape(&[pairs, k])?.into_arc_tensor();
        let changed = wire.product(is_first, &matrix)?;
        let votes = wire.row(&votes)?;
        let votes = wire.binary(Box::new(math::Add), changed, votes)?;
        wire.largest(votes)
    }
}

/// `1 / (1 + e^(a s + b))` of the score of each pair.
struct Platt {
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Platt {
    fn read(node: &NodeProto, pairs: usize) -> TractResult<Option<Self>> {
        let (a, b) = (floats(node, "prob_a")?, floats(node, "prob_b")?);
        super::attributes::want(node, "prob_b", b.len(), a.len())?;
        if a.is_empty() {
            return Ok(None);
        }
        node.expect_attr("prob_a", a.len() >= pairs, || {
            format!("{pairs} elements, got {}", a.len())
        })?;
        Ok(Some(Self { a: a[..pairs].to_vec(), b: b[..pairs].to_vec() }))
    }

    fn wire(&self, wire: &mut Wire, scores: OutletId) -> TractResult<OutletId> {
        let negative = |numbers: &[f32]| numbers.iter().map(|number| -number).collect::<Vec<_>>();
        let (a, b) = (wire.row(&negative(&self.a))?, wire.row(&negative(&self.b))?);
        let scaled = wire.binary(Box::new(math::Mul), scores, a)?;
        let shifted = wire.binary(Box::new(math::Add), scaled, b)?;
        let sigmoid = wire.unary(Box::new(Sigmoid {}), shifted)?;
        let least = wire.constant(tensor0(LEAST_PROBABILITY))?;
        let most = wire.constant(tensor0(1.0 - LEAST_PROBABILITY))?;
        let above = wire.binary(Box::new(math::Max), sigmoid, least)?;
        wire.binary(Box::new(math::Min), above, most)
    }
}
