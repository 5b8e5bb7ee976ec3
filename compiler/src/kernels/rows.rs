//! Kernels over rows: `softmax` and `reduce`, along one axis of a tensor seen as
//! `[outer][axis][inner]`.

use std::any::Any;

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local};
use crate::emit::math;
use crate::expr::Unary;
use crate::schedule::{Kernel, Places};

/// Elements of a row that are emitted one after the other; more are a loop.
const UNROLL: usize = 8;

/// What a row is accumulated in at once, so that one addition does not wait for another.
const PARTS: usize = 4;

/// A tensor seen along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The product of the dimensions before the axis.
    pub outer: usize,
    /// The size of the axis.
    pub axis: usize,
    /// The product of the dimensions after the axis.
    pub inner: usize,
}

/// What is accumulated along a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The sum.
    Sum,
    /// The sum of the squares.
    SumOfSquares,
    /// The product.
    Product,
    /// The maximum; NaN if any is.
    Max,
    /// The minimum; NaN if any is.
    Min,
}

impl Fold {
    fn neutral(self) -> f32 {
        match self {
            Fold::Sum | Fold::SumOfSquares => 0.0,
            Fold::Product => 1.0,
            Fold::Max => f32::NEG_INFINITY,
            Fold::Min => f32::INFINITY,
        }
    }

    fn combine(self) -> I<'static> {
        match self {
            Fold::Sum | Fold::SumOfSquares => I::F32x4Add,
            Fold::Product => I::F32x4Mul,
            Fold::Max => I::F32x4Max,
            Fold::Min => I::F32x4Min,
        }
    }

    /// Replaces an element on the stack by what is accumulated of it.
    fn prepare(self, code: &mut Code) {
        if self == Fold::SumOfSquares {
            math::unary(code, Unary::Square);
        }
    }
}

impl Rows {
    /// A tensor of this shape along neighbouring axes; `None` where they are
    /// not, or there are none.
    pub fn along(shape: &[usize], axes: &[usize]) -> Option<Self> {
        let (&first, &last) = (axes.iter().min()?, axes.iter().max()?);
        (last - first + 1 == axes.len()).then(|| Self {
            outer: shape[..first].iter().product(),
            axis: shape[first..=last].iter().product(),
            inner: shape[last + 1..].iter().product(),
        })
    }

    /// Bytes from one element of a row to the next.
    fn step(&self) -> u64 {
        4 * self.inner as u64
    }

    /// Emits a loop over the rows' starts. Where a row's elements are
    /// neighbours, `row(code, lanes)` is called for one row at a time, with
    /// `lanes` 0. Elsewhere for up to four neighbouring rows at a time. Each
    /// pointer advances by its number of bytes for each row.
    pub(super) fn emit_rows(
        &self,
        code: &mut Code,
        pointers: &[(Local, i64)],
        row_end: &[i64],
        row: &mut dyn FnMut(&mut Code, usize),
    ) {
        code.repeat(self.outer, |code| {
            if self.inner == 1 {
                row(code, 0);
                for &(pointer, bytes) in pointers {
                    code.advance(pointer, bytes);
                }
            } else {
                let (vectors, rest) = (self.inner / 4, self.inner % 4);
                code.repeat(vectors, |code| {
                    row(code, 4);
                    for &(pointer, _) in pointers {
                        code.advance(pointer, 16);
                    }
                });
                if rest > 0 {
                    row(code, rest);
                }
                for (&(pointer, _), end) in pointers.iter().zip(row_end) {
                    code.advance(pointer, end - 16 * vectors as i64);
                }
            }
        });
    }

    /// Emits what makes each row of the input one of the output, of the same size:
    /// `row(code, from, to, lanes)`, with the rows' starts, as [`Rows::emit_rows`] calls it.
    pub(super) fn emit_to_rows(
        &self,
        code: &mut Code,
        places: &Places,
        row: &mut dyn FnMut(&mut Code, Local, Local, usize),
    ) {
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        let row_bytes = 4 * self.axis as i64;
        // Four neighbouring rows have been passed; the rest of the block follows.
        let block_end = 4 * (self.axis * self.inner) as i64;
        self.emit_rows(
            code,
            &[(from, row_bytes), (to, row_bytes)],
            &[block_end, block_end],
            &mut |code, lanes| row(code, from, to, lanes),
        );
        code.release([from, to]);
    }

