//! The inner step of convolutions and matrix products: a register tile of sums,
//! to which the products of a column of factors and a row of vectors are added.
//!
//! The vectors are held in registers, a factor is broadcast as it is loaded, and a
//! joint follows on each (see [`Code::jointed`]). So little lives beside the sums
//! and the held vectors, whatever the number of steps in a loop.

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local};
use crate::expr::Expr;

/// The vector registers of x86-64, which has the fewest.
const REGISTERS: usize = 16;

/// The most vectors of a form.
const MOST_VECTORS: usize = 8;

/// Vectors of a single row that are held at once.
const VECTORS_AT_ONCE: usize = 4;

/// The most candidates for one product that differ in their form.
pub const MOST_FORMS: usize = 6;

/// Steps that one iteration of a loop takes, or about so many: an iteration costs a
/// check of the fuel and of the deadline, and the engine keeps the sums in memory
/// from one iteration to the next.
const STEPS_PER_ITERATION: usize = 12;

/// Steps that are not worth a loop.
const MOST_STRAIGHT: usize = 40;

/// What is multiplied and added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Four `f32` of a vector.
    Reals,
    /// Four pairs of `i16`, whose products are added as `i32`.
    PairsOfIntegers,
}

impl Numbers {
    /// Emits `sum += a * b`; `a` is the one that is used less often.
    fn multiply_add(self, code: &mut Code, sum: Local, a: Local, b: Local) {
        match self {
            Numbers::Reals => code.multiply_add(sum, a, b),
            Numbers::PairsOfIntegers => {
                code.get(sum).get(a).get(b);
                code.op(I::I32x4DotI16x8S).op(I::I32x4Add).set(sum);
            }
        }
    }
}

/// The form of a register tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Factors of one step.
    pub rows: usize,
    /// Vectors of one step.
    pub vectors: usize,
}

impl Form {
    /// The forms that fit the registers.
    pub fn all() -> impl Iterator<Item = Self> {
        let forms =
            (1..REGISTERS).flat_map(|rows| (1..=MOST_VECTORS).map(move |vectors| (rows, vectors)));
        forms.map(|(rows, vectors)| Self { rows, vectors }).filter(|form| form.fits())
    }

    /// The form of these sums.
    pub fn of_sums(sums: &[Vec<Local>]) -> Self {
        Self { rows: sums.len(), vectors: sums[0].len() }
    }

    /// The fastest form for a product of `m x k` and `k x n` elements, by the
    /// estimate.
    pub fn of_product(m: usize, k: usize, n: usize) -> Self {
        let time = |form: &Self| form.time_of_product(m, k, n);
        Self::for_product(m, n).min_by_key(time).expect("one row and one vector are a form")
    }

    /// The forms that may be the fastest for such a product; first the one by the
    /// estimate.
    pub fn candidates_of_product(m: usize, k: usize, n: usize) -> Vec<Self> {
        let mut forms: Vec<Self> = Self::for_product(m, n).collect();
        forms.sort_by_key(|form| form.time_of_product(m, k, n));
        forms.truncate(MOST_FORMS);
        forms
    }

    fn for_product(m: usize, n: usize) -> impl Iterator<Item = Self> {
        Self::all().filter(move |form| form.rows <= m && form.vectors <= n.div_ceil(4))
    }

    /// The rows and columns of its tile, for people: `6x8`.
    pub fn describe(self) -> String {
        format!("{}x{}", self.rows, 4 * self.vectors)
    }

    /// An estimate of the time of a product in tiles of this form, in the unit of
    /// [`Form::time`].
    pub fn time_of_product(self, m: usize, k: usize, n: usize) -> usize {
        let parts = |size: usize, by: usize| {
            let parts = [(size / by, by), (1, size % by)];
            parts.into_iter().filter(|&(count, size)| count > 0 && size > 0)
        };
        let tiles = parts(n.div_ceil(4), self.vectors).flat_map(|(panels, vectors)| {
            parts(m, self.rows).map(move |(tiles, rows)| (panels * tiles, Self { rows, vectors }))
        });
        tiles.map(|(count, form)| count * form.time(k)).sum()
    }

