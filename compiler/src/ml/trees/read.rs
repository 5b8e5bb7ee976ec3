//! Ensembles from the attributes of a node: as nodes and leaves of their own
//! (`TreeEnsemble`), or as nodes of which some are leaves (the older two).

use std::collections::{HashMap, HashSet};

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::ensemble::{Aggregate, Ensemble, Mode, Node};
use crate::ml::attributes::{ints, no_nan, reals, strings, tensor, want};

/// The ensemble of a `TreeEnsembleClassifier` (whose leaves' attributes begin with
/// `class`) or `TreeEnsembleRegressor` (with `target`).
pub fn of_nodes(
    ctx: &ParsingContext,
    node: &NodeProto,
    leaves: &str,
    targets: usize,
    aggregate: Aggregate,
) -> TractResult<Ensemble> {
    let ids = ints(node, "nodes_nodeids")?;
    let count = ids.len();
    node.expect_attr("nodes_nodeids", count > 0, "at least one node")?;
    let trees = same_length(node, "nodes_treeids", count)?;
    let index = index_nodes(node, trees, ids)?;
    let mut nodes = branches(ctx, node, trees, &index)?;
    add_scores(ctx, node, leaves, targets, &index, &mut nodes)?;
    nodes.iter_mut().for_each(|node| merge_scores(node, aggregate));

    let starts = trees.iter().enumerate().filter(|&(at, tree)| at == 0 || trees[at - 1] != *tree);
    let starts: Vec<(usize, i64)> = starts.map(|(at, &tree)| (at, tree)).collect();
    let mut seen = HashSet::new();
    if let Some((_, tree)) = starts.iter().find(|&&(_, tree)| !seen.insert(tree)) {
        let what = format!("the nodes of tree {tree} are not next to each other");
        return node.bail_attr("nodes_treeids", &what);
    }
    let roots = starts.iter().map(|&(at, _)| at).collect();
    checked(node, "nodes_truenodeids", Ensemble { nodes, roots, targets, aggregate })
}

fn same_length<'a>(node: &'a NodeProto, name: &str, count: usize) -> TractResult<&'a [i64]> {
    let numbers = ints(node, name)?;
    want(node, name, numbers.len(), count)?;
    Ok(numbers)
}

/// Where each node of each tree is.
fn index_nodes(
    node: &NodeProto,
    trees: &[i64],
    ids: &[i64],
) -> TractResult<HashMap<(i64, i64), usize>> {
    let mut index = HashMap::new();
    for (at, key) in trees.iter().copied().zip(ids.iter().copied()).enumerate() {
        if index.insert(key, at).is_some() {
            let what = format!("tree {} has more than one node {}", key.0, key.1);
            return node.bail_attr("nodes_nodeids", &what);
        }
    }
    Ok(index)
}

fn branches(
    ctx: &ParsingContext,
    node: &NodeProto,
    trees: &[i64],
    index: &HashMap<(i64, i64), usize>,
) -> TractResult<Vec<Node>> {
    let count = trees.len();
    let modes = strings(node, "nodes_modes")?;
    want(node, "nodes_modes", modes.len(), count)?;
    let features = same_length(node, "nodes_featureids", count)?;
    let yes = same_length(node, "nodes_truenodeids", count)?;
    let no = same_length(node, "nodes_falsenodeids", count)?;
    let thresholds = reals(ctx, node, "nodes_values")?.unwrap_or_default();
    want(node, "nodes_values", thresholds.len(), count)?;
    let nan_is_true = flags(node, "nodes_missing_value_tracks_true", count)?;
    let mut nodes = Vec::with_capacity(count);
    for at in 0..count {
        let child = |name: &str, id: i64| match index.get(&(trees[at], id)) {
            Some(&child) => Ok(child),
            None => {
                let what =
                    format!("element {at} names node {id}, which tree {} has not", trees[at]);
                node.bail_attr(name, &what)
            }
        };
        let threshold = thresholds[at];
        let mode = match &*modes[at] {
            "LEAF" => {
                nodes.push(Node::Leaf(Vec::new()));
                continue;
            }
            "BRANCH_LEQ" => Mode::Leq(threshold),
            "BRANCH_LT" => Mode::Lt(threshold),
            "BRANCH_GTE" => Mode::Gte(threshold),
            "BRANCH_GT" => Mode::Gt(threshold),
            "BRANCH_EQ" => Mode::Eq(threshold),
            "BRANCH_NEQ" => Mode::Neq(threshold),
            other => {
                let what = format!(
                    "element {at} is {other:?}; BRANCH_LEQ, LT, GTE, GT, EQ, NEQ and LEAF are known"
                );
                return node.bail_attr("nodes_modes", &what);
            }
        };
        no_nan(node, "nodes_values", &[threshold])?;
        nodes.push(Node::Branch {
            feature: feature(node, features[at])?,
            mode,
            nan_is_true: nan_is_true[at],
            yes: child("nodes_truenodeids", yes[at])?,
            no: child("nodes_falsenodeids", no[at])?,
        });
    }
    Ok(nodes)
}

