//! The `resample` kernel: along one axis of a tensor, each index of the output is
//! a weighted sum of a few of the input, the same for all others. Which ones and
//! how much is in a table.

use std::any::Any;

use wasm_encoder::Instruction as I;

use super::rows::Rows;
use crate::emit::code::{Code, Local, at};
use crate::schedule::{Kernel, Places};

/// One index of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// What the sum begins with.
    pub start: f32,
    /// Indices of the input and their weights.
    pub taps: Vec<(usize, f32)>,
}

/// `out[o][x][i] = start[x] + sum(weight * in[o][tap][i])`, in `f32`.
#[derive(Clone, Debug)]
pub struct Resample {
    /// The input, along the axis.
    pub rows: Rows,
    /// For each index of the output's axis; all with as many taps.
    pub sums: Vec<Sum>,
}

impl Resample {
    fn taps(&self) -> usize {
        self.sums[0].taps.len()
    }

    /// Bytes of the table for each index of the output.
    fn entry_bytes(&self) -> usize {
        4 + 8 * self.taps()
    }
}

impl Kernel for Resample {
    fn describe(&self) -> String {
        format!("resample {} taps", self.taps())
    }

    fn macs(&self) -> u64 {
        (self.rows.outer * self.rows.inner * self.sums.len() * self.taps()) as u64
    }

    /// For each index: the start, then for each tap its distance in bytes and its
    /// weight.
    fn weights(&self) -> Vec<Vec<u8>> {
        let mut table = Vec::new();
        for sum in &self.sums {
            table.extend(sum.start.to_le_bytes());
            for &(tap, weight) in &sum.taps {
                table.extend(((4 * tap * self.rows.inner) as u32).to_le_bytes());
                table.extend(weight.to_le_bytes());
            }
        }
        vec![table]
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (from, to, table) = (code.i32_local(), code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        code.repeat(self.rows.outer, |code| {
            code.point(table, places.weights[0]);
            code.repeat(self.sums.len(), |code| {
                self.emit_sum(code, from, to, table);
                code.advance(table, self.entry_bytes() as i64);
            });
            code.advance(from, 4 * (self.rows.axis * self.rows.inner) as i64);
        });
        code.release([from, to, table]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Resample {
    /// Emits one index of the output, and moves `to` to the next.
    fn emit_sum(&self, code: &mut Code, from: Local, to: Local, table: Local) {
        let start = code.v128_local();
        code.load_splat(table, 0).set(start);
        let mut taps = Vec::new();
        for tap in 0..self.taps() as u64 {
            let (pointer, weight) = (code.i32_local(), code.v128_local());
            code.get(table).op(I::I32Load(at(4 + 8 * tap, 0)));
            code.get(from).op(I::I32Add).set(pointer);
            code.load_splat(table, 8 + 8 * tap).set(weight);
            taps.push((pointer, weight));
        }
        let vector = |code: &mut Code, lanes: usize| {
            let value = code.v128_local();
            code.get(start);
            for &(pointer, weight) in &taps {
                code.load(pointer, 0).get(weight).op(I::F32x4Mul).op(I::F32x4Add);
            }
            code.set(value);
            code.store_lanes(to, 0, value, lanes);
            code.release([value]);
        };
        code.repeat(self.rows.inner / 4, |code| {
            vector(code, 4);
            code.advance(to, 16);
            taps.iter().for_each(|&(pointer, _)| code.advance(pointer, 16));
        });
        let rest = self.rows.inner % 4;
        if rest > 0 {
            vector(code, rest);
            code.advance(to, 4 * rest as i64);
        }
        code.release([start]);
        taps.into_iter().for_each(|(pointer, weight)| code.release([pointer, weight]));
    }
}
