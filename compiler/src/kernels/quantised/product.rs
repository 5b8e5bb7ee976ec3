//! The inner step of products of integers: a register tile of sums, to which the
//! products of a column of factors and a row of vectors are added, two at a time.
//!
//! A factor is a pair of `i16` in four lanes of 32 bits; a vector four such pairs.
//! The form is that of [`crate::kernels::product`], whose estimates hold: a dot
//! product of pairs takes the place of a multiplication, an addition of integers
//! that of one of reals.

use wasm_encoder::Instruction as I;

use super::outcome::{Outcome, Stored};
use crate::emit::code::{Code, Local};

/// Vectors of a single row after which a fence comes.
const VECTORS_PER_FENCE: usize = 4;

/// Rows after which a fence comes.
const ROWS_PER_FENCE: usize = 4;

/// Emits `sums[row][v] += factor(row) . vector(v)`, which push their value.
/// Belongs in [`Code::fenced`] with all the sums. Of a single row, vectors are used
/// once and not held.
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
        code.op(I::I32x4DotI16x8S).op(I::I32x4Add).set(sum);
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

/// Emits `sums[row][v] += left[row][i] . right[i][v]` over `steps` pairs `i` of the
/// inner dimension. Rows of `left` follow each other without a gap, those of `right`
/// after `right_bytes`; `load` pushes the vector at an address and offset, and
/// `vector_bytes` are from one to the next. `output` must hold an address that may be
/// written.
#[derive(Clone, Copy)]
pub struct Walk {
    /// The inner dimension, in pairs.
    pub steps: usize,
    /// The first row of the left operand: pairs of 4 bytes.
    pub left: Local,
    /// The first row of the right operand.
    pub right: Local,
    /// From one of its rows to the next.
    pub right_bytes: usize,
    /// From one of its vectors to the next.
    pub vector_bytes: usize,
    /// An address that may be written.
    pub output: Local,
}

impl Walk {
    /// Emits the products of all pairs. `load` pushes the vector of the right operand
    /// at an address and offset.
    pub fn emit(&self, code: &mut Code, sums: &[Vec<Local>], load: &dyn Fn(&mut Code, Local, u64)) {
        const UNROLL: usize = crate::kernels::product::UNROLL;
        let (left, right) = (code.i32_local(), code.i32_local());
        let emit_steps = |code: &mut Code, steps: usize| {
            for step in 0..steps {
                emit_step(
                    code,
                    sums,
                    |code, row| {
                        code.load_splat(left, 4 * (row * self.steps + step) as u64);
                    },
                    |code, v| {
                        let offset = step * self.right_bytes + v * self.vector_bytes;
                        load(code, right, offset as u64);
                    },
                );
            }
        };
        let all: Vec<Local> = sums.iter().flatten().copied().collect();
        code.fenced(&all, self.output, |code| {
            code.copy(left, self.left);
            code.copy(right, self.right);
            code.repeat(self.steps / UNROLL, |code| {
                emit_steps(code, UNROLL);
                code.advance(left, 4 * UNROLL as i64);
                code.advance(right, (self.right_bytes * UNROLL) as i64);
            });
            emit_steps(code, self.steps % UNROLL);
        });
        code.release([left, right]);
    }
}

/// Emits the outcome of the sums of a tile `width` columns wide, which it stores in
/// rows of `columns` elements from `output` on, and gives their locals back. Channels
/// are columns: `per_column` holds the addresses of what there is for the tile's
/// columns, of scales and of shifts.
pub fn store_sums(
    code: &mut Code,
    sums: Vec<Vec<Local>>,
    output: Local,
    columns: usize,
    width: usize,
    outcome: &Outcome,
    per_column: [Local; 2],
) {
    let mut stored = Vec::new();
    for (row, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            outcome.apply(code, sum, &mut |code, blob| {
                code.load(per_column[blob], 16 * v as u64);
            });
            let lanes = (width - 4 * v).min(4);
            stored.push(Stored { value: sum, to: row * columns + 4 * v, lanes });
        }
    }
    outcome.store(code, output, &stored);
    code.release(sums.into_iter().flatten());
}
