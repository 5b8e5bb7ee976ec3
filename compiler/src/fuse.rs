//! Element-wise steps merged into the kernels before them, so that a tensor is
//! not written and read again for a bias, an activation or a cast.

use leeway_contract::DType;

use crate::emit::nest::{broadcast_strides, collapse, dense_strides, is_dense};
use crate::expr::{Binary, Fusion, Node};
use crate::kernels::map::{Map, Operand};
use crate::kernels::normal::Normal;
use crate::kernels::rows::{Fold, Reduce, Rows};
use crate::schedule::{Origin, Schedule, ValueId};

/// Merges what can be merged, until nothing more can.
pub fn fuse(schedule: &mut Schedule) {
    while centre_one(schedule) {}
    while fuse_one_into_producer(schedule) {}
    while merge_two_maps(schedule) {}
    remove_unread_steps(schedule);
}

/// The step that makes a value, or what it is a view of, and nothing else.
fn producer(schedule: &Schedule, value: ValueId) -> Option<usize> {
    let root = schedule.root(value);
    schedule.steps.iter().position(|step| step.outputs == [root])
}

/// Whether nothing but the step `at` reads the value, in its own or another shape.
fn read_only_by(schedule: &Schedule, value: ValueId, at: usize) -> bool {
    let root = schedule.root(value);
    let reads = |v: &ValueId| schedule.root(*v) == root;
    !schedule.outputs.iter().any(reads)
        && schedule.steps.iter().enumerate().all(|(i, s)| i == at || !s.inputs.iter().any(reads))
        && schedule.steps[at].inputs.iter().filter(|v| reads(v)).count() == 1
}

/// A map after a kernel that takes such work over: the step goes, and its output
/// becomes the kernel's.
fn fuse_one_into_producer(schedule: &mut Schedule) -> bool {
    for at in 0..schedule.steps.len() {
        let step = &schedule.steps[at];
        let Some(map) = step.kernel.as_any().downcast_ref::<Map>() else { continue };
        if map.output != DType::F32 {
            continue;
        }
        let computed = |&i: &usize| !schedule.is_constant(step.inputs[i]);
        let mut operands = (0..map.operands.len()).filter(computed);
        let (Some(operand), None) = (operands.next(), operands.next()) else { continue };
        let input = step.inputs[operand];
        let Some(before) = producer(schedule, input) else { continue };
        let reads_all_of_it = is_dense(&map.operands[operand].strides, &map.shape)
            && schedule.value(input).elements() == map.shape.iter().product::<usize>();
        let is_map = schedule.steps[before].kernel.as_any().is::<Map>();
        if !reads_all_of_it || is_map || !read_only_by(schedule, input, at) {
            continue;
        }
        let Some(fusion) = as_fusion(schedule, map, operand, &step.inputs) else { continue };
        // The engine would spill sums of the innermost loop for what it needs after it:
        // that costs more than a tensor that is written and read again.
        if matches!(&fusion, Fusion::Then(expr) if expr.length() > 0) {
            continue;
        }
        let output = step.outputs[0];
        if schedule.steps[before].kernel.fuse(&fusion) {
            schedule.steps[before].outputs = vec![output];
            schedule.steps.remove(at);
            return true;
        }
    }
    false
}

/// A normalisation of what the mean was taken from before: it takes the mean itself.
fn centre_one(schedule: &mut Schedule) -> bool {
    for at in 0..schedule.steps.len() {
        let step = &schedule.steps[at];
        let Some(normal) = step.kernel.as_any().downcast_ref::<Normal>() else { continue };
        if normal.centred || !read_only_by(schedule, step.inputs[0], at) {
            continue;
        }
        let Some(whole) = whole_of_centred(schedule, step.inputs[0], normal.rows) else { continue };
        let centred = Normal { centred: true, ..normal.clone() };
        schedule.steps[at].kernel = Box::new(centred);
        schedule.steps[at].inputs = vec![whole];
        remove_unread_steps(schedule);
        return true;
    }
    false
}

/// The tensor of which this one is the difference to its mean along the rows, if it is.
fn whole_of_centred(schedule: &Schedule, value: ValueId, rows: Rows) -> Option<ValueId> {
    let (map, inputs) = map_of(schedule, value)?;
    let &[Node::Operand(whole), Node::Operand(mean), Node::Binary(Binary::Sub, 0, 1)] =
        map.expr.nodes()
    else {
        return None;
    };
    let of_rows = [rows.outer, rows.axis, rows.inner];
    let is_along = |operand: usize, axis: usize| {
        let from = [rows.outer, axis, rows.inner];
        is_broadcast(&map.operands[operand], &map.shape, &from, &of_rows)
    };
    if map.output != DType::F32 || !is_along(whole, rows.axis) || !is_along(mean, 1) {
        return None;
    }
    let (scaled, sums) = map_of(schedule, inputs[mean])?;
    let &[Node::Operand(0), Node::Constant(part), Node::Binary(function, 0, 1)] =
        scaled.expr.nodes()
    else {
        return None;
    };
    let size = rows.axis as f32;
    let is_mean = match function {
        Binary::Mul => part == 1.0 / size,
        Binary::Div => part == size,
        _ => false,
    };
    let is_whole = is_dense(&scaled.operands[0].strides, &scaled.shape)
        && schedule.value(sums[0]).elements() == scaled.shape.iter().product::<usize>();
    let sum = &schedule.steps[producer(schedule, sums[0])?];
    let reduce = sum.kernel.as_any().downcast_ref::<Reduce>()?;
    let is_sum = reduce.rows == rows && reduce.fold == Fold::Sum && reduce.scale == 1.0;
    let same = schedule.root(sum.inputs[0]) == schedule.root(inputs[whole]);
    (is_mean && is_whole && is_sum && same).then_some(inputs[whole])
}