    /// How many vectors a row has, the bytes from one to the next, and how many elements
    /// after them, of the row(s) that [`Rows::emit_rows`] emits with so many `lanes`.
    pub(super) fn vectors(&self, lanes: usize) -> (usize, u64, usize) {
        match lanes {
            0 => (self.axis / 4, 16, self.axis % 4),
            _ => (self.axis, self.step(), 0),
        }
    }

    /// Emits a fold of the row(s) at `from` and leaves it on the stack: of one
    /// row in all lanes, or of four rows in a lane each.
    fn emit_fold(&self, code: &mut Code, from: Local, lanes: usize, fold: Fold) {
        let folding = Folding { neutral: fold.neutral(), combine: fold.combine() };
        self.emit_folding(code, from, lanes, &folding, &|code| fold.prepare(code));
    }

    /// The same of what `prepare` makes of the elements on the stack.
    pub(super) fn emit_folding(
        &self,
        code: &mut Code,
        from: Local,
        lanes: usize,
        Folding { neutral, combine }: &Folding,
        prepare: &dyn Fn(&mut Code),
    ) {
        let (steps, step, tail) = self.vectors(lanes);
        let sums = code.v128_locals(steps.clamp(1, PARTS));
        for &sum in &sums {
            code.splat(*neutral).set(sum);
        }
        let pointer = code.i32_local();
        code.copy(pointer, from);
        unrolled(code, steps, &[(pointer, step)], |code, number| {
            let sum = sums[number as usize % PARTS];
            code.get(sum).load(pointer, number * step);
            prepare(code);
            code.op(combine.clone()).set(sum);
        });
        code.get(sums[0]);
        for &sum in &sums[1..] {
            code.get(sum).op(combine.clone());
        }
        if tail > 0 {
            code.load(pointer, 0);
            prepare(code);
            instead_of_tail(code, tail, *neutral);
            code.op(combine.clone());
        }
        if lanes == 0 {
            across_lanes(code, combine);
        }
        code.release(sums);
        code.release([pointer]);
    }
}

/// How elements become one.
pub(super) struct Folding {
    /// What changes nothing.
    pub(super) neutral: f32,
    /// Of two vectors.
    pub(super) combine: I<'static>,
}

/// Replaces what comes after the first `lanes` of the vector on the stack by `other`.
fn instead_of_tail(code: &mut Code, lanes: usize, other: f32) {
    let mask = (0..lanes).fold(0u128, |mask, lane| mask | 0xffff_ffff << (32 * lane));
    code.splat(other).op(I::V128Const(mask as i128)).op(I::V128Bitselect);
}

/// Replaces a vector by the fold of its lanes, in all lanes.
fn across_lanes(code: &mut Code, combine: &I<'static>) {
    const SWAP_HALVES: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7];
    const SWAP_PAIRS: [u8; 16] = [4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11];
    let x = code.v128_local();
    for lanes in [SWAP_HALVES, SWAP_PAIRS] {
        code.tee(x).get(x).get(x).op(I::I8x16Shuffle(lanes)).op(combine.clone());
    }
    code.release([x]);
}

/// Emits `body` for each of `steps` vectors, several in one iteration of a loop, with its
/// number from where the pointers are, and moves these on by their bytes for each vector.
pub(super) fn unrolled(
    code: &mut Code,
    steps: usize,
    pointers: &[(Local, u64)],
    body: impl Fn(&mut Code, u64),
) {
    let emit = |code: &mut Code, count: usize| {
        (0..count as u64).for_each(|number| body(code, number));
        for &(pointer, step) in pointers {
            code.advance(pointer, (count as u64 * step) as i64);
        }
    };
    code.repeat(steps / UNROLL, |code| emit(code, UNROLL));
    if !steps.is_multiple_of(UNROLL) {
        emit(code, steps % UNROLL);
    }
}

