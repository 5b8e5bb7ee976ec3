//! The inner step of convolutions and matrix products: a register tile of sums,
//! to which the products of a column of factors and a row of vectors are added.
//!
//! The vectors are held in registers; a fence follows on the products of a few
//! factors. So little lives beside the sums and the held vectors, whatever the
//! number of steps in a loop.

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local};
use crate::expr::Expr;

/// Vectors of a single row after which a fence comes.
const VECTORS_PER_FENCE: usize = 4;

/// Rows after which a fence comes.
const ROWS_PER_FENCE: usize = 4;

/// The vector registers of x86-64, which has the fewest.
const REGISTERS: usize = 16;

/// Steps that one iteration of a loop takes at least: an iteration costs a check
/// of the fuel and of the deadline, and the engine keeps the sums in memory from
/// one iteration to the next.
pub const UNROLL: usize = 10;

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
        let forms = (1..REGISTERS).flat_map(|rows| (1..=8).map(move |vectors| (rows, vectors)));
        forms.map(|(rows, vectors)| Self { rows, vectors }).filter(|form| form.fits())
    }

    /// The form for a product of `m x k` and `k x n` elements: of a single row, the
    /// right operand is streamed; else the fastest by the estimate.
    pub fn of_product(m: usize, k: usize, n: usize) -> Self {
        let vectors = n.div_ceil(4);
        if m == 1 {
            return Self { rows: 1, vectors: vectors.min(8) };
        }
        let time = |form: &Self| {
            let parts = |size: usize, by: usize| {
                [(size / by, by), (usize::from(!size.is_multiple_of(by)), size % by)]
            };
            let mut time = 0;
            for (panels, vectors) in parts(vectors, form.vectors) {
                for (tiles, rows) in parts(m, form.rows) {
                    time += panels * tiles * Self { rows, vectors }.time(k);
                }
            }
            time
        };
        let forms = Self::all().filter(|form| form.rows <= m && form.vectors <= vectors);
        forms.min_by_key(time).expect("one row and one vector are a form")
    }

    /// Whether sums, held or loaded vectors, four factors in one register, one of
    /// them in another and a product fit the registers.
    fn fits(self) -> bool {
        let held = if self.rows == 1 { VECTORS_PER_FENCE } else { self.vectors };
        self.rows * self.vectors + held + 3 <= REGISTERS
    }

    /// An estimate of the time of a tile with so many steps, in eighths of a
    /// cycle of a core that begins four vector operations in a cycle.
    pub fn time(self, steps: usize) -> usize {
        let Self { rows, vectors } = self;
        // Operations on vectors, loads and the fence, but no less than the
        // latency of an addition.
        let step = (rows * (4 * vectors + 2) + vectors + 4).max(24);
        let iteration = 20 + 6 * rows * vectors;
        100 + 12 * rows * vectors + steps * step + steps.div_ceil(UNROLL) * iteration
    }
}

/// Emits `sums[row][v] += factor(row) * vector(v)`, which push their value.
/// Belongs in [`Code::fenced`] with all the sums. Of a single row, vectors are
/// used once and not held, so that there may be more of them.
pub fn emit_step(
    code: &mut Code,
    sums: &[Vec<Local>],
    mut factor: impl FnMut(&mut Code, usize),
    mut vector: impl FnMut(&mut Code, usize),
) {
    let one = code.v128_local();
    let add = |code: &mut Code, sum: Local, vector: &mut dyn FnMut(&mut Code)| {
        code.get(sum).get(one);
        vector(code);
        code.op(I::F32x4Mul).op(I::F32x4Add).set(sum);
    };
    if let [sums] = sums {
        factor(code, 0);
        code.set(one);
        for (v, &sum) in sums.iter().enumerate() {
            add(code, sum, &mut |code| vector(code, v));
            if v % VECTORS_PER_FENCE == VECTORS_PER_FENCE - 1 || v + 1 == sums.len() {
                code.fence();
            }
        }
    } else {
        let (rows, held) = (sums.len(), code.v128_locals(sums[0].len()));
        for (v, &held) in held.iter().enumerate() {
            vector(code, v);
            code.set(held);
        }
        for (row, sums) in sums.iter().enumerate() {
            factor(code, row);
            code.set(one);
            for (&sum, &held) in sums.iter().zip(&held) {
                add(code, sum, &mut |code| {
                    code.get(held);
                });
            }
            if row % ROWS_PER_FENCE == ROWS_PER_FENCE - 1 || row + 1 == rows {
                code.fence();
            }
        }
        code.release(held);
    }
    code.release([one]);
}

/// Emits `sums[row][v] += left[row][i] * right[i][v]` over the inner dimension `i`
/// of size `k`. Rows of `left` follow each other without a gap, those of `right`
/// after `right_bytes`. `output` must hold an address that may be written.
pub fn emit_sums(
    code: &mut Code,
    sums: &[Vec<Local>],
    k: usize,
    (left_row, right_row): (Local, Local),
    right_bytes: usize,
    output: Local,
) {
    let (left, right) = (code.i32_local(), code.i32_local());
    let emit_steps = |code: &mut Code, steps: usize| {
        for step in 0..steps {
            emit_step(
                code,
                sums,
                |code, row| {
                    code.load_splat(left, 4 * (row * k + step) as u64);
                },
                |code, v| {
                    code.load(right, (step * right_bytes + 16 * v) as u64);
                },
            );
        }
    };
    let all: Vec<Local> = sums.iter().flatten().copied().collect();
    code.fenced(&all, output, |code| {
        code.copy(left, left_row);
        code.copy(right, right_row);
        code.repeat(k / UNROLL, |code| {
            emit_steps(code, UNROLL);
            code.advance(left, 4 * UNROLL as i64);
            code.advance(right, (right_bytes * UNROLL) as i64);
        });
        emit_steps(code, k % UNROLL);
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
    fn square_tiles_are_fastest_as_measured() {
        let best = per_product(3, 3);
        for Form { rows, vectors } in Form::all() {
            assert!(per_product(rows, vectors) >= best, "{rows}x{vectors}");
        }
        // 37.5 GFLOP/s in 3x12 tiles, 36.4 in 2x16, 35.7 in 4x8, 30.1 in 8x4.
        assert!(per_product(2, 4) < per_product(4, 2));
        assert!(per_product(4, 2) < per_product(8, 1));
    }
}
