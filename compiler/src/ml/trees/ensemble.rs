//! An ensemble of decision trees, and the operator of tract's graph that computes
//! its scores. It is evaluated here as the specification has it, node by node:
//! kernels are compared with that.

use std::collections::BTreeSet;

use tract_onnx::tract_hir::internal::*;

/// How the scores of the trees become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// The sum.
    Sum,
    /// The sum over the number of trees.
    Average,
    /// The smallest one.
    Min,
    /// The largest one.
    Max,
}

/// When the true branch is taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// `x <= threshold`
    Leq(f64),
    /// `x < threshold`
    Lt(f64),
    /// `x >= threshold`
    Gte(f64),
    /// `x > threshold`
    Gt(f64),
    /// `x == threshold`
    Eq(f64),
    /// `x != threshold`; of a NaN, which differs from all numbers, too.
    Neq(f64),
    /// `x` is one of these, which are in order and differ.
    Member(Vec<f64>),
}

impl Mode {
    /// Whether a feature takes the true branch.
    pub fn holds(&self, x: f64) -> bool {
        match self {
            Mode::Leq(t) => x <= *t,
            Mode::Lt(t) => x < *t,
            Mode::Gte(t) => x >= *t,
            Mode::Gt(t) => x > *t,
            Mode::Eq(t) => x == *t,
            Mode::Neq(t) => x != *t,
            Mode::Member(set) => set.contains(&x),
        }
    }
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A test of one feature.
    Branch {
        /// Which one.
        feature: usize,
        /// The test.
        mode: Mode,
        /// Whether a NaN takes the true branch in any case.
        nan_is_true: bool,
        /// The node of the true branch.
        yes: usize,
        /// The node of the false branch.
        no: usize,
    },
    /// The end: for some targets, a score.
    Leaf(Vec<(usize, f64)>),
}

/// Trees whose scores are aggregated. No path from a root comes back to a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The first node of each tree.
    pub roots: Vec<usize>,
    /// The number of targets.
    pub targets: usize,
    /// How their scores are aggregated.
    pub aggregate: Aggregate,
}

impl Ensemble {
    /// An error, with a node on a path that comes back to it, if there is one.
    pub fn check_paths(&self) -> Result<(), usize> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            /// On the path that is looked at.
            Open,
            Done,
        }
        let mut states = vec![State::New; self.nodes.len()];
        let mut stack: Vec<usize> = self.roots.clone();
        while let Some(&at) = stack.last() {
            if states[at] != State::New {
                states[at] = State::Done;
                stack.pop();
                continue;
            }
            states[at] = State::Open;
            if let Node::Branch { yes, no, .. } = self.nodes[at] {
                for child in [yes, no] {
                    match states[child] {
                        State::New => stack.push(child),
                        State::Open => return Err(child),
                        State::Done => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// The leaf at which a row ends in a tree: its scores by target.
    fn leaf(&self, root: usize, row: &[f64]) -> &[(usize, f64)] {
        let mut at = root;
        loop {
            match &self.nodes[at] {
                Node::Branch { feature, mode, nan_is_true, yes, no } => {
                    let x = row[*feature];
                    at = if mode.holds(x) || (*nan_is_true && x.is_nan()) { *yes } else { *no };
                }
                Node::Leaf(scores) => return scores,
            }
        }
    }

    /// The scores of a row by target, accumulated in FP32 or, if `wide`, in FP64.
    pub fn scores(&self, row: &[f64], wide: bool) -> Vec<f64> {
        let round = |number: f64| if wide { number } else { f64::from(number as f32) };
        let mut scores: Vec<Option<f64>> = vec![None; self.targets];
        for &root in &self.roots {
            for &(target, score) in self.leaf(root, row) {
                let score = round(score);
                let before = scores[target];
                scores[target] = Some(match (self.aggregate, before) {
                    (Aggregate::Sum | Aggregate::Average, before) => {
                        round(before.unwrap_or(0.0) + score)
                    }
                    (_, None) => score,
                    (Aggregate::Min, Some(before)) => before.min(score),
                    (Aggregate::Max, Some(before)) => before.max(score),
                });
            }
        }
        let trees = self.roots.len() as f64;
        let scores = scores.iter().map(|score| score.unwrap_or(0.0));
        match self.aggregate {
            Aggregate::Average => scores.map(|score| round(score / trees)).collect(),
            _ => scores.collect(),
        }
    }

    /// The largest feature of a branch and one more.
    pub fn features(&self) -> usize {
        let features = self.nodes.iter().map(|node| match node {
            Node::Branch { feature, .. } => feature + 1,
            Node::Leaf(_) => 0,
        });
        features.max().unwrap_or(0)
    }

    /// The targets that some leaf has a score for, in order.
    pub fn scored_targets(&self) -> Vec<usize> {
        let scores = self.nodes.iter().filter_map(|node| match node {
            Node::Leaf(scores) => Some(scores),
            Node::Branch { .. } => None,
        });
        let targets: BTreeSet<usize> = scores.flatten().map(|&(target, _)| target).collect();
        targets.into_iter().collect()
    }
}

/// The scores `[rows, targets]` of an ensemble, before base values and transforms.
#[derive(Clone, Debug)]
pub struct TreeScores {
    /// The trees.
    pub ensemble: Arc<Ensemble>,
    /// The type of the scores: FP32 or FP64. Features are of FP32 or FP64, and what
    /// is computed has their precision.
    pub output: DatumType,
}

impl PartialEq for TreeScores {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ensemble, &other.ensemble) && self.output == other.output
    }
}

impl Eq for TreeScores {}

impl Op for TreeScores {
    fn name(&self) -> StaticName {
        "TreeScores".into()
    }

    op_as_typed_op!();
}

impl EvalOp for TreeScores {
    // Rows times trees times depth is no bounded work.
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let wide = input.datum_type() == f64::datum_type();
        let input = input.cast_to::<f64>()?;
        let rows = input.to_plain_array_view::<f64>()?;
        let columns = input.shape()[1];
        let scores: Vec<f64> = rows
            .as_slice()
            .context("a dense input")?
            .chunks_exact(columns)
            .flat_map(|row| self.ensemble.scores(row, wide))
            .collect();
        let scores = tensor1(&scores).into_shape(&[input.shape()[0], self.ensemble.targets])?;
        Ok(tvec!(scores.cast_to_dt(self.output)?.into_owned().into_tvalue()))
    }
}

impl TypedOp for TreeScores {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let features = inputs[0].shape[1].to_usize()?;
        ensure!(
            self.ensemble.features() <= features,
            "its attribute nodes_featureids names feature {}, its input has {features}",
            self.ensemble.features() - 1
        );
        let shape = [inputs[0].shape[0].clone(), self.ensemble.targets.into()];
        Ok(tvec!(self.output.fact(shape.iter())))
    }

    as_op!();
}
