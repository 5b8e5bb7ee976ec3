//! The normal form of trees: every test is `column <= threshold`, false for a NaN.
//!
//! The other modes become this one with the help of columns of negated features:
//! `x > t` is `not x <= t`, but for a NaN, which then takes the other branch;
//! `-x < -t` keeps it. Strict comparisons are those with the next number before
//! the threshold. `x == t` is two tests, a set a binary search and one test more.
//! Nodes may be shared by several parents.

use std::collections::HashMap;

use super::ensemble::{Ensemble, Mode, Node};

/// A column that is compared: a feature, or the feature negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column {
    /// Whether it is `-x`.
    pub negated: bool,
    /// Which feature.
    pub feature: usize,
}

/// A node of a tree in normal form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// `yes` where the column is not larger than the threshold, else `no`.
    Test {
        /// What is compared.
        column: Column,
        /// Never NaN.
        threshold: f64,
        /// The node where the test holds.
        yes: usize,
        /// The node where it does not, or the column is NaN.
        no: usize,
    },
    /// The leaf that is this node of the ensemble.
    Leaf(usize),
}

/// Trees in normal form.
#[derive(Clone, Debug)]
pub struct Normal {
    /// All nodes.
    pub splits: Vec<Split>,
    /// The first node of each tree.
    pub roots: Vec<usize>,
}

/// The precision of features and thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// FP32.
    Single,
    /// FP64.
    Double,
}

impl Precision {
    /// The largest number of this precision that is not larger.
    fn floor(self, number: f64) -> f64 {
        match self {
            Precision::Double => number,
            Precision::Single => {
                let nearest = number as f32;
                let floor = if f64::from(nearest) > number { nearest.next_down() } else { nearest };
                floor.into()
            }
        }
    }

    /// The largest number of this precision that is smaller; of `-inf`, none.
    fn below(self, number: f64) -> Option<f64> {
        let below = match self {
            Precision::Double => number.next_down(),
            Precision::Single => {
                let floor = self.floor(number);
                if floor < number { floor } else { (floor as f32).next_down().into() }
            }
        };
        (number > f64::NEG_INFINITY).then_some(below)
    }
}

/// Brings an ensemble into normal form.
pub fn normalise(ensemble: &Ensemble, precision: Precision) -> Normal {
    let mut builder = Builder { ensemble, precision, splits: Vec::new(), known: HashMap::new() };
    let roots = ensemble.roots.iter().map(|&root| builder.tree(root)).collect();
    Normal { splits: builder.splits, roots }
}

struct Builder<'a> {
    ensemble: &'a Ensemble,
    precision: Precision,
    splits: Vec<Split>,
    /// The nodes that are done, by their number in the ensemble.
    known: HashMap<usize, usize>,
}

impl Builder<'_> {
    /// A tree, its children first.
    fn tree(&mut self, root: usize) -> usize {
        let ensemble = self.ensemble;
        let mut stack = vec![root];
        while let Some(&at) = stack.last() {
            if self.known.contains_key(&at) {
                stack.pop();
                continue;
            }
            let done = match &ensemble.nodes[at] {
                Node::Leaf(_) => self.add(Split::Leaf(at)),
                Node::Branch { feature, mode, nan_is_true, yes, no } => {
                    match (self.known.get(yes).copied(), self.known.get(no).copied()) {
                        (Some(yes), Some(no)) => self.branch(*feature, mode, *nan_is_true, yes, no),
                        (yes_done, no_done) => {
                            stack.extend(yes_done.is_none().then_some(*yes));
                            stack.extend(no_done.is_none().then_some(*no));
                            continue;
                        }
                    }
                }
            };
            self.known.insert(at, done);
            stack.pop();
        }
        self.known[&root]
    }

    fn add(&mut self, split: Split) -> usize {
        self.splits.push(split);
        self.splits.len() - 1
    }

    /// A node that goes to `yes` or `no`, by `nan` with a NaN.
    fn branch(&mut self, feature: usize, mode: &Mode, nan: bool, yes: usize, no: usize) -> usize {
        match mode {
            Mode::Leq(t) => self.at_most(feature, *t, nan, yes, no),
            Mode::Gt(t) => self.at_most(feature, *t, !nan, no, yes),
            Mode::Gte(t) => self.at_least(feature, *t, nan, yes, no),
            Mode::Lt(t) => self.at_least(feature, *t, !nan, no, yes),
            Mode::Eq(t) => self.equal(feature, *t, nan, yes, no),
            Mode::Neq(t) => self.equal(feature, *t, false, no, yes),
            Mode::Member(set) => self.member(feature, set, nan, yes, no),
        }
    }

    /// `x <= t`; a NaN goes to `yes` if `nan`.
    fn at_most(&mut self, feature: usize, t: f64, nan: bool, yes: usize, no: usize) -> usize {
        if !nan {
            return self.test(feature, false, Some(self.precision.floor(t)), yes, no);
        }
        // Not `x > t`: not `-x < -t`.
        self.test(feature, true, self.precision.below(-t), no, yes)
    }

    /// `x >= t`; a NaN goes to `yes` if `nan`.
    fn at_least(&mut self, feature: usize, t: f64, nan: bool, yes: usize, no: usize) -> usize {
        if !nan {
            return self.test(feature, true, Some(self.precision.floor(-t)), yes, no);
        }
        self.test(feature, false, self.precision.below(t), no, yes)
    }

    /// The normal test. Without a threshold it never holds.
    fn test(
        &mut self,
        feature: usize,
        negated: bool,
        threshold: Option<f64>,
        yes: usize,
        no: usize,
    ) -> usize {
        match threshold {
            Some(threshold) => {
                self.add(Split::Test { column: Column { negated, feature }, threshold, yes, no })
            }
            None => no,
        }
    }

    fn equal(&mut self, feature: usize, t: f64, nan: bool, yes: usize, no: usize) -> usize {
        let at_least = self.at_least(feature, t, nan, yes, no);
        self.at_most(feature, t, nan, at_least, no)
    }

    /// Whether `x` is in a set, which is sorted.
    fn member(&mut self, feature: usize, set: &[f64], nan: bool, yes: usize, no: usize) -> usize {
        if let [one] = set {
            return self.equal(feature, *one, nan, yes, no);
        }
        let (low, high) = set.split_at(set.len() / 2);
        let in_high = self.member(feature, high, nan, yes, no);
        let in_low = self.member(feature, low, nan, yes, no);
        // A NaN goes the same way from either.
        self.at_most(feature, low[low.len() - 1], nan, in_low, in_high)
    }
}
