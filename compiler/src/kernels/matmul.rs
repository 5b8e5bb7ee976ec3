//! The `matmul` kernel: products of two computed matrices, one for each index of
//! a batch. The right matrices are read where they are, in panels of columns.

use std::any::Any;

use super::product::{self, Form, Numbers, Sums};
use crate::emit::code::{Code, Local};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

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
    /// The form of the register tile, where it was chosen and not estimated.
    pub form: Option<Form>,
}

impl MatMul {
    /// The form of the register tile: rows of the left matrix, and vectors of the
    /// right one.
    fn tile(&self) -> Form {
        self.form.unwrap_or_else(|| Form::of_product(self.m, self.k, self.n))
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
        format!("matmul {}", self.tile().describe())
    }

    fn macs(&self) -> u64 {
        (self.batch * self.m * self.k * self.n) as u64
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let cursor =
            Cursor { left: code.i32_local(), right: code.i32_local(), output: code.i32_local() };
        code.point(cursor.left, places.inputs[0]);
        code.point(cursor.right, places.inputs[1]);
        code.point(cursor.output, places.outputs[0]);
        let width = 4 * self.tile().vectors;
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

    fn problem(&self) -> Option<String> {
        let Self { batch, m, k, n, .. } = self;
        Some(format!("matmul {batch} of {m}x{k} by {n}"))
    }

    fn candidates(&self) -> Vec<String> {
        let forms = Form::candidates_of_product(self.m, self.k, self.n);
        forms.into_iter().map(|form| format!("matmul {}", form.describe())).collect()
    }

    fn choose(&mut self, kernel: &str) -> bool {
        let mut forms = Form::candidates_of_product(self.m, self.k, self.n).into_iter();
        self.form = forms.find(|form| kernel == format!("matmul {}", form.describe()));
        self.form.is_some()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MatMul {
    /// Emits all rows of one panel of `width` columns, and moves on to the next.
    fn emit_panel(&self, code: &mut Code, cursor: Cursor, width: usize) {
        let rows = self.tile().rows;
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
        let mut sums = Sums::zero(code, Numbers::Reals, Form { rows, vectors });
        let operands = (cursor.left, cursor.right);
        product::add_products(code, &mut sums, self.k, operands, 4 * self.n);
        product::store_sums(code, sums, cursor.output, self.n, width, &self.then);
        code.advance(cursor.left, (4 * rows * self.k) as i64);
        code.advance(cursor.output, (4 * rows * self.n) as i64);
    }
}
