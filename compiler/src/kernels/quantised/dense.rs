//! The `dense` kernel of 8-bit integers: a matrix times constant weights. The
//! matrix is widened once; the weights are packed in panels of columns, pairs of
//! rows side by side, and are streamed once for each few rows of the matrix.

use std::any::Any;

use super::outcome::Outcome;
use super::product::{self, Walk};
use super::weights::Width;
use super::widen::{Bytes, WRITE_SLACK};
use crate::emit::code::{Address, Code, Local};
use crate::expr::Fusion;
use crate::kernels::product::{Form, Numbers, Sums};
use crate::schedule::{Kernel, Places};

/// `out[m][n] = outcome(in[m][k] * weights[k][n] + bias[n])`; the channels of the
/// outcome are the columns.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Rows of the input.
    pub m: usize,
    /// The inner dimension.
    pub k: usize,
    /// Columns of the output.
    pub n: usize,
    /// The input.
    pub input: Bytes,
    /// `[k][n]`, without their zero points.
    pub weights: Vec<i16>,
    /// `[n]`
    pub bias: Vec<i32>,
    /// What is stored.
    pub outcome: Outcome,
}

impl Dense {
    fn pairs(&self) -> usize {
        self.k.div_ceil(2)
    }

    /// The form of the register tile: rows, and vectors of a panel of weights.
    fn tile(&self) -> Form {
        Form::of_product(self.m, self.pairs(), self.n)
    }

    /// The panels of columns: first column and number.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> {
        let width = 4 * self.tile().vectors;
        (0..self.n).step_by(width).map(move |first| (first, width.min(self.n - first)))
    }

    /// What there is for each column, padded to whole vectors in each panel.
    fn in_panels(&self, blob: &[u8]) -> Vec<u8> {
        let mut padded = Vec::new();
        if !blob.is_empty() {
            for (first, width) in self.panels() {
                padded.extend_from_slice(&blob[4 * first..4 * (first + width)]);
                padded.resize(padded.len().next_multiple_of(16), 0);
            }
        }
        padded
    }
}

impl Kernel for Dense {
    fn describe(&self) -> String {
        let Form { rows, vectors } = self.tile();
        format!("dense i8 {rows}x{}", 4 * vectors)
    }

    fn macs(&self) -> u64 {
        (self.m * self.k * self.n) as u64
    }

    /// The panels of weights, each padded to whole vectors and pairs with zeros, and
    /// the bias, scales and shifts, padded in the same way; the outcome's constants and the
    /// input's zero point.
    fn weights(&self) -> Vec<Vec<u8>> {
        let width_of_one = Width::of(&self.weights);
        let mut packed = Vec::new();
        for (first, width) in self.panels() {
            for pair in 0..self.pairs() {
                for column in first..(first + width).next_multiple_of(4) {
                    for row in 2 * pair..2 * pair + 2 {
                        let is_there = row < self.k && column < first + width;
                        let weight = if is_there { self.weights[row * self.n + column] } else { 0 };
                        width_of_one.push(&mut packed, weight);
                    }
                }
            }
        }
        let bias: Vec<u8> = self.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
        let blobs = [bias, self.outcome.scales(self.n), self.outcome.shifts(self.n)];
        let blobs = blobs.iter().map(|blob| self.in_panels(blob));
        let constants = [self.outcome.constants(), self.input.zeros()];
        std::iter::once(packed).chain(blobs).chain(constants).collect()
    }