fn feature(node: &NodeProto, id: i64) -> TractResult<usize> {
    match u32::try_from(id) {
        Ok(feature) => Ok(feature as usize),
        Err(_) => node.bail_attr("nodes_featureids", &format!("{id} is no feature")),
    }
}

fn flags(node: &NodeProto, name: &str, count: usize) -> TractResult<Vec<bool>> {
    let numbers = ints(node, name)?;
    if numbers.is_empty() {
        return Ok(vec![false; count]);
    }
    want(node, name, numbers.len(), count)?;
    Ok(numbers.iter().map(|&number| number != 0).collect())
}

fn add_scores(
    ctx: &ParsingContext,
    node: &NodeProto,
    leaves: &str,
    targets: usize,
    index: &HashMap<(i64, i64), usize>,
    nodes: &mut [Node],
) -> TractResult<()> {
    let name = |what: &str| format!("{leaves}_{what}");
    let ids = ints(node, &name("ids"))?;
    node.expect_attr(&name("ids"), !ids.is_empty(), "at least one score of a leaf")?;
    let of_tree = same_length(node, &name("treeids"), ids.len())?;
    let of_node = same_length(node, &name("nodeids"), ids.len())?;
    let weights = reals(ctx, node, &name("weights"))?.unwrap_or_default();
    want(node, &name("weights"), weights.len(), ids.len())?;
    no_nan(node, &name("weights"), &weights)?;
    for at in 0..ids.len() {
        let key = (of_tree[at], of_node[at]);
        let target = target(node, &name("ids"), ids[at], targets)?;
        match index.get(&key).map(|&leaf| &mut nodes[leaf]) {
            Some(Node::Leaf(scores)) => scores.push((target, weights[at])),
            Some(Node::Branch { .. }) => {
                let what = format!("element {at}: node {} of tree {} is no leaf", key.1, key.0);
                return node.bail_attr(&name("nodeids"), &what);
            }
            None => {
                let what = format!("element {at} names node {} of tree {}", key.1, key.0);
                return node.bail_attr(&name("nodeids"), &format!("{what}, which there is not"));
            }
        }
    }
    Ok(())
}

/// Makes one of several scores of a leaf for a target.
fn merge_scores(node: &mut Node, aggregate: Aggregate) {
    let Node::Leaf(scores) = node else { return };
    scores.sort_by_key(|&(target, _)| target);
    scores.dedup_by(|next, first| {
        let is_same = next.0 == first.0;
        if is_same {
            first.1 = match aggregate {
                Aggregate::Sum | Aggregate::Average => first.1 + next.1,
                Aggregate::Min => first.1.min(next.1),
                Aggregate::Max => first.1.max(next.1),
            };
        }
        is_same
    });
}

fn target(node: &NodeProto, name: &str, id: i64, targets: usize) -> TractResult<usize> {
    match usize::try_from(id).ok().filter(|&id| id < targets) {
        Some(target) => Ok(target),
        None => node.bail_attr(name, &format!("{id} is none of {targets} targets or classes")),
    }
}