/// The map that makes a value, and its inputs.
fn map_of(schedule: &Schedule, value: ValueId) -> Option<(&Map, &[ValueId])> {
    let step = &schedule.steps[producer(schedule, value)?];
    Some((step.kernel.as_any().downcast_ref::<Map>()?, &step.inputs))
}

/// Whether the operand of a map is a dense tensor of shape `from`, broadcast to `to`, when
/// axes are joined to these.
fn is_broadcast(operand: &Operand, shape: &[usize], from: &[usize], to: &[usize]) -> bool {
    let strides = broadcast_strides(from, to);
    operand.first == 0
        && operand.dtype == DType::F32
        && collapse(shape, &[&operand.strides, &dense_strides(shape)])
            == collapse(to, &[&strides, &dense_strides(to)])
}

/// A map as work on its one computed operand.
fn as_fusion(schedule: &Schedule, map: &Map, operand: usize, inputs: &[ValueId]) -> Option<Fusion> {
    if map.operands.len() == 1 {
        return Some(Fusion::Then(map.expr.clone()));
    }
    let &[Node::Operand(a), Node::Operand(b), Node::Binary(function, x, y)] = map.expr.nodes()
    else {
        return None;
    };
    let constant = if a == operand { b } else { a };
    let constant_is_right = [a, b][y] == constant;
    if x == y {
        return None;
    }
    let strides = &map.operands[constant].strides;
    let mut along = (0..map.shape.len()).filter(|&axis| strides[axis] != 0 && map.shape[axis] > 1);
    let (Some(axis), None) = (along.next(), along.next()) else { return None };
    let values = constant_elements(schedule, inputs[constant])?;
    if values.len() != map.shape[axis] {
        return None;
    }
    let ones = || vec![1.0; values.len()];
    let zeros = || vec![0.0; values.len()];
    let negated = || values.iter().map(|v| -v).collect();
    let (scale, shift) = match (function, constant_is_right) {
        (Binary::Add, _) => (ones(), values),
        (Binary::Sub, true) => (ones(), negated()),
        (Binary::Sub, false) => (vec![-1.0; values.len()], values),
        (Binary::Mul, _) => (values.clone(), zeros()),
        (Binary::Div, true) => (values.iter().map(|v| 1.0 / v).collect(), zeros()),
        _ => return None,
    };
    Some(Fusion::PerChannel { inner: dense_strides(&map.shape)[axis], scale, shift })
}

fn constant_elements(schedule: &Schedule, id: ValueId) -> Option<Vec<f32>> {
    let value = schedule.value(schedule.root(id));
    match &value.origin {
        Origin::Constant(bytes) if value.dtype == DType::F32 => Some(
            bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().expect("chunks of four bytes")))
                .collect(),
        ),
        _ => None,
    }
}

/// A map whose operand is another map's output: one map.
fn merge_two_maps(schedule: &mut Schedule) -> bool {
    for at in 0..schedule.steps.len() {
        let step = &schedule.steps[at];
        let Some(outer) = step.kernel.as_any().downcast_ref::<Map>() else { continue };
        for slot in 0..outer.operands.len() {
            let value = step.inputs[slot];
            let Some(before) = producer(schedule, value) else { continue };
            let Some(inner) = schedule.steps[before].kernel.as_any().downcast_ref::<Map>() else {
                continue;
            };
            let same = collapsed_shape(&inner.shape) == collapsed_shape(&outer.shape)
                && matches!(inner.output, DType::F32 | DType::Bool)
                && is_dense(&outer.operands[slot].strides, &outer.shape);
            if !same || !read_only_by(schedule, value, at) {
                continue;
            }
            let kept = |i: usize| if i > slot { i - 1 } else { i };
            let first_inner = outer.operands.len() - 1;
            let expr = outer.expr.compose(slot, &inner.expr, kept, |i| first_inner + i);
            let without = |i: &usize| *i != slot;
            let reshaped = inner.operands.iter().map(|o| reshape(o, &inner.shape, &outer.shape));
            let operands: Vec<Operand> = (0..outer.operands.len())
                .filter(without)
                .map(|i| outer.operands[i].clone())
                .chain(reshaped)
                .collect();
            let inputs = (0..step.inputs.len())
                .filter(without)
                .map(|i| step.inputs[i])
                .chain(schedule.steps[before].inputs.iter().copied())
                .collect();
            let merged = Map { shape: outer.shape.clone(), operands, expr, output: outer.output };
            schedule.steps[at].kernel = Box::new(merged);
            schedule.steps[at].inputs = inputs;
            schedule.steps.remove(before);
            return true;
        }
    }
    false
}

/// The sizes of the axes that have more than one index.
fn collapsed_shape(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&size| size > 1).collect()
}

/// An operand of a map of shape `from`, in a map whose shape `to` differs in axes
/// of size 1 only.
fn reshape(operand: &Operand, from: &[usize], to: &[usize]) -> Operand {
    let mut strides = (0..from.len()).filter(|&axis| from[axis] > 1).map(|a| operand.strides[a]);
    let stride = |&size: &usize| if size > 1 { strides.next().unwrap_or(0) } else { 0 };
    Operand { strides: to.iter().map(stride).collect(), ..*operand }
}

/// Steps whose outputs nothing reads.
fn remove_unread_steps(schedule: &mut Schedule) {
    loop {
        let last = schedule.last_reads();
        let unread =
            |step: &crate::schedule::Step| step.outputs.iter().all(|o| last[o.0].is_none());
        match schedule.steps.iter().position(unread) {
            Some(at) => drop(schedule.steps.remove(at)),
            None => return,
        }
    }
}
