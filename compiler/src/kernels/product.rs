//! Register tiles of sums, and the step of convolutions and matrix products that adds
//! to them the products of a column of factors and a row of vectors.
//!
//! The vectors are held in registers, factors are broadcast as they are loaded, one or
//! two at a time, and a joint follows on each (see [`Code::jointed`]). So little lives
//! beside the sums and the held vectors, whatever the number of steps in a loop.
//!
//! No sum lives from one iteration of a loop to the next: the engine would keep it in
//! memory, and what is added first would wait for what was added last. Each iteration
//! has sums of its own, which it adds to those that are kept.

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, KEPT_VECTORS, Local};
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
/// check of the fuel and of the deadline, and what was added is added to what is kept.
const STEPS_PER_ITERATION: usize = 24;

/// The sums of so many in different tiles double what is taken to be the time, for their
/// code.
const CODE_OF_SUMS: usize = 64;

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
                code.get(sum).get(a).get(b).op(I::I32x4DotI16x8S).op(I::I32x4Add).set(sum);
            }
        }
    }

    /// Emits `product = a * b`.
    fn multiply(self, code: &mut Code, product: Local, a: Local, b: Local) {
        let multiply = match self {
            Numbers::Reals => I::F32x4Mul,
            Numbers::PairsOfIntegers => I::I32x4DotI16x8S,
        };
        code.get(a).get(b).op(multiply).set(product);
    }

    /// What adds two vectors.
    fn add(self) -> I<'static> {
        match self {
            Numbers::Reals => I::F32x4Add,
            Numbers::PairsOfIntegers => I::I32x4Add,
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
        self.tiles_of_product(m, n).map(|(count, form)| count * form.time(k)).sum()
    }

    /// That time, and more for more code, as [`weighed`] says.
    pub fn cost_of_product(self, m: usize, k: usize, n: usize) -> usize {
        let forms = self.tiles_of_product(m, n).map(|(_, form)| form);
        weighed(self.time_of_product(m, k, n), forms)
    }

    /// The tiles that a product is made of: how many of what form.
    fn tiles_of_product(self, m: usize, n: usize) -> impl Iterator<Item = (usize, Self)> {
        let parts = |size: usize, by: usize| {
            let parts = [(size / by, by), (1, size % by)];
            parts.into_iter().filter(|&(count, size)| count > 0 && size > 0)
        };
        parts(n.div_ceil(4), self.vectors).flat_map(move |(panels, vectors)| {
            parts(m, self.rows).map(move |(tiles, rows)| (panels * tiles, Self { rows, vectors }))
        })
    }

    /// Whether sums, held vectors, a factor and a product fit the registers.
    fn fits(self) -> bool {
        self.rows * self.vectors + self.held() + 2 <= REGISTERS
    }

    /// Vectors that are held at once.
    fn held(self) -> usize {
        if self.rows == 1 { self.vectors.min(VECTORS_AT_ONCE) } else { self.vectors }
    }

    /// Factors between two joints: two, where they fit the registers. At each joint the
    /// engine adds to the fuel, which should not take longer than the products.
    fn factors_per_joint(self) -> usize {
        let two_fit = self.rows * self.vectors + self.held() + 3 <= REGISTERS;
        if self.rows > 1 && two_fit { 2 } else { 1 }
    }

    /// Joints of one step.
    fn joints(self) -> usize {
        match self.rows {
            1 => self.vectors.div_ceil(VECTORS_AT_ONCE),
            rows => rows.div_ceil(self.factors_per_joint()),
        }
    }

    /// How `count` times `steps` steps are a loop: iterations, times in each, and
    /// times after it. Few or none of these, as they need code of their own.
    fn iterations(count: usize, steps: usize) -> (usize, usize, usize) {
        let at_once = STEPS_PER_ITERATION.div_ceil(steps);
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
        let sums = rows * vectors;
        let operations = 2 * sums + rows + vectors + self.joints();
        // A processor gives each operation to one of its units when it begins it, and
        // does not do so well where products and sums alternate for long, or little
        // is between two joints.
        let operations = match self.factors_per_joint() * self.held() {
            0..=2 if rows > 1 => operations + self.joints() / 2,
            0..=4 => operations,
            _ => operations * 5 / 4,
        };
        // A vector comes from further away than a factor, and more so one alone. No
        // less than the latency of an addition.
        let step = (operations * 8 / 6 + 2 * vectors + 4 / vectors).max(24);
        let iterations = steps / STEPS_PER_ITERATION;
        let of_loop = if iterations > 1 { iterations * (60 + 6 * sums) + 8 * sums } else { 0 };
        100 + 12 * sums + steps * step + of_loop
    }
}

/// A time, and more for more different tiles of these forms: each needs code of its own,
/// which must be worth it.
pub fn weighed(time: usize, different: impl Iterator<Item = Form>) -> usize {
    let sums: usize = different.map(|form| form.rows * form.vectors).sum();
    time * (CODE_OF_SUMS + sums)
}

