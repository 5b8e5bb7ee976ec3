//! Ensembles of trees as records in memory, in the order in which the kernel of
//! [`super::trees`] reads them.
//!
//! A record has a threshold, the offset of a column in a row, the distance to the
//! first of its two children, and, if it is a leaf, a payload: a score, or the
//! offset of a vector of scores.

use std::collections::{HashMap, VecDeque};

use super::trees::aggregate_start;
use crate::ml::trees::ensemble::{Ensemble, Node};
use crate::ml::trees::normal::{Normal, Precision, Split, normalise};

/// The most runs of targets with as many trees each, for which code is emitted.
const RUNS_LIMIT: usize = 64;

/// What a leaf's record leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A score: every tree has scores for one target only.
    Scores,
    /// The offset of a vector of scores, one for each target.
    Vectors,
}

/// What is known of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// The most steps that a walk takes.
    pub depth: usize,
    /// The offset of its root's record.
    root: u32,
    /// Its place in the order in which scores are accumulated.
    slot: usize,
}

/// An ensemble in memory.
#[derive(Debug)]
pub struct Records {
    /// Of the features and the thresholds.
    pub precision: Precision,
    /// The number of features.
    pub features: usize,
    /// Whether negated features are compared: they follow the features, which then
    /// are [padded](Records::padded).
    pub has_negated: bool,
    /// The trees by depth, the deepest last.
    pub trees: Vec<Tree>,
    /// The records of the nodes.
    pub nodes: Vec<u8>,
    /// The vectors of scores, each of a multiple of 16 bytes.
    pub vectors: Vec<u8>,
    /// What a leaf's record leads to.
    pub payload: Payload,
    /// The number of targets.
    pub targets: usize,
    /// Where each tree has scores for one target: runs of targets, and how many
    /// trees each of them has.
    pub trees_of_targets: Vec<(usize, usize)>,
    /// Whether every target has a score, whatever the row.
    pub is_complete: bool,
}

/// The targets that the leaves below a node have scores for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Targets {
    None,
    One(usize),
    More,
}

impl Records {
    /// Bytes of what the emitted code knows of a tree: the offset of its root, and
    /// of its slot.
    pub const START_BYTES: usize = 8;

    /// Lays an ensemble out. On failure, the bytes that its scores would take, which
    /// are more than `limit_bytes`.
    pub fn new(
        ensemble: &Ensemble,
        precision: Precision,
        features: usize,
        limit_bytes: usize,
    ) -> Result<Self, usize> {
        let normal = normalise(ensemble, precision);
        let is_negated =
            |split: &Split| matches!(split, Split::Test { column, .. } if column.negated);
        let mut records = Self {
            precision,
            features,
            has_negated: normal.splits.iter().any(is_negated),
            trees: Vec::new(),
            nodes: Vec::new(),
            vectors: Vec::new(),
            payload: Payload::Vectors,
            targets: ensemble.targets,
            trees_of_targets: Vec::new(),
            is_complete: false,
        };
        let order = records.order_by_target(ensemble, &normal);
        if records.payload == Payload::Vectors {
            let leaves = normal.splits.iter().filter(|split| matches!(split, Split::Leaf(_)));
            let bytes = leaves.count().saturating_mul(records.vector_bytes());
            if bytes > limit_bytes {
                return Err(bytes);
            }
        }
        records.is_complete = records.is_complete(ensemble, &normal);
        let roots = records.add_nodes(ensemble, &normal);
        let depths = depths(&normal);
        records.trees = (normal.roots.iter().zip(roots).zip(order))
            .map(|((&root, offset), slot)| Tree { depth: depths[root], root: offset, slot })
            .collect();
        records.trees.sort_by_key(|tree| tree.depth);
        Ok(records)
    }

    /// Features of a row that is followed by another.
    pub fn padded(features: usize) -> usize {
        features.next_multiple_of(4)
    }

    /// The depth of the deepest tree.
    pub fn depth(&self) -> usize {
        self.trees.last().map_or(0, |tree| tree.depth)
    }

    /// Bytes of a record, a power of two.
    pub fn record_bytes(&self) -> usize {
        if self.precision == Precision::Double { 32 } else { 16 }
    }

    /// Where in a record the offset of its column is.
    pub fn column_at(&self) -> usize {
        self.element()
    }

    /// Where in a record the distance to its children is.
    pub fn children_at(&self) -> usize {
        self.element() + 4
    }

    /// Where in a record its payload is.
    pub fn payload_at(&self) -> usize {
        self.element() + 8
    }

    /// What is known of the trees as the emitted code reads it, with slots this far
    /// apart.
    pub fn starts(&self, slot_stride: usize) -> Vec<u8> {
        let bytes = |tree: &Tree| {
            let slot = (tree.slot * slot_stride) as u32;
            [tree.root.to_le_bytes(), slot.to_le_bytes()].concat()
        };
        self.trees.iter().flat_map(bytes).collect()
    }

    fn element(&self) -> usize {
        if self.precision == Precision::Double { 8 } else { 4 }
    }

    fn vector_bytes(&self) -> usize {
        (self.targets * self.element()).next_multiple_of(16)
    }

    fn number(&self, number: f64) -> Vec<u8> {
        match self.precision {
            Precision::Double => number.to_le_bytes().into(),
            Precision::Single => (number as f32).to_le_bytes().into(),
        }
    }

