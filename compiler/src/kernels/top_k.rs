//! The `top k` kernel: the largest or smallest elements along one axis, in order,
//! and their indices, of equal ones the first first.
//!
//! Of few, each is the next one in order, found in a pass over the row. Of many, the
//! row is sorted by a bitonic network (K. Batcher, "Sorting networks and their
//! applications", 1968). Either way the work does not depend on the elements.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::keys;
use super::rows::Rows;
use crate::emit::code::{Address, Code, Local, at};
use crate::schedule::{Kernel, Places};

/// The first output has the elements, the second their indices, as I64.
#[derive(Clone, Debug)]
pub struct TopK {
    /// The tensor.
    pub rows: Rows,
    /// The type of its elements.
    pub dtype: DType,
    /// How many are wanted, at most as many as there are.
    pub k: usize,
    /// The largest ones, or the smallest.
    pub largest: bool,
}

/// Operators for one element of one pass, and for one comparison of the network.
const PASS: usize = 24;
const EXCHANGE: usize = 20;

impl TopK {
    /// The size of the network; `None` where passes are cheaper, or a key and an
    /// index do not fit 64 bits.
    fn network(&self) -> Option<usize> {
        let size = self.rows.axis.next_power_of_two().max(2);
        let levels = size.ilog2() as usize;
        let cheaper = self.k * self.rows.axis * PASS > size * levels * (levels + 1) / 4 * EXCHANGE;
        (self.dtype.size_bytes() <= 4 && cheaper).then_some(size)
    }

    fn keys(&self) -> usize {
        self.network().unwrap_or(self.rows.axis)
    }
}

impl Kernel for TopK {
    fn describe(&self) -> String {
        match self.network() {
            Some(size) => format!("top k, network of {size}"),
            None => format!("top k, {} passes", self.k),
        }
    }

