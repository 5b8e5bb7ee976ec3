//! The products of transformed pixels and weights: for each point a product of
//! matrices over the channels.

use crate::emit::code::{Code, Local};
use crate::kernels::product::{Form, Numbers, Sums};

/// The products of some groups of tiles and output channels, for all points. Sizes
/// are those of elements of 4 bytes: numbers, or pairs of them.
pub struct Products {
    /// What is multiplied.
    pub numbers: Numbers,
    /// The number of points.
    pub points: usize,
    /// Elements of the inner dimension.
    pub steps: usize,
    /// Output channels.
    pub outputs: usize,
    /// Vectors of transformed pixels.
    pub vectors: usize,
    /// The form of the register tile.
    pub form: Form,
    /// From one row of pixels, and of products, to the next.
    pub row_bytes: usize,
    /// From one point's transformed pixels to the next one's.
    pub pixels_bytes: usize,
    /// From one point's products to the next one's.
    pub products_bytes: usize,
    /// From one point's transformed weights to the next one's.
    pub weights_bytes: usize,
}

/// Where they are.
#[derive(Clone, Copy)]
pub struct Pointers {
    /// Transformed pixels.
    pub pixels: Local,
    /// Products.
    pub products: Local,
    /// Transformed weights, those of each register tile together.
    pub weights: Local,
}

impl Products {
    /// Emits them. The pointers move past all points.
    pub fn emit(&self, code: &mut Code, pointers: Pointers) {
        let &Self { outputs, vectors: all, row_bytes, .. } = self;
        let Form { rows, vectors } = self.form;
        let emit_rows = |code: &mut Code, rows: usize| {
            code.repeat(all / vectors, |code| self.emit_tile(code, pointers, rows, vectors));
            if !all.is_multiple_of(vectors) {
                self.emit_tile(code, pointers, rows, all % vectors);
            }
            code.advance(pointers.pixels, -16 * all as i64);
            code.advance(pointers.products, (rows * row_bytes) as i64 - 16 * all as i64);
            code.advance(pointers.weights, (4 * rows * self.steps) as i64);
        };
        code.repeat(self.points, |code| {
            code.repeat(outputs / rows, |code| emit_rows(code, rows));
            if !outputs.is_multiple_of(rows) {
                emit_rows(code, outputs % rows);
            }
            code.advance(pointers.pixels, self.pixels_bytes as i64);
            let gap = self.products_bytes - outputs * row_bytes;
            code.advance(pointers.products, gap as i64);
            let gap = self.weights_bytes - 4 * outputs * self.steps;
            code.advance(pointers.weights, gap as i64);
        });
    }

    /// Emits one register tile of products of one point, and moves on to the next
    /// pixels.
    fn emit_tile(&self, code: &mut Code, pointers: Pointers, rows: usize, vectors: usize) {
        let row_bytes = self.row_bytes;
        let mut sums = Sums::zero(code, self.numbers, Form { rows, vectors });
        let (pixel, weight) = (code.i32_local(), code.i32_local());
        code.copy(pixel, pointers.pixels);
        code.copy(weight, pointers.weights);
        sums.add_steps(code, (self.steps, 1), weight, |code, sums, steps| {
            for step in 0..steps {
                sums.add_step(
                    code,
                    |code, row| {
                        code.load_splat(weight, 4 * (step * rows + row) as u64);
                    },
                    |code, v| {
                        code.load(pixel, (step * row_bytes + 16 * v) as u64);
                    },
                );
            }
            code.advance(pixel, (steps * row_bytes) as i64);
            code.advance(weight, (4 * steps * rows) as i64);
        });
        let sums = sums.into_rows(code);
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                code.store_lanes(pointers.products, (row * row_bytes + 16 * v) as u64, sum, 4);
            }
        }
        code.advance(pointers.pixels, 16 * vectors as i64);
        code.advance(pointers.products, 16 * vectors as i64);
        code.release([pixel, weight]);
        code.release(sums.into_iter().flatten());
    }
}