    /// Whether sums, held vectors, a factor and a product fit the registers.
    fn fits(self) -> bool {
        self.rows * self.vectors + self.held() + 2 <= REGISTERS
    }

    /// Vectors that are held at once.
    fn held(self) -> usize {
        if self.rows == 1 { self.vectors.min(VECTORS_AT_ONCE) } else { self.vectors }
    }

    /// Factors between two joints. At each the engine adds to the fuel, which must
    /// not take longer than the products.
    fn factors_per_joint(self) -> usize {
        if self.vectors == 1 { 2 } else { 1 }
    }

    /// Whether the products of a step must be added before the vectors of the next
    /// one are loaded, for want of registers: two are left for the engine.
    fn is_tight(self) -> bool {
        self.rows > 1 && self.rows * self.vectors + 2 * self.held() + 2 > REGISTERS - 2
    }

    /// Joints of one step.
    fn joints(self) -> usize {
        match self.rows {
            1 => self.vectors.div_ceil(VECTORS_AT_ONCE),
            rows => rows.div_ceil(self.factors_per_joint()) + usize::from(self.is_tight()),
        }
    }

    /// Steps of one iteration of a loop, or about so many.
    fn unroll(self) -> usize {
        if self.rows == 1 { 2 * STEPS_PER_ITERATION } else { STEPS_PER_ITERATION }
    }

    /// How `count` times `steps` steps are a loop: iterations, times in each, and
    /// times after it. Few or none of these, as they need code of their own.
    fn iterations(self, count: usize, steps: usize) -> (usize, usize, usize) {
        let at_once = self.unroll().div_ceil(steps);
        if count <= 2 * at_once || count * steps <= MOST_STRAIGHT {
            return (1, count, 0);
        }
        let near = (at_once * 3 / 4).max(1)..=at_once * 4 / 3;
        let best = near.min_by_key(|&times| (count % times, times.abs_diff(at_once)));
        let times = best.unwrap_or(at_once);
        (count / times, times, count % times)
    }

    /// An estimate of the time of a tile with so many steps, in eighths of a
    /// cycle of a core that begins six operations in a cycle.
    pub fn time(self, steps: usize) -> usize {
        let Self { rows, vectors } = self;
        // A vector comes from further away than a factor, and more so one alone. No
        // less than the latency of an addition.
        let operations = 2 * rows * vectors + rows + vectors + self.joints();
        let step = (operations * 8 / 6 + 3 * vectors + 8 / vectors).max(24);
        let iteration = 60 + 3 * rows * vectors;
        100 + 12 * rows * vectors + steps * step + steps.div_ceil(self.unroll()) * iteration
    }
}

/// Emits `sums[row][v] += factor(row) * vector(v)`, which push their value: a
/// factor as it is loaded. Belongs in [`Code::jointed`].
pub fn emit_step(
    code: &mut Code,
    numbers: Numbers,
    sums: &[Vec<Local>],
    mut factor: impl FnMut(&mut Code, usize),
    mut vector: impl FnMut(&mut Code, usize),
) {
    let form = Form::of_sums(sums);
    let held = code.v128_locals(form.held());
    let factors = code.v128_locals(form.factors_per_joint().min(form.rows));
    // What was added last is settled first; when a step begins, what the step
    // before it ended with.
    if let [sums] = sums {
        // A vector is wanted once: products and vectors of two joints at a time would
        // take more registers than there are.
        factor(code, 0);
        code.set(factors[0]);
        for (chunk, sums) in sums.chunks(held.len()).enumerate() {
            for (v, &held) in (0..sums.len()).zip(&held) {
                vector(code, chunk * VECTORS_AT_ONCE + v);
                code.set(held);
            }
            for (&sum, &vector) in sums.iter().zip(&held) {
                numbers.multiply_add(code, sum, vector, factors[0]);
            }
            code.joint(sums);
        }
    } else {
        for (v, &held) in held.iter().enumerate() {
            vector(code, v);
            code.set(held);
        }
        let mut last = sums.chunks(factors.len()).next_back().unwrap_or_default();
        for (chunk, sums) in sums.chunks(factors.len()).enumerate() {
            for (row, &one) in (0..sums.len()).zip(&factors) {
                factor(code, chunk * factors.len() + row);
                code.set(one);
            }
            code.joint(&last.concat());
            for (sums, &one) in sums.iter().zip(&factors) {
                for (&sum, &vector) in sums.iter().zip(&held) {
                    numbers.multiply_add(code, sum, one, vector);
                }
            }
            last = sums;
        }
        if form.is_tight() {
            code.joint(&last.concat());
        }
    }
    code.release(held);
    code.release(factors);
}