/// The ensemble of a `TreeEnsemble`.
pub fn of_branches_and_leaves(
    ctx: &ParsingContext,
    node: &NodeProto,
    targets: usize,
    aggregate: Aggregate,
) -> TractResult<Ensemble> {
    let features = ints(node, "nodes_featureids")?;
    let count = features.len();
    node.expect_attr("nodes_featureids", count > 0, "at least one node")?;
    let leaf_ids = ints(node, "leaf_targetids")?;
    let weights = tensor(ctx, node, "leaf_weights")?.unwrap_or_default();
    want(node, "leaf_weights", weights.len(), leaf_ids.len())?;
    no_nan(node, "leaf_weights", &weights)?;
    let modes = modes(ctx, node, count)?;
    let nan_is_true = flags(node, "nodes_missing_value_tracks_true", count)?;
    let children = |ids: &str, leaves: &str| -> TractResult<Vec<usize>> {
        let is_leaf = flags(node, leaves, count)?;
        let numbers = same_length(node, ids, count)?;
        numbers
            .iter()
            .zip(is_leaf)
            .map(|(&id, is_leaf)| {
                let among = if is_leaf { leaf_ids.len() } else { count };
                match usize::try_from(id).ok().filter(|&id| id < among) {
                    Some(id) => Ok(if is_leaf { count + id } else { id }),
                    None => {
                        let what = if is_leaf { "leaves" } else { "nodes" };
                        node.bail_attr(ids, &format!("{id} is none of {among} {what}"))
                    }
                }
            })
            .collect()
    };
    let yes = children("nodes_truenodeids", "nodes_trueleafs")?;
    let no = children("nodes_falsenodeids", "nodes_falseleafs")?;
    let mut nodes = Vec::with_capacity(count + leaf_ids.len());
    for (at, mode) in modes.into_iter().enumerate() {
        let feature = feature(node, features[at])?;
        let nan_is_true = nan_is_true[at];
        nodes.push(Node::Branch { feature, mode, nan_is_true, yes: yes[at], no: no[at] });
    }
    for (&id, &weight) in leaf_ids.iter().zip(&weights) {
        nodes.push(Node::Leaf(vec![(target(node, "leaf_targetids", id, targets)?, weight)]));
    }
    let roots = ints(node, "tree_roots")?;
    node.expect_attr("tree_roots", !roots.is_empty(), "at least one tree")?;
    let root = |&id: &i64| match usize::try_from(id).ok().filter(|&id| id < count) {
        Some(root) => Ok(root),
        None => node.bail_attr("tree_roots", &format!("{id} is none of {count} nodes")),
    };
    let roots = roots.iter().map(root).collect::<TractResult<_>>()?;
    checked(node, "nodes_truenodeids", Ensemble { nodes, roots, targets, aggregate })
}

/// The tests of the nodes of a `TreeEnsemble`.
fn modes(ctx: &ParsingContext, node: &NodeProto, count: usize) -> TractResult<Vec<Mode>> {
    let numbers = tensor(ctx, node, "nodes_modes")?.unwrap_or_default();
    want(node, "nodes_modes", numbers.len(), count)?;
    let splits = tensor(ctx, node, "nodes_splits")?.unwrap_or_default();
    want(node, "nodes_splits", splits.len(), count)?;
    // Sets one after the other, each followed by a NaN, but for the last one maybe.
    let members = tensor(ctx, node, "membership_values")?.unwrap_or_default();
    let mut sets = members.split(|member| member.is_nan());
    let mut modes = Vec::with_capacity(count);
    for (&number, &split) in numbers.iter().zip(&splits) {
        let mode = match number as i64 {
            0 => Mode::Leq(split),
            1 => Mode::Lt(split),
            2 => Mode::Gte(split),
            3 => Mode::Gt(split),
            4 => Mode::Eq(split),
            5 => Mode::Neq(split),
            6 => {
                let Some(set) = sets.next().filter(|set| !set.is_empty()) else {
                    let what = "fewer sets than nodes with the mode BRANCH_MEMBER (6)";
                    return node.bail_attr("membership_values", what);
                };
                let mut set = set.to_vec();
                set.sort_by(f64::total_cmp);
                set.dedup();
                modes.push(Mode::Member(set));
                continue;
            }
            other => return node.bail_attr("nodes_modes", &format!("{other} is none of 0 to 6")),
        };
        no_nan(node, "nodes_splits", &[split])?;
        modes.push(mode);
    }
    if sets.any(|set| !set.is_empty()) {
        let what = "more sets than nodes with the mode BRANCH_MEMBER (6)";
        return node.bail_attr("membership_values", what);
    }
    Ok(modes)
}

/// The ensemble, if no path comes back to a node.
fn checked(node: &NodeProto, children: &str, ensemble: Ensemble) -> TractResult<Ensemble> {
    match ensemble.check_paths() {
        Ok(()) => Ok(ensemble),
        Err(at) => {
            let what = format!("the node at position {at} is its own descendant");
            node.bail_attr(children, &what)
        }
    }
}