/// `e^x / sum(e^x)` along an axis, computed as `e^(x - max)`, or its logarithm.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// The tensor.
    pub rows: Rows,
    /// Whether the logarithm is wanted: `x - max - ln(sum)`.
    pub logarithm: bool,
}

impl Kernel for Softmax {
    fn describe(&self) -> String {
        if self.logarithm { "log softmax".into() } else { "softmax".into() }
    }

    /// A row's maximum is known before its first element is written.
    fn overwrites(&self, _input: usize) -> bool {
        true
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        self.rows.emit_to_rows(code, places, &mut |code, from, to, lanes| {
            self.emit_row(code, from, to, lanes);
        });
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Softmax {
    fn emit_row(&self, code: &mut Code, from: Local, to: Local, lanes: usize) {
        let (max, sum) = (code.v128_local(), code.v128_local());
        // The larger of two in one instruction, which passes over a NaN: the exponential of
        // that is NaN as well, and so is the sum.
        let larger = Folding { neutral: f32::NEG_INFINITY, combine: I::F32x4PMax };
        self.rows.emit_folding(code, from, lanes, &larger, &|_| {});
        code.set(max).splat(0.0).set(sum);

        let (steps, step, tail) = self.rows.vectors(lanes);
        let stored = if lanes == 0 { 4 } else { lanes };
        let (source, target) = (code.i32_local(), code.i32_local());
        let value = code.v128_local();
        // From `x - max` on the stack.
        let add = |code: &mut Code, offset: u64, lanes: usize| {
            if self.logarithm {
                code.tee(value);
                code.store_lanes(target, offset, value, lanes);
            }
            math::unary(code, Unary::Exp);
            code.tee(value).get(sum).op(I::F32x4Add).set(sum);
            if !self.logarithm {
                code.store_lanes(target, offset, value, lanes);
            }
        };
        code.copy(source, from);
        code.copy(target, to);
        unrolled(code, steps, &[(source, step), (target, step)], |code, number| {
            code.load(source, number * step).get(max).op(I::F32x4Sub);
            add(code, number * step, stored);
        });
        if tail > 0 {
            // e^-inf is 0: lanes that are not there add nothing.
            code.load(source, 0);
            instead_of_tail(code, tail, f32::NEG_INFINITY);
            code.get(max).op(I::F32x4Sub);
            add(code, 0, tail);
        }

        code.get(sum);
        if lanes == 0 {
            across_lanes(code, &I::F32x4Add);
        }
        math::unary(code, if self.logarithm { Unary::Ln } else { Unary::Recip });
        code.set(sum);
        let scale = if self.logarithm { I::F32x4Sub } else { I::F32x4Mul };
        code.copy(target, to);
        unrolled(code, steps, &[(target, step)], |code, number| {
            code.load(target, number * step).get(sum).op(scale.clone()).set(value);
            code.store_lanes(target, number * step, value, stored);
        });
        if tail > 0 {
            code.load(target, 0).get(sum).op(scale).set(value);
            code.store_lanes(target, 0, value, tail);
        }
        code.release([max, sum, source, target, value]);
    }
}

/// A fold along an axis, times a constant.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// The tensor.
    pub rows: Rows,
    /// What is accumulated.
    pub fold: Fold,
    /// What the result is multiplied by: 1, or `1 / axis` for a mean.
    pub scale: f32,
}

impl Kernel for Reduce {
    fn describe(&self) -> String {
        format!("reduce {:?}", self.fold).to_lowercase()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        let row_bytes = 4 * self.rows.axis as i64;
        let ends = [4 * (self.rows.axis * self.rows.inner) as i64, 4 * self.rows.inner as i64];
        self.rows.emit_rows(code, &[(from, row_bytes), (to, 4)], &ends, &mut |code, lanes| {
            self.rows.emit_fold(code, from, lanes, self.fold);
            if self.scale != 1.0 {
                code.splat(self.scale).op(I::F32x4Mul);
            }
            let value = code.v128_local();
            code.set(value);
            code.store_lanes(to, 0, value, lanes.max(1));
            code.release([value]);
        });
        code.release([from, to]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
