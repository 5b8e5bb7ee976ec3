//! Random ensembles of decision trees: written as ONNX nodes of the operators for
//! them, and evaluated row by row.

use crate::onnx::{Attribute, DOUBLE, FLOAT, Graph, UINT8};
use crate::random::Random;

/// The modes of a node, by their numbers in `TreeEnsemble`.
pub const MODES: [&str; 7] = [
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    "BRANCH_MEMBER",
];

/// Of which set nodes with the mode `BRANCH_MEMBER` test the membership: some of
/// these.
const MEMBERS: [f32; 7] = [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0];

/// Which targets the leaves of a tree have scores for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Each leaf for all.
    All,
    /// Each tree for one, in turns.
    InTurns,
    /// All trees for the first one.
    First,
}

/// What an ensemble looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The number of trees.
    pub trees: usize,
    /// The most branches from a root to a leaf.
    pub depth: usize,
    /// Whether all leaves are at that depth.
    pub is_full: bool,
    /// The number of features.
    pub features: usize,
    /// The number of targets or classes.
    pub targets: usize,
    /// The modes of the nodes, as indices of [`MODES`].
    pub modes: Vec<usize>,
    /// Whether some nodes send a NaN down the true branch.
    pub tracks_nan: bool,
    /// The targets of the leaves.
    pub scores: Scores,
    /// Whether no score is negative.
    pub is_positive: bool,
}

impl Shape {
    /// Complete trees with nodes `x <= threshold`, as exported forests have them.
    pub fn complete(trees: usize, depth: usize, features: usize, targets: usize) -> Self {
        Self {
            trees,
            depth,
            is_full: true,
            features,
            targets,
            modes: vec![0],
            tracks_nan: false,
            scores: Scores::All,
            is_positive: false,
        }
    }
}

/// A node of a tree.
#[derive(Clone, Debug)]
pub enum Node {
    /// A test.
    Branch {
        /// Of which feature.
        feature: usize,
        /// Its mode, an index of [`MODES`].
        mode: usize,
        /// What the feature is compared with.
        threshold: f32,
        /// The set of `BRANCH_MEMBER`.
        members: Vec<f32>,
        /// Whether a NaN goes down the true branch.
        nan_is_true: bool,
        /// The node of the true branch.
        yes: usize,
        /// The node of the false branch.
        no: usize,
    },
    /// Scores by target.
    Leaf(Vec<(usize, f32)>),
}

/// An ensemble.
#[derive(Clone, Debug)]
pub struct Forest {
    /// The nodes of each tree, the root first.
    pub trees: Vec<Vec<Node>>,
    /// The number of targets or classes.
    pub targets: usize,
}

impl Forest {
    /// A random ensemble.
    pub fn random(random: &mut Random, shape: &Shape) -> Self {
        let tree = |index: usize, random: &mut Random| {
            let mut nodes = Vec::new();
            grow(&mut nodes, random, shape, shape.depth, index);
            nodes
        };
        let trees = (0..shape.trees).map(|index| tree(index, random)).collect();
        Self { trees, targets: shape.targets }
    }

    /// The aggregate of the trees' scores for a row, in FP32: `SUM`, `AVERAGE`, `MIN`
    /// or `MAX`.
    pub fn scores(&self, row: &[f32], aggregate: &str) -> Vec<f32> {
        let mut scores: Vec<Option<f32>> = vec![None; self.targets];
        for tree in &self.trees {
            for &(target, score) in walk(tree, 0, row) {
                let all = &mut scores[target];
                *all = Some(match (aggregate, *all) {
                    ("MIN", Some(all)) => all.min(score),
                    ("MAX", Some(all)) => all.max(score),
                    (_, all) => all.unwrap_or(0.0) + score,
                });
            }
        }
        let trees = self.trees.len() as f32;
        let divisor = if aggregate == "AVERAGE" { trees } else { 1.0 };
        scores.iter().map(|score| score.unwrap_or(0.0) / divisor).collect()
    }

