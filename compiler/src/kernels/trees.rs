//! The `trees` kernel: ensembles of decision trees, whose every walk takes as many
//! steps as its tree is deep.
//!
//! A node is a record in memory. A step loads the column that it names and its
//! threshold, and goes to the record of one of the two children, which lie side by
//! side, by the result of the comparison as a number: no branch. A leaf's
//! threshold is NaN, and its children are itself, so that a walk that is there
//! stays there. Several walks go in step, for their loads to overlap: rows in the
//! same tree, or, where there are few rows, trees of about the same depth.
//!
//! Where the walks end is kept for every tree, and what is there is accumulated in
//! the order of the trees: sums are the same as of an evaluation tree by tree.

use std::any::Any;

use wasm_encoder::{Instruction as I, ValType};

use super::tree_records::{Payload, Records};
use crate::emit::code::{Address, Code, Local, at};
use crate::ml::trees::ensemble::Aggregate;
use crate::ml::trees::normal::Precision;
use crate::schedule::{Kernel, Places};

/// Walks that go in step.
const WALKS: usize = 8;
/// Rows whose walks' ends are kept at a time.
const BLOCK_ROWS: usize = 64;
/// Scores that are accumulated in registers at a time, in vectors.
const VECTORS: usize = 8;

/// `out[row][target]` = what is aggregated of the trees' scores.
#[derive(Debug)]
pub struct Trees {
    /// The number of rows.
    pub rows: usize,
    /// The trees.
    pub records: Records,
    /// How their scores are aggregated.
    pub aggregate: Aggregate,
    /// Whether the scores are stored as FP64.
    pub wide_output: bool,
}

impl Kernel for Trees {
    fn describe(&self) -> String {
        let (trees, depth) = (self.records.trees.len(), self.records.depth());
        format!("trees {trees} of depth {depth}, {} in step", self.walks(self.block()))
    }

    fn weights(&self) -> Vec<Vec<u8>> {
        vec![
            self.records.nodes.clone(),
            self.records.vectors.clone(),
            self.records.starts(self.slot_stride()),
        ]
    }

