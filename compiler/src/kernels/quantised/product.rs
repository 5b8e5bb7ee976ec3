//! Products of matrices of integers: a register tile of sums, to which the products
//! of a column of factors and a row of vectors are added, two at a time.
//!
//! A factor is a pair of `i16` in four lanes of 32 bits; a vector four such pairs.
//! The step is that of [`crate::kernels::product`], whose estimates hold: a dot
//! product of pairs takes the place of a multiplication, an addition of integers
//! that of one of reals.

use super::outcome::{Outcome, Stored};
use crate::emit::code::{Code, Local};
use crate::kernels::product::Sums;

/// Emits `sums[row][v] += left[row][i] . right[i][v]` over `steps` pairs `i` of the
/// inner dimension. Rows of `left` follow each other without a gap, those of `right`
/// after `right_bytes`; `load` pushes the vector at an address and offset, and
/// `vector_bytes` are from one to the next.
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
}

impl Walk {
    /// Emits the products of all pairs. `load` pushes the vector of the right operand
    /// at an address and offset.
    pub fn emit(&self, code: &mut Code, sums: &mut Sums, load: &dyn Fn(&mut Code, Local, u64)) {
        let (left, right) = (code.i32_local(), code.i32_local());
        code.copy(left, self.left);
        code.copy(right, self.right);
        sums.add_steps(code, (self.steps, 1), right, |code, sums, steps| {
            for step in 0..steps {
                sums.add_step(
                    code,
                    |code, row| {
                        code.load_splat(left, 4 * (row * self.steps + step) as u64);
                    },
                    |code, v| {
                        let offset = step * self.right_bytes + v * self.vector_bytes;
                        load(code, right, offset as u64);
                    },
                );
            }
            code.advance(left, 4 * steps as i64);
            code.advance(right, (self.right_bytes * steps) as i64);
        });
        code.release([left, right]);
    }
}

/// Emits the outcome of the sums of a tile `width` columns wide, which it stores in
/// rows of `columns` elements from `output` on, and gives their locals back. Channels
/// are columns: the last parameter has the addresses of what there is for the tile's columns, of
/// scales and of shifts, and of the outcome's constants.
pub fn store_sums(
    code: &mut Code,
    sums: Sums,
    output: Local,
    columns: usize,
    width: usize,
    outcome: &Outcome,
    [scales, shifts, constants]: [Local; 3],
) {
    let mut stored = Vec::new();
    let sums = sums.into_rows(code);
    for (row, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            outcome.apply(code, sum, constants, &mut |code, blob| {
                code.load([scales, shifts][blob], 16 * v as u64);
            });
            let lanes = (width - 4 * v).min(4);
            stored.push(Stored { value: sum, to: row * columns + 4 * v, lanes });
        }
    }
    outcome.store(code, output, &stored);
    code.release(sums.into_iter().flatten());
}