    /// Adds it as a node with leaves among the nodes, of a classifier or a
    /// regressor, with these outputs. `more` are attributes beside those of the trees.
    pub fn add(
        &self,
        graph: &mut Graph,
        operator: &str,
        input: &str,
        outputs: &[&str],
        more: Vec<(&str, Attribute)>,
    ) {
        let leaves = if operator == "TreeEnsembleClassifier" { "class" } else { "target" };
        let lists = Lists::new(self);
        let leaf = |what: &str| format!("{leaves}_{what}");
        let names = [leaf("treeids"), leaf("nodeids"), leaf("ids"), leaf("weights")];
        let mut attributes = vec![
            ("nodes_treeids", Attribute::Ints(&lists.tree)),
            ("nodes_nodeids", Attribute::Ints(&lists.id)),
            ("nodes_modes", Attribute::Strings(&lists.mode)),
            ("nodes_featureids", Attribute::Ints(&lists.feature)),
            ("nodes_values", Attribute::Floats(&lists.threshold)),
            ("nodes_truenodeids", Attribute::Ints(&lists.yes)),
            ("nodes_falsenodeids", Attribute::Ints(&lists.no)),
            ("nodes_missing_value_tracks_true", Attribute::Ints(&lists.nan)),
            (names[0].as_str(), Attribute::Ints(&lists.leaf_tree)),
            (names[1].as_str(), Attribute::Ints(&lists.leaf_node)),
            (names[2].as_str(), Attribute::Ints(&lists.leaf_target)),
            (names[3].as_str(), Attribute::Floats(&lists.leaf_score)),
        ];
        attributes.extend(more);
        graph.classical(operator, &[input], outputs, &attributes);
    }

    /// Adds it as a `TreeEnsemble`, whose leaves have one score each, with numbers of
    /// this type, FP32 or FP64.
    pub fn add_version_5(
        &self,
        graph: &mut Graph,
        input: &str,
        output: &str,
        dtype: i32,
        more: Vec<(&str, Attribute)>,
    ) {
        let lists = Branches::new(self);
        let numbers = |numbers: &[f32]| {
            let bytes = |&number: &f32| match dtype {
                DOUBLE => f64::from(number).to_le_bytes().to_vec(),
                _ => number.to_le_bytes().to_vec(),
            };
            Attribute::Tensor(dtype, numbers.iter().flat_map(bytes).collect())
        };
        assert!([FLOAT, DOUBLE].contains(&dtype));
        let mut attributes = vec![
            ("n_targets", Attribute::Int(self.targets as i64)),
            ("tree_roots", Attribute::Ints(&lists.roots)),
            ("nodes_modes", Attribute::Tensor(UINT8, lists.mode.clone())),
            ("nodes_featureids", Attribute::Ints(&lists.feature)),
            ("nodes_splits", numbers(&lists.threshold)),
            ("nodes_truenodeids", Attribute::Ints(&lists.yes.0)),
            ("nodes_trueleafs", Attribute::Ints(&lists.yes.1)),
            ("nodes_falsenodeids", Attribute::Ints(&lists.no.0)),
            ("nodes_falseleafs", Attribute::Ints(&lists.no.1)),
            ("nodes_missing_value_tracks_true", Attribute::Ints(&lists.nan)),
            ("leaf_targetids", Attribute::Ints(&lists.target)),
            ("leaf_weights", numbers(&lists.score)),
        ];
        if !lists.members.is_empty() {
            attributes.push(("membership_values", numbers(&lists.members)));
        }
        attributes.extend(more);
        graph.classical("TreeEnsemble", &[input], &[output], &attributes);
    }
}

/// Grows the nodes below one, and returns its number.
fn grow(
    nodes: &mut Vec<Node>,
    random: &mut Random,
    shape: &Shape,
    depth: usize,
    tree: usize,
) -> usize {
    let at = nodes.len();
    let ends = !shape.is_full && random.within(0..=5) == 0;
    // A tree of `TreeEnsemble` has a branch at least.
    if depth == 0 || (ends && depth < shape.depth) {
        let targets = match shape.scores {
            Scores::All => 0..shape.targets,
            Scores::InTurns => tree % shape.targets..tree % shape.targets + 1,
            Scores::First => 0..1,
        };
        let score = |random: &mut Random| {
            let score = random.numbers(1)[0];
            if shape.is_positive { score.abs() / shape.trees as f32 } else { score }
        };
        nodes.push(Node::Leaf(targets.map(|target| (target, score(random))).collect()));
        return at;
    }
    nodes.push(Node::Leaf(Vec::new()));
    let yes = grow(nodes, random, shape, depth - 1, tree);
    let no = grow(nodes, random, shape, depth - 1, tree);
    let threshold = match random.within(0..=3) {
        0 => random.pick(&MEMBERS),
        1 => random.pick(&[0.0, -0.0, 1.0e-40, f32::INFINITY, f32::NEG_INFINITY, f32::MAX]),
        _ => random.numbers(1)[0],
    };
    let members = (0..random.within(1..=6)).map(|_| random.pick(&MEMBERS)).collect();
    nodes[at] = Node::Branch {
        feature: random.within(0..=shape.features - 1),
        mode: random.pick(&shape.modes),
        threshold,
        members,
        nan_is_true: shape.tracks_nan && random.within(0..=1) == 0,
        yes,
        no,
    };
    at
}