/// The sums of a register tile, and the locals that a step needs beside them.
pub struct Sums {
    numbers: Numbers,
    rows: Vec<Vec<Local>>,
    /// Whether all are zero, and the locals have no value yet.
    are_zero: bool,
    held: Vec<Local>,
    factors: Vec<Local>,
}

impl Sums {
    /// Of this form, all zero.
    pub fn zero(code: &mut Code, numbers: Numbers, form: Form) -> Self {
        debug_assert!(form.rows * form.vectors <= KEPT_VECTORS);
        Self {
            numbers,
            rows: (0..form.rows).map(|_| code.v128_locals(form.vectors)).collect(),
            are_zero: true,
            held: code.v128_locals(form.held()),
            factors: code.v128_locals(form.factors_per_joint()),
        }
    }

    /// Of this form, those of each row as `push` pushes them.
    pub fn of_rows(
        code: &mut Code,
        numbers: Numbers,
        form: Form,
        push: impl FnMut(&mut Code, usize),
    ) -> Self {
        let sums = Self::zero(code, numbers, form);
        let rows = sums.rows.clone();
        sums.set_each(code, rows, push)
    }

    /// Of this form, those of each column of vectors as `push` pushes them.
    pub fn of_columns(
        code: &mut Code,
        numbers: Numbers,
        form: Form,
        push: impl FnMut(&mut Code, usize),
    ) -> Self {
        let sums = Self::zero(code, numbers, form);
        let column = |v: usize| sums.rows.iter().map(|row| row[v]).collect();
        let columns = (0..form.vectors).map(column).collect();
        sums.set_each(code, columns, push)
    }

    /// With all sums of each group as `push` pushes them.
    fn set_each(
        mut self,
        code: &mut Code,
        groups: Vec<Vec<Local>>,
        mut push: impl FnMut(&mut Code, usize),
    ) -> Self {
        for (at, group) in groups.into_iter().enumerate() {
            push(code, at);
            set_all(code, group.into_iter());
        }
        self.are_zero = false;
        self
    }

    /// The form of the tile.
    pub fn form(&self) -> Form {
        Form { rows: self.rows.len(), vectors: self.rows[0].len() }
    }

    /// The locals that hold the sums, row by row, which the caller releases.
    pub fn into_rows(mut self, code: &mut Code) -> Vec<Vec<Local>> {
        self.set_if_zero(code);
        code.release(self.held.into_iter().chain(self.factors));
        self.rows
    }

    /// Emits `sums[row][v] += factor(row) * vector(v)`, which push their value: a
    /// factor as it is loaded. Belongs in [`Sums::add_steps`].
    pub fn add_step(
        &mut self,
        code: &mut Code,
        mut factor: impl FnMut(&mut Code, usize),
        mut vector: impl FnMut(&mut Code, usize),
    ) {
        // What was added last is settled first; when a step begins, what the step
        // before it ended with.
        if let [sums] = &self.rows[..] {
            // A vector is wanted once: products and vectors of two joints at a time would
            // take more registers than there are.
            factor(code, 0);
            code.set(self.factors[0]);
            for (chunk, sums) in sums.chunks(self.held.len()).enumerate() {
                for (v, &held) in (0..sums.len()).zip(&self.held) {
                    vector(code, chunk * VECTORS_AT_ONCE + v);
                    code.set(held);
                }
                for (&sum, &vector) in sums.iter().zip(&self.held) {
                    self.add_product(code, sum, vector, self.factors[0]);
                }
                code.joint(sums);
            }
        } else {
            let last = self.rows.chunks(self.factors.len()).next_back();
            let mut last = if self.are_zero { &[] } else { last.unwrap_or_default() };
            for (chunk, sums) in self.rows.chunks(self.factors.len()).enumerate() {
                // The addresses of the first operands are then there for all steps.
                let are_first = chunk == 0 && self.are_zero;
                if are_first {
                    self.hold(code, &mut vector);
                }
                for (row, &one) in (0..sums.len()).zip(&self.factors) {
                    factor(code, chunk * self.factors.len() + row);
                    code.set(one);
                }
                code.joint(&last.concat());
                if chunk == 0 && !are_first {
                    self.hold(code, &mut vector);
                }
                for (sums, &one) in sums.iter().zip(&self.factors) {
                    for (&sum, &vector) in sums.iter().zip(&self.held) {
                        self.add_product(code, sum, one, vector);
                    }
                }
                last = sums;
            }
        }
        self.are_zero = false;
    }

