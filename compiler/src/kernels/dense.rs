//! The `dense` kernel: a matrix times constant weights. The weights are packed
//! in panels of columns, and are streamed once for each few rows.

use std::any::Any;

use super::product::{self, Form, Numbers, Sums};
use crate::emit::code::{Address, Code, Local};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

/// `out[m][n] = in[m][k] * weights[k][n] + bias[n]`, in `f32`.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Rows of the input.
    pub m: usize,
    /// The inner dimension.
    pub k: usize,
    /// Columns of the output.
    pub n: usize,
    /// `[k][n]`
    pub weights: Vec<f32>,
    /// `[n]`
    pub bias: Vec<f32>,
    /// What is done to each element before it is stored.
    pub then: Expr,
    /// The form of the register tile, where it was chosen and not estimated.
    pub form: Option<Form>,
}

impl Dense {
    /// The form of the register tile: rows, and vectors of a panel of weights.
    fn tile(&self) -> Form {
        self.form.unwrap_or_else(|| Form::of_product(self.m, self.k, self.n))
    }

    /// The panels of columns: first column and number.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> {
        let width = 4 * self.tile().vectors;
        (0..self.n).step_by(width).map(move |first| (first, width.min(self.n - first)))
    }
}

impl Kernel for Dense {
    fn describe(&self) -> String {
        format!("dense {}", self.tile().describe())
    }

    fn macs(&self) -> u64 {
        (self.m * self.k * self.n) as u64
    }

    /// The panels of weights, each padded to whole vectors with zeros, and the
    /// bias, padded in the same way.
    fn weights(&self) -> Vec<Vec<u8>> {
        let mut packed = Vec::new();
        let mut bias = Vec::new();
        let push = |to: &mut Vec<u8>, row: &[f32], first: usize, width: usize| {
            let padding = width.next_multiple_of(4) - width;
            let columns = row[first..first + width].iter().copied();
            let padded = columns.chain(std::iter::repeat_n(0.0, padding));
            to.extend(padded.flat_map(f32::to_le_bytes));
        };
        for (first, width) in self.panels() {
            for row in self.weights.chunks(self.n) {
                push(&mut packed, row, first, width);
            }
            push(&mut bias, &self.bias, first, width);
        }
        vec![packed, bias]
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let cursor = Cursor {
            input: code.i32_local(),
            weights: code.i32_local(),
            bias: code.i32_local(),
            output: code.i32_local(),
        };
        code.point(cursor.weights, places.weights[0]);
        code.point(cursor.bias, places.weights[1]);
        code.point(cursor.output, places.outputs[0]);
        let width = 4 * self.tile().vectors;
        let (whole, rest) = (self.n / width, self.n % width);
        code.repeat(whole, |code| self.emit_panel(code, places.inputs[0], cursor, width));
        if rest > 0 {
            self.emit_panel(code, places.inputs[0], cursor, rest);
        }
        code.release([cursor.input, cursor.weights, cursor.bias, cursor.output]);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        match then {
            Fusion::Then(expr) => {
                self.then = self.then.followed_by(expr);
                true
            }
            Fusion::PerChannel { inner: 1, scale, shift }
                if self.then.is_identity() && scale.len() == self.n =>
            {
                for row in self.weights.chunks_mut(self.n) {
                    row.iter_mut().zip(scale).for_each(|(w, scale)| *w *= scale);
                }
                for ((bias, scale), shift) in self.bias.iter_mut().zip(scale).zip(shift) {
                    *bias = *bias * scale + shift;
                }
                true
            }
            Fusion::PerChannel { .. } => false,
        }
    }

    fn problem(&self) -> Option<String> {
        let Self { m, k, n, .. } = self;
        Some(format!("dense {m}x{k} by {n}"))
    }

    fn candidates(&self) -> Vec<String> {
        let forms = Form::candidates_of_product(self.m, self.k, self.n);
        forms.into_iter().map(|form| format!("dense {}", form.describe())).collect()
    }

    fn choose(&mut self, kernel: &str) -> bool {
        let mut forms = Form::candidates_of_product(self.m, self.k, self.n).into_iter();
        self.form = forms.find(|form| kernel == format!("dense {}", form.describe()));
        self.form.is_some()
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
    bias: Local,
    output: Local,
}

impl Dense {
    /// Emits all rows of one panel of `width` columns, and moves on to the next.
    fn emit_panel(&self, code: &mut Code, input: Address, cursor: Cursor, width: usize) {
        let rows = self.tile().rows;
        code.point(cursor.input, input);
        code.repeat(self.m / rows, |code| self.emit_tile(code, cursor, rows, width));
        if !self.m.is_multiple_of(rows) {
            self.emit_tile(code, cursor, self.m % rows, width);
        }
        code.advance(cursor.output, 4 * (width as i64 - (self.m * self.n) as i64));
        let vectors = width.div_ceil(4);
        code.advance(cursor.weights, (16 * vectors * self.k) as i64);
        code.advance(cursor.bias, 16 * vectors as i64);
    }

    /// Emits `rows` rows of one panel, and moves on to the next rows.
    fn emit_tile(&self, code: &mut Code, cursor: Cursor, rows: usize, width: usize) {
        let vectors = width.div_ceil(4);
        let form = Form { rows, vectors };
        let mut sums = Sums::of_columns(code, Numbers::Reals, form, |code, v| {
            code.load(cursor.bias, 16 * v as u64);
        });
        let operands = (cursor.input, cursor.weights);
        product::add_products(code, &mut sums, self.k, operands, 16 * vectors);
        product::store_sums(code, sums, cursor.output, self.n, width, &self.then);
        code.advance(cursor.input, (4 * rows * self.k) as i64);
        code.advance(cursor.output, (4 * rows * self.n) as i64);
    }
}