/// Emits `count` times `steps` steps of this form, which `emit` emits so many
/// times from where its pointers are, and moves them on: in a loop, each iteration
/// with joints of its own. `address` must hold one.
pub fn emit_steps(
    code: &mut Code,
    form: Form,
    (count, steps): (usize, usize),
    address: Local,
    mut emit: impl FnMut(&mut Code, usize),
) {
    let (iterations, times, rest) = form.iterations(count, steps);
    code.repeat(iterations, |code| code.jointed(address, |code| emit(code, times)));
    if rest > 0 {
        code.jointed(address, |code| emit(code, rest));
    }
}

/// Emits `sums[row][v] += left[row][i] * right[i][v]` over the inner dimension `i`
/// of size `k`. Rows of `left` follow each other without a gap, those of `right`
/// after `right_bytes`.
pub fn emit_sums(
    code: &mut Code,
    sums: &[Vec<Local>],
    k: usize,
    (left_row, right_row): (Local, Local),
    right_bytes: usize,
) {
    let (left, right) = (code.i32_local(), code.i32_local());
    code.copy(left, left_row);
    code.copy(right, right_row);
    let form = Form::of_sums(sums);
    emit_steps(code, form, (k, 1), right, |code, steps| {
        for step in 0..steps {
            emit_step(
                code,
                Numbers::Reals,
                sums,
                |code, row| {
                    code.load_splat(left, 4 * (row * k + step) as u64);
                },
                |code, v| {
                    code.load(right, (step * right_bytes + 16 * v) as u64);
                },
            );
        }
        code.advance(left, 4 * steps as i64);
        code.advance(right, (right_bytes * steps) as i64);
    });
    code.release([left, right]);
}

/// Emits `then` on the sums of a tile `width` columns wide, stores them in rows of
/// `columns` elements from `output` on, and gives their locals back.
pub fn store_sums(
    code: &mut Code,
    sums: Vec<Vec<Local>>,
    output: Local,
    columns: usize,
    width: usize,
    then: &Expr,
) {
    for (row, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            then.apply(code, sum);
            let lanes = (width - 4 * v).min(4);
            code.store_lanes(output, 4 * (row * columns + 4 * v) as u64, sum, lanes);
        }
    }
    code.release(sums.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of one product of a vector, in the long run.
    fn per_product(rows: usize, vectors: usize) -> f64 {
        Form { rows, vectors }.time(10_000) as f64 / (10_000 * rows * vectors) as f64
    }

    #[test]
    fn tiles_of_two_and_three_vectors_are_fastest_as_measured() {
        // In GFLOP/s: 45 in 6x8 and 5x8 tiles, 44 in 3x12, 43 in 4x8, 39 in 12x4,
        // 38 in 2x16.
        let best = per_product(6, 2);
        for Form { rows, vectors } in Form::all().filter(|form| form.rows > 1) {
            assert!(per_product(rows, vectors) >= best, "{rows}x{vectors}");
        }
        assert!(per_product(4, 2) < per_product(2, 4));
        assert!(per_product(4, 2) < per_product(8, 1));
    }

    #[test]
    fn every_step_is_taken_once_and_most_in_loops_without_a_rest() {
        let form = Form { rows: 6, vectors: 2 };
        for (count, steps) in (1..100).flat_map(|count| (1..20).map(move |steps| (count, steps))) {
            let (iterations, times, rest) = form.iterations(count, steps);
            assert_eq!(iterations * times + rest, count);
            let most = 2 * STEPS_PER_ITERATION.next_multiple_of(steps);
            assert!(times * steps <= most.max(MOST_STRAIGHT));
        }
        for count in [8, 16, 24, 32, 64, 96, 144, 160, 192, 320, 384, 576, 960, 1280] {
            assert_eq!(form.iterations(count, 1).2, 0, "{count}");
        }
    }
}
