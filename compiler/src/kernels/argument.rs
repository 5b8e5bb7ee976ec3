//! The `argument` kernel: the index of the largest or smallest element along one
//! axis, as I64.

use std::any::Any;

use wasm_encoder::{Instruction as I, ValType};

use super::rows::Rows;
use crate::emit::code::{Code, Local, at};
use crate::schedule::{Kernel, Places};

/// `out = argmax(in)` or `argmin(in)`, of `f32`.
#[derive(Clone, Debug)]
pub struct Argument {
    /// The tensor.
    pub rows: Rows,
    /// Of the largest element, or of the smallest.
    pub largest: bool,
    /// Of several such elements the last one, or the first.
    pub last: bool,
}

impl Kernel for Argument {
    fn describe(&self) -> String {
        if self.largest { "argmax".into() } else { "argmin".into() }
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        let Rows { outer, axis, inner } = self.rows;
        code.repeat(outer, |code| {
            code.repeat(inner, |code| {
                self.emit_row(code, from, to);
                code.advance(from, 4);
                code.advance(to, 8);
            });
            code.advance(from, 4 * (axis as i64 - 1) * inner as i64);
        });
        code.release([from, to]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Argument {
    /// Emits one row. A NaN is never better than what was found before it.
    fn emit_row(&self, code: &mut Code, from: Local, to: Local) {
        let (best, value) = (code.local(ValType::F32), code.local(ValType::F32));
        let (best_at, index) = (code.local(ValType::I64), code.local(ValType::I64));
        let pointer = code.i32_local();
        code.copy(pointer, from);
        code.get(pointer).op(I::F32Load(at(0, 0))).set(best);
        code.op(I::I64Const(0)).tee(best_at).set(index);
        code.repeat(self.rows.axis - 1, |code| {
            code.advance(pointer, 4 * self.rows.inner as i64);
            code.get(index).op(I::I64Const(1)).op(I::I64Add).set(index);
            code.get(pointer).op(I::F32Load(at(0, 0))).set(value);
            let is_better = code.i32_local();
            code.get(value).get(best);
            code.op(match (self.largest, self.last) {
                (true, false) => I::F32Gt,
                (true, true) => I::F32Ge,
                (false, false) => I::F32Lt,
                (false, true) => I::F32Le,
            });
            code.set(is_better);
            code.get(value).get(best).get(is_better).op(I::Select).set(best);
            code.get(index).get(best_at).get(is_better).op(I::Select).set(best_at);
            code.release([is_better]);
        });
        code.get(to).get(best_at).op(I::I64Store(at(0, 0)));
        code.release([best, value, best_at, index, pointer]);
    }
}
