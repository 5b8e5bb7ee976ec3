//! The `matmul` kernel of 8-bit integers: products of two computed matrices, one
//! for each index of a batch. Of each product, the left matrix is widened and the
//! rows of the right one are interleaved in pairs.

use std::any::Any;

use super::dense::emit_rows;
use super::outcome::Outcome;
use super::product::{self, Walk};
use super::widen::{Bytes, WRITE_SLACK};
use crate::emit::code::{Code, Local};
use crate::expr::Fusion;
use crate::kernels::product::{Form, Numbers, Sums};
use crate::schedule::{Kernel, Places};

/// `out[b][m][n] = outcome(left[b][m][k] * right[b][k][n])`; the channels of the
/// outcome are the columns.
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
    /// The left matrices.
    pub left: Bytes,
    /// The right ones.
    pub right: Bytes,
    /// What is stored.
    pub outcome: Outcome,
}

impl MatMul {
    fn pairs(&self) -> usize {
        self.k.div_ceil(2)
    }

    fn tile(&self) -> Form {
        Form::of_product(self.m, self.pairs(), self.n)
    }

    /// The bytes of the widened left matrix, to a multiple of 16.
    fn left_bytes(&self) -> usize {
        (4 * self.m * self.pairs() + WRITE_SLACK).next_multiple_of(16)
    }

    /// From one pair of rows of the interleaved right matrix to the next.
    fn right_bytes(&self) -> usize {
        4 * self.n
    }
}

impl Kernel for MatMul {
    fn describe(&self) -> String {
        let Form { rows, vectors } = self.tile();
        format!("matmul i8 {rows}x{}", 4 * vectors)
    }

    fn macs(&self) -> u64 {
        (self.batch * self.m * self.k * self.n) as u64
    }

    fn weights(&self) -> Vec<Vec<u8>> {
        let blobs = [self.outcome.scales(self.n), self.outcome.shifts(self.n)];
        // A last vector that is not whole is read all the same.
        let blobs = blobs.into_iter().map(|blob| blob.into_iter().chain([0; 16]).collect());
        blobs.chain([self.outcome.constants(), self.left.zeros(), self.right.zeros()]).collect()
    }

    fn scratch_bytes(&self) -> usize {
        self.left_bytes() + self.right_bytes() * self.pairs() + WRITE_SLACK
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let [left, right, output, to] = std::array::from_fn(|_| code.i32_local());
        code.point(left, places.inputs[0]);
        code.point(right, places.inputs[1]);
        code.point(output, places.outputs[0]);
        let interleaved = places.scratch.plus(self.left_bytes() as u32);
        code.repeat(self.batch, |code| {
            code.point(to, places.scratch);
            let inputs = (&places.inputs[..], places.weights[3]);
            emit_rows(code, self.left, inputs, (left, to), (self.m, self.k));
            code.point(to, interleaved);
            self.emit_interleaving(code, places, right, to);
            self.emit_product(code, places, output);
        });
        code.release([left, right, output, to]);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        self.outcome.fuse(then, 1, self.n)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MatMul {
    /// Emits the interleaving of the right matrix's rows. Both pointers move past
    /// them.
    fn emit_interleaving(&self, code: &mut Code, places: &Places, right: Local, to: Local) {
        let widener = self.right.start(code, &places.inputs, places.weights[4]);
        let second = code.i32_local();
        code.repeat(self.k / 2, |code| {
            code.copy(second, right);
            code.advance(second, self.n as i64);
            widener.emit_pairs(code, Some(right), Some(second), to, self.n, 1);
            code.advance(right, self.n as i64);
        });
        if !self.k.is_multiple_of(2) {
            widener.emit_pairs(code, Some(right), None, to, self.n, 1);
        }
        code.release([second]);
        widener.release(code);
    }

    /// Emits one product of the matrices in the scratch space. `output` moves past
    /// it.
    fn emit_product(&self, code: &mut Code, places: &Places, output: Local) {
        let Form { rows, vectors } = self.tile();
        let cursor = Cursor {
            left: code.i32_local(),
            right: code.i32_local(),
            output,
            per_column: [code.i32_local(), code.i32_local()],
            constants: code.i32_local(),
        };
        code.point(cursor.right, places.scratch.plus(self.left_bytes() as u32));
        code.point(cursor.constants, places.weights[2]);
        for (local, &address) in cursor.per_column.iter().zip(&places.weights) {
            code.point(*local, address);
        }
        let panel = |code: &mut Code, width: usize| {
            code.point(cursor.left, places.scratch);
            code.repeat(self.m / rows, |code| self.emit_tile(code, cursor, rows, width));
            if !self.m.is_multiple_of(rows) {
                self.emit_tile(code, cursor, self.m % rows, width);
            }
            let size = self.outcome.element_bytes() as i64;
            code.advance(output, size * (width as i64 - (self.m * self.n) as i64));
            code.advance(cursor.right, 4 * width as i64);
            for local in cursor.per_column {
                code.advance(local, 4 * width as i64);
            }
        };
        let width = 4 * vectors;
        code.repeat(self.n / width, |code| panel(code, width));
        if !self.n.is_multiple_of(width) {
            panel(code, self.n % width);
        }
        let size = self.outcome.element_bytes();
        code.advance(output, (size * (self.m - 1) * self.n) as i64);
        code.release([cursor.left, cursor.right, cursor.constants]);
        code.release(cursor.per_column);
    }

    /// Emits `rows` rows of a panel, and moves on to the next rows.
    fn emit_tile(&self, code: &mut Code, cursor: Cursor, rows: usize, width: usize) {
        let vectors = width.div_ceil(4);
        let mut sums = Sums::zero(code, Numbers::PairsOfIntegers, Form { rows, vectors });
        let walk = Walk {
            steps: self.pairs(),
            left: cursor.left,
            right: cursor.right,
            right_bytes: self.right_bytes(),
            vector_bytes: 16,
        };
        walk.emit(code, &mut sums, &|code, address, offset| {
            code.load(address, offset);
        });
        let [scales, shifts] = cursor.per_column;
        let blobs = [scales, shifts, cursor.constants];
        product::store_sums(code, sums, cursor.output, self.n, width, &self.outcome, blobs);
        code.advance(cursor.left, (4 * rows * self.pairs()) as i64);
        code.advance(cursor.output, (self.outcome.element_bytes() * rows * self.n) as i64);
    }
}

/// Where the emitted loops are.
#[derive(Clone, Copy)]
struct Cursor {
    left: Local,
    right: Local,
    output: Local,
    /// Scales and shifts.
    per_column: [Local; 2],
    /// Of the outcome.
    constants: Local,
}