    fn scratch_bytes(&self) -> usize {
        4 * self.m * self.pairs() + WRITE_SLACK
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        self.emit_widening(code, places);
        let cursor = Cursor {
            input: code.i32_local(),
            weights: code.i32_local(),
            per_column: std::array::from_fn(|_| code.i32_local()),
            constants: code.i32_local(),
            output: code.i32_local(),
        };
        code.point(cursor.weights, places.weights[0]);
        for (local, &address) in cursor.per_column.iter().zip(&places.weights[1..]) {
            code.point(*local, address);
        }
        code.point(cursor.constants, places.weights[4]);
        code.point(cursor.output, places.outputs[0]);
        let width = 4 * self.tile().vectors;
        let (whole, rest) = (self.n / width, self.n % width);
        code.repeat(whole, |code| self.emit_panel(code, places.scratch, cursor, width));
        if rest > 0 {
            self.emit_panel(code, places.scratch, cursor, rest);
        }
        code.release([cursor.input, cursor.weights, cursor.constants, cursor.output]);
        code.release(cursor.per_column);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        self.outcome.fuse(then, 1, self.n)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where the emitted loops are.
#[derive(Clone, Copy)]
struct Cursor {
    input: Local,
    weights: Local,
    /// Bias, scales and shifts.
    per_column: [Local; 3],
    /// Of the outcome.
    constants: Local,
    output: Local,
}

impl Dense {
    /// Emits the widening of the input into the scratch space.
    fn emit_widening(&self, code: &mut Code, places: &Places) {
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(to, places.scratch);
        let inputs = (&places.inputs[..], places.weights[5]);
        emit_rows(code, self.input, inputs, (from, to), (self.m, self.k));
        code.release([from, to]);
    }

    /// Emits all rows of one panel of `width` columns, and moves on to the next.
    fn emit_panel(&self, code: &mut Code, input: Address, cursor: Cursor, width: usize) {
        let rows = self.tile().rows;
        code.point(cursor.input, input);
        code.repeat(self.m / rows, |code| self.emit_tile(code, cursor, rows, width));
        if !self.m.is_multiple_of(rows) {
            self.emit_tile(code, cursor, self.m % rows, width);
        }
        let size = self.outcome.element_bytes() as i64;
        code.advance(cursor.output, size * (width as i64 - (self.m * self.n) as i64));
        let vectors = width.div_ceil(4);
        let bytes = self.vector_bytes() * vectors * self.pairs();
        code.advance(cursor.weights, bytes as i64);
        for local in cursor.per_column {
            code.advance(local, 16 * vectors as i64);
        }
    }

    /// The bytes of the weights for four columns and a pair of rows.
    fn vector_bytes(&self) -> usize {
        8 * Width::of(&self.weights).bytes()
    }

    /// Emits `rows` rows of one panel, and moves on to the next rows.
    fn emit_tile(&self, code: &mut Code, cursor: Cursor, rows: usize, width: usize) {
        let vectors = width.div_ceil(4);
        let [bias, scales, shifts] = cursor.per_column;
        let form = Form { rows, vectors };
        let mut sums = Sums::of_columns(code, Numbers::PairsOfIntegers, form, |code, v| {
            code.load(bias, 16 * v as u64);
        });
        let width_of_one = Width::of(&self.weights);
        let walk = Walk {
            steps: self.pairs(),
            left: cursor.input,
            right: cursor.weights,
            right_bytes: self.vector_bytes() * vectors,
            vector_bytes: self.vector_bytes(),
        };
        walk.emit(code, &mut sums, &|code, address, offset| {
            width_of_one.load(code, address, offset)
        });
        let blobs = [scales, shifts, cursor.constants];
        product::store_sums(code, sums, cursor.output, self.n, width, &self.outcome, blobs);
        code.advance(cursor.input, (4 * rows * self.pairs()) as i64);
        code.advance(cursor.output, (self.outcome.element_bytes() * rows * self.n) as i64);
    }
}

/// Emits the widening of `rows` rows of `count` bytes, each with a 0 after it if their
/// number is odd. Both pointers move past them. With the kernel's inputs comes its blob of
/// [`Bytes::zeros`].
pub fn emit_rows(
    code: &mut Code,
    bytes: Bytes,
    (inputs, zeros): (&[Address], Address),
    (from, to): (Local, Local),
    (rows, count): (usize, usize),
) {
    let widener = bytes.start(code, inputs, zeros);
    if count.is_multiple_of(2) {
        widener.emit_row(code, from, to, rows * count);
    } else {
        code.repeat(rows, |code| widener.emit_row(code, from, to, count));
    }
    widener.release(code);
}