    fn scratch_bytes(&self) -> usize {
        self.columns_bytes() + self.records.trees.len() * self.slot_stride()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (row, out) = (code.i32_local(), code.i32_local());
        code.point(row, places.inputs[0]);
        code.point(out, places.outputs[0]);
        let block = self.block();
        code.repeat(self.rows / block, |code| self.emit_block(code, places, row, out, block));
        if !self.rows.is_multiple_of(block) {
            self.emit_block(code, places, row, out, self.rows % block);
        }
        code.release([row, out]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Trees {
    fn block(&self) -> usize {
        self.rows.min(BLOCK_ROWS)
    }

    fn is_wide(&self) -> bool {
        self.records.precision == Precision::Double
    }

    /// Bytes of a feature, a threshold or a score.
    fn element(&self) -> usize {
        if self.is_wide() { 8 } else { 4 }
    }

    /// Bytes from the columns of one row to those of the next.
    fn row_stride(&self) -> usize {
        match self.records.has_negated {
            true => 2 * Records::padded(self.records.features) * self.element(),
            false => self.records.features * self.element(),
        }
    }

    /// Bytes of the columns of a block, where they are not the features themselves.
    fn columns_bytes(&self) -> usize {
        if self.records.has_negated { self.block() * self.row_stride() } else { 0 }
    }

    /// Bytes from the ends of one tree's walks to those of the next tree's.
    fn slot_stride(&self) -> usize {
        let rows = self.block();
        self.element() * if rows == 1 { 1 } else { rows.next_multiple_of(4) }
    }

    /// How many walks go in step for a number of rows.
    fn walks(&self, rows: usize) -> usize {
        if rows >= WALKS { WALKS } else { rows * (WALKS / rows) }
    }

    /// Emits a number of rows. Moves `row` and `out` past them.
    fn emit_block(&self, code: &mut Code, places: &Places, row: Local, out: Local, rows: usize) {
        let columns = code.i32_local();
        match self.records.has_negated {
            true => self.emit_columns(code, places, row, columns, rows),
            false => code.copy(columns, row),
        }
        self.emit_walks(code, places, columns, rows);
        code.advance(row, (rows * self.records.features * self.element()) as i64);
        let slots = places.scratch.plus(self.columns_bytes() as u32);
        match self.records.payload {
            Payload::Scores => self.emit_scores(code, slots, out, rows),
            Payload::Vectors => self.emit_vectors(code, slots, places.weights[1], out, rows),
        }
        code.release([columns]);
    }

    /// Emits the features of a number of rows, and the same negated, into the scratch
    /// space, to which it sets `columns`. Leaves `row` as it was.
    fn emit_columns(
        &self,
        code: &mut Code,
        places: &Places,
        row: Local,
        columns: Local,
        rows: usize,
    ) {
        let (from, to, x) = (code.i32_local(), code.i32_local(), code.v128_local());
        code.copy(from, row);
        code.point(to, places.scratch);
        let half = self.row_stride() / 2;
        code.repeat(rows, |code| {
            code.repeat(half / 16, |code| {
                code.load(from, 0).set(x);
                code.store_lanes(to, 0, x, 4);
                code.get(x).op(if self.is_wide() { I::F64x2Neg } else { I::F32x4Neg }).set(x);
                code.store_lanes(to, half as u64, x, 4);
                code.advance(from, 16);
                code.advance(to, 16);
            });
            code.advance(from, (self.records.features * self.element()) as i64 - half as i64);
            code.advance(to, half as i64);
        });
        code.point(columns, places.scratch);
        code.release([from, to, x]);
    }

    /// Emits the walks of all trees, and keeps where they end.
    fn emit_walks(&self, code: &mut Code, places: &Places, columns: Local, rows: usize) {
        let slots = places.scratch.plus(self.columns_bytes() as u32);
        let start = code.i32_local();
        code.point(start, places.weights[2]);
        let walk = Walk::new(self, code, places.weights[0], rows);
        for (depth, groups, trees) in self.groups(rows) {
            code.repeat(groups, |code| {
                walk.emit_group(code, start, columns, slots, depth, trees);
                code.advance(start, (trees * Records::START_BYTES) as i64);
            });
        }
        walk.release(code);
        code.release([start]);
    }

    /// Runs of groups of trees, which are sorted by depth: the depth of a group,
    /// the number of groups, the number of trees in each.
    fn groups(&self, rows: usize) -> Vec<(usize, usize, usize)> {
        let in_step = (self.walks(rows) / rows).max(1);
        let mut groups: Vec<(usize, usize, usize)> = Vec::new();
        for trees in self.records.trees.chunks(in_step) {
            let depth = steps(trees.iter().map(|tree| tree.depth).max().unwrap_or(0));
            match groups.last_mut() {
                Some((same, count, size)) if *same == depth && *size == trees.len() => *count += 1,
                _ => groups.push((depth, 1, trees.len())),
            }
        }
        groups
    }

    /// Emits the aggregates of scores: of each target, those of its trees, whose
    /// slots are next to each other.
    fn emit_scores(&self, code: &mut Code, slots: Address, out: Local, rows: usize) {
        let (slot, to) = (code.i32_local(), code.i32_local());
        let lanes = Lanes::new(self, if rows == 1 || self.is_wide() { 1 } else { 4 });
        let targets = self.records.targets;
        let (first_slot, first_to) = (code.i32_local(), code.i32_local());
        code.point(first_slot, slots);
        code.copy(first_to, out);
        for &(alike, count) in &self.records.trees_of_targets {
            code.repeat(alike, |code| {
                code.copy(slot, first_slot);
                code.copy(to, first_to);
                let emit = |code: &mut Code, used: usize| {
                    let sum = code.local(lanes.value_type());
                    self.emit_fold(code, &lanes, slot, sum, count);
                    for lane in 0..used {
                        let offset = (lane * targets * lanes.output_bytes()) as u64;
                        lanes.store(code, to, offset, sum, lane);
                    }
                    code.release([sum]);
                };
                code.repeat(rows / lanes.count, |code| {
                    emit(code, lanes.count);
                    code.advance(slot, (lanes.count * self.element()) as i64);
                    code.advance(to, (lanes.count * targets * lanes.output_bytes()) as i64);
                });
                if !rows.is_multiple_of(lanes.count) {
                    emit(code, rows % lanes.count);
                }
                code.advance(first_slot, (count * self.slot_stride()) as i64);
                code.advance(first_to, lanes.output_bytes() as i64);
            });
        }
        code.advance(out, (rows * targets * lanes.output_bytes()) as i64);
        code.release([slot, to, first_slot, first_to]);
    }

    /// Emits `sum` = the aggregate of `count` slots, from the address `slot` on.
    fn emit_fold(&self, code: &mut Code, lanes: &Lanes, slot: Local, sum: Local, count: usize) {
        const UNROLL: usize = 4;
        let stride = self.slot_stride();
        let pointer = code.i32_local();
        code.copy(pointer, slot);
        lanes.start(code, self.aggregate);
        code.set(sum);
        let step = |code: &mut Code, index: usize| {
            code.get(sum).get(pointer);
            lanes.load(code, (index * stride) as u64);
            lanes.combine(code, self.aggregate);
            code.set(sum);
        };
        code.repeat(count / UNROLL, |code| {
            (0..UNROLL).for_each(|index| step(code, index));
            code.advance(pointer, (UNROLL * stride) as i64);
        });
        (0..count % UNROLL).for_each(|index| step(code, index));
        self.emit_end(code, lanes, sum);
        code.release([pointer]);
    }

    /// Emits what is done with an aggregate once: the division of an average, a
    /// zero where no leaf had a score.
    fn emit_end(&self, code: &mut Code, lanes: &Lanes, sum: Local) {
        match self.aggregate {
            Aggregate::Sum => {}
            Aggregate::Average => {
                code.get(sum);
                lanes.divide(code, self.records.trees.len());
                code.set(sum);
            }
            Aggregate::Min | Aggregate::Max if self.records.is_complete => {}
            Aggregate::Min | Aggregate::Max => lanes.zero_where_none(code, self.aggregate, sum),
        }
    }

    /// Emits the aggregates of vectors of scores, whose offsets from `vectors` are in
    /// the slots.
    fn emit_vectors(
        &self,
        code: &mut Code,
        slots: Address,
        vectors: Address,
        out: Local,
        rows: usize,
    ) {
        let lanes = Lanes::new(self, if self.is_wide() { 1 } else { 4 });
        let targets = self.records.targets;
        let (slot, pointer, vector) = (code.i32_local(), code.i32_local(), code.i32_local());
        code.point(slot, slots);
        let sums: Vec<Local> = (0..VECTORS.min(targets.div_ceil(lanes.count)))
            .map(|_| code.local(lanes.value_type()))
            .collect();
        let base = code.i32_local();
        let per_pass = VECTORS * lanes.count;
        let emit = |code: &mut Code, used: usize| {
            let sums = &sums[..used.div_ceil(lanes.count)];
            for &sum in sums {
                lanes.start(code, self.aggregate);
                code.set(sum);
            }
            code.copy(pointer, slot);
            code.repeat(self.records.trees.len(), |code| {
                code.get(pointer).op(I::I32Load(at(0, 0))).get(base).op(I::I32Add).set(vector);
                for (index, &sum) in sums.iter().enumerate() {
                    code.get(sum).get(vector);
                    lanes.load(code, (index * lanes.count * self.element()) as u64);
                    lanes.combine(code, self.aggregate);
                    code.set(sum);
                }
                code.advance(pointer, self.slot_stride() as i64);
            });
            for (index, &sum) in sums.iter().enumerate() {
                self.emit_end(code, &lanes, sum);
                let first = index * lanes.count;
                lanes.store_beside(code, out, first, sum, (used - first).min(lanes.count));
            }
            code.advance(out, (used * lanes.output_bytes()) as i64);
            code.advance(base, (used * self.element()) as i64);
        };
        code.repeat(rows, |code| {
            code.point(base, vectors);
            code.repeat(targets / per_pass, |code| emit(code, per_pass));
            if !targets.is_multiple_of(per_pass) {
                emit(code, targets % per_pass);
            }
            code.advance(slot, self.element() as i64);
        });
        code.release(sums);
        code.release([slot, pointer, vector, base]);
    }
}

/// Walks in step.
struct Walk<'a> {
    trees: &'a Trees,
    rows: usize,
    /// The addresses of the nodes of a group's walks.
    nodes: Vec<Local>,
    /// The address of the records.
    records: Local,
}

impl<'a> Walk<'a> {
    fn new(trees: &'a Trees, code: &mut Code, records: Address, rows: usize) -> Self {
        let nodes = (0..trees.walks(rows)).map(|_| code.i32_local()).collect();
        let first = code.i32_local();
        code.point(first, records);
        Self { trees, rows, nodes, records: first }
    }

    fn release(self, code: &mut Code) {
        code.release(self.nodes);
        code.release([self.records]);
    }

    /// Emits one group of trees, all rows, and keeps the ends. `start` points to
    /// what is known of its first tree.
    fn emit_group(
        &self,
        code: &mut Code,
        start: Local,
        columns: Local,
        slots: Address,
        depth: usize,
        trees: usize,
    ) {
        let in_step = self.rows.min(WALKS);
        let (row, slot) = (code.i32_local(), code.i32_local());
        code.copy(row, columns);
        code.point(slot, slots);
        let (element, row_stride) = (self.trees.element(), self.trees.row_stride());
        code.repeat(self.rows / in_step, |code| {
            self.emit_walks(code, start, row, slot, depth, (trees, in_step));
            code.advance(row, (in_step * row_stride) as i64);
            code.advance(slot, (in_step * element) as i64);
        });
        if !self.rows.is_multiple_of(in_step) {
            self.emit_walks(code, start, row, slot, depth, (trees, self.rows % in_step));
        }
        code.release([row, slot]);
    }

    /// Emits the walks of some rows in some trees.
    fn emit_walks(
        &self,
        code: &mut Code,
        start: Local,
        row: Local,
        slot: Local,
        depth: usize,
        (trees, rows): (usize, usize),
    ) {
        let walks: Vec<(usize, usize, Local)> =
            (0..trees * rows).map(|walk| (walk / rows, walk % rows, self.nodes[walk])).collect();
        for &(tree, _, node) in &walks {
            let root = (tree * Records::START_BYTES) as u64;
            code.get(start).op(I::I32Load(at(root, 0)));
            code.get(self.records).op(I::I32Add).set(node);
        }
        code.repeat(depth, |code| {
            for &(_, row_index, node) in &walks {
                self.emit_step(code, node, row, row_index);
            }
        });
        for &(tree, row_index, node) in &walks {
            let known = (tree * Records::START_BYTES + 4) as u64;
            code.get(start).op(I::I32Load(at(known, 0))).get(slot).op(I::I32Add);
            let memarg = at((row_index * self.trees.element()) as u64, 0);
            let payload = at(self.trees.records.payload_at() as u64, 0);
            code.get(node);
            match self.trees.is_wide() {
                true => code.op(I::I64Load(payload)).op(I::I64Store(memarg)),
                false => code.op(I::I32Load(payload)).op(I::I32Store(memarg)),
            };
        }
    }

    /// Emits one step of one walk: by the distance to the children, and by one
    /// record more where `x <= threshold`.
    fn emit_step(&self, code: &mut Code, node: Local, row: Local, row_index: usize) {
        let records = &self.trees.records;
        let x = at((row_index * self.trees.row_stride()) as u64, 0);
        let field = |offset: usize| at(offset as u64, 0);
        code.get(node).get(node).op(I::I32Load(field(records.children_at()))).op(I::I32Add);
        code.get(node).op(I::I32Load(field(records.column_at()))).get(row).op(I::I32Add);
        match self.trees.is_wide() {
            true => code.op(I::F64Load(x)).get(node).op(I::F64Load(field(0))).op(I::F64Le),
            false => code.op(I::F32Load(x)).get(node).op(I::F32Load(field(0))).op(I::F32Le),
        };
        code.i32(records.record_bytes().trailing_zeros()).op(I::I32Shl).op(I::I32Add);
        code.set(node);
    }
}

/// How scores are held: one, or four of FP32 in a vector.
struct Lanes {
    count: usize,
    wide: bool,
    wide_output: bool,
}

impl Lanes {
    fn new(trees: &Trees, count: usize) -> Self {
        Self { count, wide: trees.is_wide(), wide_output: trees.wide_output }
    }

    fn value_type(&self) -> ValType {
        match (self.wide, self.count) {
            (true, _) => ValType::F64,
            (false, 1) => ValType::F32,
            (false, _) => ValType::V128,
        }
    }

    fn output_bytes(&self) -> usize {
        if self.wide_output { 8 } else { 4 }
    }

    fn pick(&self, wide: I<'static>, single: I<'static>, vector: I<'static>) -> I<'static> {
        match self.value_type() {
            ValType::F64 => wide,
            ValType::F32 => single,
            _ => vector,
        }
    }

    fn constant(&self, code: &mut Code, number: f32) {
        match self.value_type() {
            ValType::F64 => {
                let bits = f64::from(number).to_bits();
                code.op(I::F64Const(wasm_encoder::Ieee64::new(bits)));
            }
            ValType::F32 => {
                code.f32(number);
            }
            _ => {
                code.splat(number);
            }
        }
    }

    /// Pushes what an aggregate begins with.
    fn start(&self, code: &mut Code, aggregate: Aggregate) {
        self.constant(code, aggregate_start(aggregate));
    }

    /// Replaces an address by what is there.
    fn load(&self, code: &mut Code, offset: u64) {
        let memarg = at(offset, 0);
        code.op(self.pick(I::F64Load(memarg), I::F32Load(memarg), I::V128Load(memarg)));
    }

    fn combine(&self, code: &mut Code, aggregate: Aggregate) {
        code.op(match aggregate {
            Aggregate::Sum | Aggregate::Average => self.pick(I::F64Add, I::F32Add, I::F32x4Add),
            Aggregate::Min => self.pick(I::F64Min, I::F32Min, I::F32x4Min),
            Aggregate::Max => self.pick(I::F64Max, I::F32Max, I::F32x4Max),
        });
    }

    fn divide(&self, code: &mut Code, by: usize) {
        self.constant(code, by as f32);
        code.op(self.pick(I::F64Div, I::F32Div, I::F32x4Div));
    }

    /// Replaces what an aggregate begins with by zero.
    fn zero_where_none(&self, code: &mut Code, aggregate: Aggregate, sum: Local) {
        if self.value_type() == ValType::V128 {
            code.get(sum).get(sum);
            self.start(code, aggregate);
            code.op(I::F32x4Ne).op(I::V128And).set(sum);
            return;
        }
        code.get(sum);
        self.constant(code, 0.0);
        code.get(sum);
        self.start(code, aggregate);
        code.op(self.pick(I::F64Ne, I::F32Ne, I::F32x4Ne)).op(I::Select).set(sum);
    }

    /// Stores one lane of `sum`.
    fn store(&self, code: &mut Code, address: Local, offset: u64, sum: Local, lane: usize) {
        let memarg = at(offset, 0);
        code.get(address).get(sum);
        match (self.value_type(), self.wide_output) {
            (ValType::F64, true) => code.op(I::F64Store(memarg)),
            (ValType::F64, false) => code.op(I::F32DemoteF64).op(I::F32Store(memarg)),
            (ValType::F32, _) => code.op(I::F32Store(memarg)),
            _ => code.op(I::V128Store32Lane { memarg, lane: lane as u8 }),
        };
    }

    /// Stores the first lanes of `sum` side by side, after `first` others.
    fn store_beside(&self, code: &mut Code, to: Local, first: usize, sum: Local, used: usize) {
        let offset = (first * self.output_bytes()) as u64;
        match self.value_type() {
            ValType::V128 => code.store_lanes(to, offset, sum, used),
            _ => self.store(code, to, offset, sum, 0),
        }
    }
}

/// The steps of walks in trees of this depth: of deep trees some more, so that a
/// few loops do for all depths.
fn steps(depth: usize) -> usize {
    match depth.checked_ilog2() {
        Some(magnitude) if depth > 16 => depth.next_multiple_of(1 << (magnitude - 3)),
        _ => depth,
    }
}

/// What an aggregate begins with, which is also the score of a leaf that has none.
pub fn aggregate_start(aggregate: Aggregate) -> f32 {
    match aggregate {
        Aggregate::Sum | Aggregate::Average => 0.0,
        Aggregate::Min => f32::INFINITY,
        Aggregate::Max => f32::NEG_INFINITY,
    }
}