    /// Emits `count` times `steps` steps, which `emit` emits so many times from where
    /// its pointers are, and moves them on: in a loop, each iteration with joints and
    /// sums of its own. `address` must hold one.
    pub fn add_steps(
        &mut self,
        code: &mut Code,
        (count, steps): (usize, usize),
        address: Local,
        mut emit: impl FnMut(&mut Code, &mut Self, usize),
    ) {
        let (iterations, times, rest) = Form::iterations(count, steps);
        if iterations > 1 {
            self.set_if_zero(code);
            for (i, &sum) in self.rows.iter().flatten().enumerate() {
                code.keep(i, |code| {
                    code.get(sum);
                });
            }
            code.repeat(iterations, |code| {
                self.are_zero = true;
                self.add_jointed(code, address, &mut emit, times);
                for (i, &sum) in self.rows.iter().flatten().enumerate() {
                    code.keep(i, |code| {
                        code.get(sum).kept(i).op(self.numbers.add());
                    });
                }
            });
            for (i, &sum) in self.rows.iter().flatten().enumerate() {
                code.kept(i).set(sum);
            }
        } else {
            self.add_jointed(code, address, &mut emit, times);
        }
        if rest > 0 {
            self.add_jointed(code, address, &mut emit, rest);
        }
    }

    fn add_jointed(
        &mut self,
        code: &mut Code,
        address: Local,
        emit: &mut impl FnMut(&mut Code, &mut Self, usize),
        times: usize,
    ) {
        let mut without_value = [&self.held[..], &self.factors].concat();
        if self.are_zero {
            without_value.extend(self.rows.iter().flatten());
        }
        code.jointed(address, &without_value, |code| emit(code, self, times));
    }

    /// Emits the loads of the vectors of a step, which has few enough to hold them all.
    fn hold(&self, code: &mut Code, vector: &mut impl FnMut(&mut Code, usize)) {
        for (v, &held) in self.held.iter().enumerate() {
            vector(code, v);
            code.set(held);
        }
    }

    fn add_product(&self, code: &mut Code, sum: Local, a: Local, b: Local) {
        if self.are_zero {
            self.numbers.multiply(code, sum, a, b);
        } else {
            self.numbers.multiply_add(code, sum, a, b);
        }
    }

    fn set_if_zero(&mut self, code: &mut Code) {
        if self.are_zero {
            code.splat_bits(0);
            set_all(code, self.rows.iter().flatten().copied());
            self.are_zero = false;
        }
    }
}

/// Pops a value into all these locals.
fn set_all(code: &mut Code, locals: impl Iterator<Item = Local>) {
    for local in locals {
        code.tee(local);
    }
    code.op(I::Drop);
}

/// Emits `sums[row][v] += left[row][i] * right[i][v]` over the inner dimension `i`
/// of size `k`. Rows of `left` follow each other without a gap, those of `right`
/// after `right_bytes`.
pub fn add_products(
    code: &mut Code,
    sums: &mut Sums,
    k: usize,
    (left_row, right_row): (Local, Local),
    right_bytes: usize,
) {
    let (left, right) = (code.i32_local(), code.i32_local());
    code.copy(left, left_row);
    code.copy(right, right_row);
    sums.add_steps(code, (k, 1), right, |code, sums, steps| {
        for step in 0..steps {
            sums.add_step(
                code,
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
    sums: Sums,
    output: Local,
    columns: usize,
    width: usize,
    then: &Expr,
) {
    let rows = sums.into_rows(code);
    for (row, sums) in rows.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            then.apply(code, sum);
            let lanes = (width - 4 * v).min(4);
            code.store_lanes(output, 4 * (row * columns + 4 * v) as u64, sum, lanes);
        }
    }
    code.release(rows.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of one product of a vector, in the long run.
    fn per_product(rows: usize, vectors: usize) -> f64 {
        Form { rows, vectors }.time(10_000) as f64 / (10_000 * rows * vectors) as f64
    }

    #[test]
    fn tiles_of_two_vectors_and_a_few_rows_are_fastest_as_measured() {
        // In GFLOP/s, where 50 are the most: 41 in 5x8, 40 in 4x8, 37 in 6x8, 34 in
        // 3x12 and 2x16.
        let best = per_product(5, 2);
        for Form { rows, vectors } in Form::all().filter(|form| form.rows > 1) {
            assert!(per_product(rows, vectors) >= best, "{rows}x{vectors}");
        }
        assert!(per_product(4, 2) < per_product(6, 2));
        assert!(per_product(4, 2) < per_product(2, 4));
        assert!(per_product(4, 2) < per_product(8, 1));
    }

    #[test]
    fn every_step_is_taken_once_and_most_in_loops_without_a_rest() {
        for (count, steps) in (1..100).flat_map(|count| (1..20).map(move |steps| (count, steps))) {
            let (iterations, times, rest) = Form::iterations(count, steps);
            assert_eq!(iterations * times + rest, count);
            let most = 2 * STEPS_PER_ITERATION.next_multiple_of(steps);
            assert!(times * steps <= most.max(MOST_STRAIGHT));
        }
        for count in [8, 16, 24, 32, 64, 96, 144, 160, 192, 320, 384, 576, 960, 1280] {
            assert_eq!(Form::iterations(count, 1).2, 0, "{count}");
        }
    }
}