    /// The slot of each tree: where each has scores for one target, by target.
    fn order_by_target(&mut self, ensemble: &Ensemble, normal: &Normal) -> Vec<usize> {
        let in_order = (0..normal.roots.len()).collect();
        let below = targets_below(ensemble, normal);
        let mut by_target = Vec::new();
        for (tree, &root) in normal.roots.iter().enumerate() {
            match below[root] {
                Targets::None => by_target.push((0, tree)),
                Targets::One(target) => by_target.push((target, tree)),
                Targets::More => return in_order,
            }
        }
        by_target.sort_unstable();
        let mut counts = vec![0; self.targets];
        by_target.iter().for_each(|&(target, _)| counts[target] += 1);
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for count in counts {
            match runs.last_mut() {
                Some((alike, same)) if *same == count => *alike += 1,
                _ => runs.push((1, count)),
            }
        }
        if runs.len() > RUNS_LIMIT {
            return in_order;
        }
        (self.payload, self.trees_of_targets) = (Payload::Scores, runs);
        let mut slots = vec![0; by_target.len()];
        for (slot, (_, tree)) in by_target.into_iter().enumerate() {
            slots[tree] = slot;
        }
        slots
    }

    fn is_complete(&self, ensemble: &Ensemble, normal: &Normal) -> bool {
        let wanted = if self.payload == Payload::Scores { 1 } else { self.targets };
        let is_full = |split: &Split| match split {
            Split::Leaf(leaf) => scores_of(ensemble, *leaf).len() == wanted,
            Split::Test { .. } => true,
        };
        normal.splits.iter().all(is_full)
            && self.trees_of_targets.iter().all(|&(_, trees)| trees > 0)
    }

    /// Lays the records out, each tree level by level, and returns the offsets of
    /// the roots.
    fn add_nodes(&mut self, ensemble: &Ensemble, normal: &Normal) -> Vec<u32> {
        let size = self.record_bytes();
        // The children of a node lie in one place, whatever leads to it.
        let mut children: Vec<Option<u32>> = vec![None; normal.splits.len()];
        let mut vectors = HashMap::new();
        let mut roots = Vec::new();
        let mut queue = VecDeque::new();
        for &root in &normal.roots {
            roots.push(self.nodes.len() as u32);
            queue.push_back((root, self.nodes.len()));
            self.nodes.resize(self.nodes.len() + size, 0);
            while let Some((split, at)) = queue.pop_front() {
                let mut record = Vec::with_capacity(size);
                match normal.splits[split] {
                    Split::Leaf(leaf) => {
                        record.extend(self.number(f64::NAN));
                        record.extend([0; 8]);
                        record.extend(self.payload_of(ensemble, leaf, &mut vectors));
                    }
                    Split::Test { column, threshold, yes, no } => {
                        let first = *children[split].get_or_insert_with(|| {
                            let first = self.nodes.len();
                            self.nodes.resize(first + 2 * size, 0);
                            queue.extend([(no, first), (yes, first + size)]);
                            first as u32
                        });
                        let negated = if column.negated { Self::padded(self.features) } else { 0 };
                        let offset = ((negated + column.feature) * self.element()) as u32;
                        record.extend(self.number(threshold));
                        record.extend(offset.to_le_bytes());
                        record.extend((first.wrapping_sub(at as u32)).to_le_bytes());
                    }
                }
                self.nodes[at..at + record.len()].copy_from_slice(&record);
            }
        }
        roots
    }

    /// The payload of a leaf.
    fn payload_of(
        &mut self,
        ensemble: &Ensemble,
        leaf: usize,
        vectors: &mut HashMap<Vec<u8>, u32>,
    ) -> Vec<u8> {
        let none = aggregate_start(ensemble.aggregate).into();
        let scores = scores_of(ensemble, leaf);
        if self.payload == Payload::Scores {
            return self.number(scores.first().map_or(none, |&(_, score)| score));
        }
        let mut dense = vec![none; self.targets];
        scores.iter().for_each(|&(target, score)| dense[target] = score);
        let mut bytes: Vec<u8> = dense.iter().flat_map(|&score| self.number(score)).collect();
        bytes.resize(self.vector_bytes(), 0);
        let offset = vectors.entry(bytes).or_insert_with_key(|bytes| {
            let offset = self.vectors.len() as u32;
            self.vectors.extend(bytes);
            offset
        });
        offset.to_le_bytes().into()
    }
}

fn scores_of(ensemble: &Ensemble, leaf: usize) -> &[(usize, f64)] {
    match &ensemble.nodes[leaf] {
        Node::Leaf(scores) => scores,
        Node::Branch { .. } => &[],
    }
}

/// For each node, the most steps to a leaf. Children come before their parents.
fn depths(normal: &Normal) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::with_capacity(normal.splits.len());
    for split in &normal.splits {
        depths.push(match split {
            Split::Leaf(_) => 0,
            Split::Test { yes, no, .. } => 1 + depths[*yes].max(depths[*no]),
        });
    }
    depths
}

fn targets_below(ensemble: &Ensemble, normal: &Normal) -> Vec<Targets> {
    let mut below: Vec<Targets> = Vec::with_capacity(normal.splits.len());
    for split in &normal.splits {
        below.push(match split {
            Split::Leaf(leaf) => match scores_of(ensemble, *leaf) {
                [] => Targets::None,
                [(target, _)] => Targets::One(*target),
                _ => Targets::More,
            },
            Split::Test { yes, no, .. } => match (below[*yes], below[*no]) {
                (Targets::None, other) | (other, Targets::None) => other,
                (one, other) if one == other => one,
                _ => Targets::More,
            },
        });
    }
    below
}
