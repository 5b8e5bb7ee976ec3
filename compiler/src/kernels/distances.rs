//! The `distances` kernel: squared distances of rows to constant points, four
//! points to a vector, several vectors in registers.

use std::any::Any;

use wasm_encoder::Instruction as I;

use crate::emit::code::{Address, Code, Local};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

/// Vectors of points whose distances are summed at a time.
const VECTORS: usize = 6;
/// Features that one iteration of the inner loop takes.
const UNROLL: usize = 4;

/// `out[row][point] = then(sum((in[row][i] - points[point][i])^2))`
#[derive(Clone, Debug)]
pub struct Distances {
    /// The number of rows.
    pub rows: usize,
    /// The number of features of a row.
    pub features: usize,
    /// The points, one after the other.
    pub points: Vec<f32>,
    /// What is done with a distance.
    pub then: Expr,
}

impl Distances {
    fn count(&self) -> usize {
        self.points.len() / self.features
    }

    /// The first point of each panel, and its number of points.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.count();
        (0..count).step_by(4 * VECTORS).map(move |first| (first, (count - first).min(4 * VECTORS)))
    }

    /// Emits the rows' distances to one panel of points. Moves on to the next panel.
    fn emit_panel(
        &self,
        code: &mut Code,
        input: Address,
        (weights, out): (Local, Local),
        width: usize,
    ) {
        let vectors = width.div_ceil(4);
        let panel_bytes = (16 * vectors * self.features) as i64;
        let row = code.i32_local();
        code.point(row, input);
        let sums = code.v128_locals(vectors);
        let (x, difference) = (code.v128_local(), code.v128_local());
        let step = |code: &mut Code, index: usize| {
            code.load_splat(row, 4 * index as u64).set(x);
            for (v, &sum) in sums.iter().enumerate() {
                code.get(x).load(weights, (16 * (index * vectors + v)) as u64).op(I::F32x4Sub);
                code.tee(difference).get(difference).op(I::F32x4Mul);
                code.get(sum).op(I::F32x4Add).set(sum);
            }
        };
        code.repeat(self.rows, |code| {
            for &sum in &sums {
                code.splat(0.0).set(sum);
            }
            code.repeat(self.features / UNROLL, |code| {
                (0..UNROLL).for_each(|index| step(code, index));
                code.advance(row, 4 * UNROLL as i64);
                code.advance(weights, (16 * vectors * UNROLL) as i64);
            });
            let rest = self.features % UNROLL;
            (0..rest).for_each(|index| step(code, index));
            code.advance(row, 4 * rest as i64);
            code.advance(weights, (16 * vectors * rest) as i64 - panel_bytes);
            for (v, &sum) in sums.iter().enumerate() {
                self.then.apply(code, sum);
                code.store_lanes(out, 16 * v as u64, sum, (width - 4 * v).min(4));
            }
            code.advance(out, 4 * self.count() as i64);
        });
        code.advance(weights, panel_bytes);
        code.advance(out, 4 * (width as i64 - (self.rows * self.count()) as i64));
        code.release(sums);
        code.release([row, x, difference]);
    }
}

impl Kernel for Distances {
    fn describe(&self) -> String {
        format!("distances 1x{}", 4 * VECTORS.min(self.count().div_ceil(4)))
    }

    fn macs(&self) -> u64 {
        (self.rows * self.points.len()) as u64
    }

    fn weights(&self) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        for (first, width) in self.panels() {
            for feature in 0..self.features {
                for point in first..first + width.next_multiple_of(4) {
                    let number = self.points.get(point * self.features + feature);
                    bytes.extend(number.copied().unwrap_or(0.0).to_le_bytes());
                }
            }
        }
        vec![bytes]
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (weights, out) = (code.i32_local(), code.i32_local());
        code.point(weights, places.weights[0]);
        code.point(out, places.outputs[0]);
        let full = self.count() / (4 * VECTORS);
        code.repeat(full, |code| {
            self.emit_panel(code, places.inputs[0], (weights, out), 4 * VECTORS);
        });
        let rest = self.count() % (4 * VECTORS);
        if rest > 0 {
            self.emit_panel(code, places.inputs[0], (weights, out), rest);
        }
        code.release([weights, out]);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        match then {
            Fusion::Then(expr) => {
                self.then = self.then.followed_by(expr);
                true
            }
            Fusion::PerChannel { .. } => false,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