    fn scratch_bytes(&self) -> usize {
        8 * self.keys()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Rows { outer, axis, inner } = self.rows;
        let size = self.dtype.size_bytes();
        let [from, values, indices] = std::array::from_fn(|_| code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(values, places.outputs[0]);
        code.point(indices, places.outputs[1]);
        code.repeat(outer, |code| {
            code.repeat(inner, |code| {
                self.emit_keys(code, from, places.scratch);
                match self.network() {
                    Some(size) => {
                        sort(code, places.scratch, size);
                        self.emit_sorted(code, [from, values, indices], places.scratch);
                    }
                    None => self.emit_passes(code, [from, values, indices], places.scratch),
                }
                code.advance(from, size as i64);
                code.advance(values, size as i64);
                code.advance(indices, 8);
            });
            code.advance(from, ((axis - 1) * inner * size) as i64);
            code.advance(values, ((self.k - 1) * inner * size) as i64);
            code.advance(indices, ((self.k - 1) * inner * 8) as i64);
        });
        code.release([from, values, indices]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl TopK {
    /// Writes the keys of a row, smallest wanted first; with the index in their low
    /// half where they are sorted.
    fn emit_keys(&self, code: &mut Code, row: Local, scratch: Address) {
        let Rows { axis, inner, .. } = self.rows;
        let network = self.network();
        let (from, to, index) = (code.i32_local(), code.i32_local(), code.local(ValType::I64));
        code.copy(from, row);
        code.point(to, scratch);
        code.op(I::I64Const(0)).set(index);
        code.repeat(axis, |code| {
            code.get(to).get(from);
            keys::load(code, self.dtype);
            if self.largest {
                code.op(I::I64Const(-1)).op(I::I64Xor);
            }
            if network.is_some() {
                code.op(I::I64Const(32)).op(I::I64Shl).get(index).op(I::I64Or);
                code.get(index).op(I::I64Const(1)).op(I::I64Add).set(index);
            }
            code.op(I::I64Store(at(0, 0)));
            code.advance(to, 8);
            code.advance(from, (inner * self.dtype.size_bytes()) as i64);
        });
        code.repeat(self.keys() - axis, |code| {
            code.get(to).op(I::I64Const(i64::MAX)).op(I::I64Store(at(0, 0)));
            code.advance(to, 8);
        });
        code.release([from, to, index]);
    }

    /// Each pass finds the first key that comes after what the pass before found.
    fn emit_passes(&self, code: &mut Code, [row, values, indices]: [Local; 3], scratch: Address) {
        let [best, last, key] = std::array::from_fn(|_| code.local(ValType::I64));
        let [best_at, last_at, index, from, value, out] = std::array::from_fn(|_| code.i32_local());
        code.op(I::I64Const(i64::MIN)).set(last);
        code.i32(u32::MAX).set(last_at);
        code.copy(value, values);
        code.copy(out, indices);
        code.repeat(self.k, |code| {
            code.op(I::I64Const(i64::MAX)).set(best);
            code.i32(u32::MAX).set(best_at);
            code.i32(0).set(index);
            code.point(from, scratch);
            code.repeat(self.rows.axis, |code| {
                let is_better = code.i32_local();
                code.get(from).op(I::I64Load(at(0, 0))).set(key);
                // After the last one, and before the best one or the first at all.
                code.get(key).get(last).op(I::I64GtS);
                code.get(key).get(last).op(I::I64Eq);
                code.get(index).get(last_at).op(I::I32GtS).op(I::I32And).op(I::I32Or);
                code.get(key).get(best).op(I::I64LtS);
                code.get(best_at).i32(u32::MAX).op(I::I32Eq).op(I::I32Or);
                code.op(I::I32And).set(is_better);
                code.get(key).get(best).get(is_better).op(I::Select).set(best);
                code.get(index).get(best_at).get(is_better).op(I::Select).set(best_at);
                code.advance(index, 1);
                code.advance(from, 8);
                code.release([is_better]);
            });
            self.emit_element(code, row, best_at, value, out);
            code.copy(last_at, best_at);
            code.get(best).set(last);
        });
        code.release([best, last, key, best_at, last_at, index, from, value, out]);
    }

    fn emit_sorted(&self, code: &mut Code, [row, values, indices]: [Local; 3], scratch: Address) {
        let [index, from, value, out] = std::array::from_fn(|_| code.i32_local());
        code.copy(value, values);
        code.copy(out, indices);
        code.point(from, scratch);
        code.repeat(self.k, |code| {
            code.get(from).op(I::I32Load(at(0, 0))).set(index);
            self.emit_element(code, row, index, value, out);
            code.advance(from, 8);
        });
        code.release([index, from, value, out]);
    }

    /// Writes the element of a row with an index, and the index, and moves on.
    fn emit_element(&self, code: &mut Code, row: Local, index: Local, value: Local, out: Local) {
        let (memarg, size) = (at(0, 0), self.dtype.size_bytes());
        let step = self.rows.inner * size;
        code.get(out).get(index).op(I::I64ExtendI32U).op(I::I64Store(memarg));
        code.get(value);
        code.get(index).i32(step as u32).op(I::I32Mul).get(row).op(I::I32Add);
        match size {
            1 => code.op(I::I32Load8U(memarg)).op(I::I32Store8(memarg)),
            2 => code.op(I::I32Load16U(memarg)).op(I::I32Store16(memarg)),
            4 => code.op(I::I32Load(memarg)).op(I::I32Store(memarg)),
            _ => code.op(I::I64Load(memarg)).op(I::I64Store(memarg)),
        };
        code.advance(value, step as i64);
        code.advance(out, (self.rows.inner * 8) as i64);
    }
}

/// Emits a bitonic network that sorts `size` keys, a power of two, in ascending
/// order. The first step of each merge compares mirrored places, so that all others
/// point the same way.
fn sort(code: &mut Code, keys: Address, size: usize) {
    let (low, high) = (code.i32_local(), code.i32_local());
    let mut merged = 2;
    while merged <= size {
        code.point(low, keys);
        code.point(high, keys.plus(8 * (merged as u32 - 1)));
        code.repeat(size / merged, |code| {
            code.repeat(merged / 2, |code| {
                exchange(code, low, high);
                code.advance(low, 8);
                code.advance(high, -8);
            });
            code.advance(low, 4 * merged as i64);
            code.advance(high, 12 * merged as i64);
        });
        let mut distance = merged / 4;
        while distance > 0 {
            code.point(low, keys);
            code.point(high, keys.plus(8 * distance as u32));
            code.repeat(size / (2 * distance), |code| {
                code.repeat(distance, |code| {
                    exchange(code, low, high);
                    code.advance(low, 8);
                    code.advance(high, 8);
                });
                code.advance(low, 8 * distance as i64);
                code.advance(high, 8 * distance as i64);
            });
            distance /= 2;
        }
        merged *= 2;
    }
    code.release([low, high]);
}

/// Puts the smaller of two keys at `low`.
fn exchange(code: &mut Code, low: Local, high: Local) {
    let (a, b) = (code.local(ValType::I64), code.local(ValType::I64));
    let is_ordered = code.i32_local();
    code.get(low).op(I::I64Load(at(0, 0))).set(a);
    code.get(high).op(I::I64Load(at(0, 0))).set(b);
    code.get(a).get(b).op(I::I64LtS).set(is_ordered);
    code.get(low).get(a).get(b).get(is_ordered).op(I::Select).op(I::I64Store(at(0, 0)));
    code.get(high).get(b).get(a).get(is_ordered).op(I::Select).op(I::I64Store(at(0, 0)));
    code.release([a, b, is_ordered]);
}
