//! The `matmul` kernel: products of two computed matrices, one for each index of
//! a batch. The right matrices are read where they are, in panels of columns.

use std::any::Any;

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

/// Rows of the inner dimension that one iteration takes.
const UNROLL: usize = 4;

/// `out[b][m][n] = left[b][m][k] * right[b][k][n]`, in `f32`.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// The number of products.
    pub batch: usize,
    /// Rows of the left matrix.
    pub m: usize,
    /// The inner dimension.
    pub k: usize,
    /// Columns of the right matrix.
    pub n: usize,
    /// What is done to each element before it is stored.
    pub then: Expr,
}

impl MatMul {
    /// Rows of the register tile.
    fn tile_rows(&self) -> usize {
        self.m.min(3)
    }

    /// Vectors of the register tile.
    fn tile_vectors(&self) -> usize {
        let most = if self.tile_rows() == 1 { 8 } else { 4 };
        most.min(self.n.div_ceil(4))
    }
}

/// Where the emitted loops are.
#[derive(Clone, Copy)]
struct Cursor {
    left: Local,
    right: Local,
    output: Local,
}

impl Kernel for MatMul {
    fn describe(&self) -> String {
        format!("matmul {}x{}", self.tile_rows(), 4 * self.tile_vectors())
    }

    fn macs(&self) -> u64 {
        (self.batch * self.m * self.k * self.n) as u64
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let cursor =
            Cursor { left: code.i32_local(), right: code.i32_local(), output: code.i32_local() };
        code.assign(cursor.left, places.inputs[0]);
        code.assign(cursor.right, places.inputs[1]);
        code.assign(cursor.output, places.outputs[0]);
        let width = 4 * self.tile_vectors();
        let (whole, rest) = (self.n / width, self.n % width);
        code.repeat(self.batch, |code| {
            code.repeat(whole, |code| self.emit_panel(code, cursor, width));
            if rest > 0 {
                self.emit_panel(code, cursor, rest);
            }
            code.advance(cursor.left, 4 * (self.m * self.k) as i64);
            code.advance(cursor.right, 4 * (self.k * self.n) as i64 - 4 * self.n as i64);
            code.advance(cursor.output, 4 * (self.m * self.n) as i64 - 4 * self.n as i64);
        });
        code.release([cursor.left, cursor.right, cursor.output]);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        let Fusion::Then(expr) = then else { return false };
        self.then = self.then.followed_by(expr);
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MatMul {
    /// Emits all rows of one panel of `width` columns, and moves on to the next.
    fn emit_panel(&self, code: &mut Code, cursor: Cursor, width: usize) {
        let rows = self.tile_rows();
        code.repeat(self.m / rows, |code| self.emit_tile(code, cursor, rows, width));
        if !self.m.is_multiple_of(rows) {
            self.emit_tile(code, cursor, self.m % rows, width);
        }
        code.advance(cursor.left, -4 * (self.m * self.k) as i64);
        code.advance(cursor.output, 4 * (width as i64 - (self.m * self.n) as i64));
        code.advance(cursor.right, 4 * width as i64);
    }

    /// Emits `rows` rows of one panel, and moves on to the next rows.
    fn emit_tile(&self, code: &mut Code, cursor: Cursor, rows: usize, width: usize) {
        let vectors = width.div_ceil(4);
        let sums: Vec<Vec<Local>> = (0..rows).map(|_| code.v128_locals(vectors)).collect();
        for &sum in sums.iter().flatten() {
            code.splat(0.0).set(sum);
        }
        let (left, right) = (code.i32_local(), code.i32_local());
        code.copy(left, cursor.left);
        code.copy(right, cursor.right);
        code.repeat(self.k / UNROLL, |code| {
            (0..UNROLL).for_each(|u| self.emit_rank_1(code, &sums, (left, right), u));
            code.advance(left, 4 * UNROLL as i64);
            code.advance(right, (4 * self.n * UNROLL) as i64);
        });
        (0..self.k % UNROLL).for_each(|u| self.emit_rank_1(code, &sums, (left, right), u));
        code.release([left, right]);

        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                if !self.then.is_identity() {
                    self.then.emit(code, |code, _| {
                        code.get(sum);
                    });
                    code.set(sum);
                }
                let lanes = (width - 4 * v).min(4);
                code.store_lanes(cursor.output, 4 * (row * self.n + 4 * v) as u64, sum, lanes);
            }
        }
        code.release(sums.into_iter().flatten());
        code.advance(cursor.left, (4 * rows * self.k) as i64);
        code.advance(cursor.output, (4 * rows * self.n) as i64);
    }

    /// Emits `sums[row][v] += left[row][u] * right[u][v]`.
    fn emit_rank_1(
        &self,
        code: &mut Code,
        sums: &[Vec<Local>],
        (left, right): (Local, Local),
        u: usize,
    ) {
        let factors = code.v128_locals(sums.len());
        for (row, &factor) in factors.iter().enumerate() {
            code.load_splat(left, 4 * (row * self.k + u) as u64).set(factor);
        }
        let column = code.v128_local();
        for v in 0..sums[0].len() {
            code.load(right, 4 * (u * self.n + 4 * v) as u64).set(column);
            for (sums, &factor) in sums.iter().zip(&factors) {
                code.get(sums[v]).get(factor).get(column);
                code.op(I::F32x4Mul).op(I::F32x4Add).set(sums[v]);
            }
        }
        code.release(factors);
        code.release([column]);
    }
}