/// The leaf at which a row ends.
fn walk<'a>(tree: &'a [Node], at: usize, row: &[f32]) -> &'a [(usize, f32)] {
    match &tree[at] {
        Node::Leaf(scores) => scores,
        Node::Branch { feature, mode, threshold, members, nan_is_true, yes, no } => {
            let x = row[*feature];
            let holds = match MODES[*mode] {
                "BRANCH_LEQ" => x <= *threshold,
                "BRANCH_LT" => x < *threshold,
                "BRANCH_GTE" => x >= *threshold,
                "BRANCH_GT" => x > *threshold,
                "BRANCH_EQ" => x == *threshold,
                "BRANCH_NEQ" => x != *threshold,
                _ => members.contains(&x),
            };
            let taken = holds || (*nan_is_true && x.is_nan());
            walk(tree, if taken { *yes } else { *no }, row)
        }
    }
}

/// The attributes of the older operators: an element for each node.
#[derive(Default)]
struct Lists {
    tree: Vec<i64>,
    id: Vec<i64>,
    mode: Vec<&'static str>,
    feature: Vec<i64>,
    threshold: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    nan: Vec<i64>,
    leaf_tree: Vec<i64>,
    leaf_node: Vec<i64>,
    leaf_target: Vec<i64>,
    leaf_score: Vec<f32>,
}

impl Lists {
    fn new(forest: &Forest) -> Self {
        let mut lists = Self::default();
        for (tree, nodes) in forest.trees.iter().enumerate() {
            for (id, node) in nodes.iter().enumerate() {
                lists.tree.push(tree as i64);
                lists.id.push(id as i64);
                lists.add(tree, id, node);
            }
        }
        lists
    }

    fn add(&mut self, tree: usize, id: usize, node: &Node) {
        let (mode, numbers, threshold) = match node {
            Node::Branch { feature, mode, threshold, nan_is_true, yes, no, .. } => {
                (MODES[*mode], [*feature, *yes, *no, usize::from(*nan_is_true)], *threshold)
            }
            Node::Leaf(scores) => {
                for &(target, score) in scores {
                    self.leaf_tree.push(tree as i64);
                    self.leaf_node.push(id as i64);
                    self.leaf_target.push(target as i64);
                    self.leaf_score.push(score);
                }
                ("LEAF", [0; 4], 0.0)
            }
        };
        self.mode.push(mode);
        self.threshold.push(threshold);
        let [feature, yes, no, nan] = numbers.map(|number| number as i64);
        self.feature.push(feature);
        self.yes.push(yes);
        self.no.push(no);
        self.nan.push(nan);
    }
}

/// The attributes of `TreeEnsemble`: an element for each branch, and for each leaf.
#[derive(Default)]
struct Branches {
    roots: Vec<i64>,
    mode: Vec<u8>,
    feature: Vec<i64>,
    threshold: Vec<f32>,
    /// The numbers of children, and whether they are leaves.
    yes: (Vec<i64>, Vec<i64>),
    no: (Vec<i64>, Vec<i64>),
    nan: Vec<i64>,
    members: Vec<f32>,
    target: Vec<i64>,
    score: Vec<f32>,
}

impl Branches {
    fn new(forest: &Forest) -> Self {
        let mut lists = Self::default();
        for nodes in &forest.trees {
            // Where each node is, among the branches or among the leaves.
            let mut place = Vec::new();
            let (mut branches, mut leaves) = (lists.mode.len(), lists.score.len());
            for node in nodes {
                let count = match node {
                    Node::Branch { .. } => &mut branches,
                    Node::Leaf(_) => &mut leaves,
                };
                place.push((*count as i64, i64::from(matches!(node, Node::Leaf(_)))));
                *count += 1;
            }
            lists.roots.push(place[0].0);
            nodes.iter().for_each(|node| lists.add(node, &place));
        }
        lists
    }

    fn add(&mut self, node: &Node, place: &[(i64, i64)]) {
        match node {
            Node::Branch { feature, mode, threshold, members, nan_is_true, yes, no } => {
                self.mode.push(*mode as u8);
                self.feature.push(*feature as i64);
                self.threshold.push(*threshold);
                for (lists, child) in [(&mut self.yes, yes), (&mut self.no, no)] {
                    lists.0.push(place[*child].0);
                    lists.1.push(place[*child].1);
                }
                self.nan.push(i64::from(*nan_is_true));
                if MODES[*mode] == "BRANCH_MEMBER" {
                    self.members.extend(members);
                    self.members.push(f32::NAN);
                }
            }
            Node::Leaf(scores) => {
                let &[(target, score)] = scores.as_slice() else {
                    panic!("a leaf of TreeEnsemble has one score, not {}", scores.len());
                };
                self.target.push(target as i64);
                self.score.push(score);
            }
        }
    }
}
