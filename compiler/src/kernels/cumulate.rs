//! The `cumulate` kernel: sums of all elements up to each, along one axis.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::rows::Rows;
use crate::emit::code::{Code, at};
use crate::schedule::{Kernel, Places};

/// `out[x] = in[0] + ... + in[x]` of each row.
#[derive(Clone, Debug)]
pub struct Cumulate {
    /// The tensor.
    pub rows: Rows,
    /// The type of its elements: F32, F64, I32 or I64.
    pub dtype: DType,
    /// Whether an element itself is left out of its sum.
    pub exclusive: bool,
    /// Whether sums begin with the last element.
    pub reverse: bool,
}

impl Cumulate {
    /// The types that can be summed.
    pub fn supports(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64)
    }
}

impl Kernel for Cumulate {
    fn describe(&self) -> String {
        "cumulative sum".into()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let memarg = at(0, 0);
        let (kind, load, store, add) = match self.dtype {
            DType::F32 => (ValType::F32, I::F32Load(memarg), I::F32Store(memarg), I::F32Add),
            DType::F64 => (ValType::F64, I::F64Load(memarg), I::F64Store(memarg), I::F64Add),
            DType::I32 => (ValType::I32, I::I32Load(memarg), I::I32Store(memarg), I::I32Add),
            _ => (ValType::I64, I::I64Load(memarg), I::I64Store(memarg), I::I64Add),
        };
        let Rows { outer, axis, inner } = self.rows;
        let size = self.dtype.size_bytes() as i64;
        let row = size * inner as i64;
        let last = (axis as i64 - 1) * row;
        let (first, step) = if self.reverse { (last, -row) } else { (0, row) };
        let (from, to) = (code.i32_local(), code.i32_local());
        let (sum, value) = (code.local(kind), code.local(kind));
        code.point(from, places.inputs[0].plus(first as u32));
        code.point(to, places.outputs[0].plus(first as u32));
        code.repeat(outer, |code| {
            code.repeat(inner, |code| {
                match kind {
                    ValType::F32 => code.op(I::F32Const(0.0.into())),
                    ValType::F64 => code.op(I::F64Const(0.0.into())),
                    ValType::I32 => code.op(I::I32Const(0)),
                    _ => code.op(I::I64Const(0)),
                };
                code.set(sum);
                code.repeat(axis, |code| {
                    code.get(from).op(load.clone()).set(value);
                    if self.exclusive {
                        code.get(to).get(sum).op(store.clone());
                    }
                    code.get(sum).get(value).op(add.clone()).set(sum);
                    if !self.exclusive {
                        code.get(to).get(sum).op(store.clone());
                    }
                    code.advance(from, step);
                    code.advance(to, step);
                });
                for pointer in [from, to] {
                    code.advance(pointer, size - step * axis as i64);
                }
            });
            for pointer in [from, to] {
                code.advance(pointer, last);
            }
        });
        code.release([from, to, sum, value]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
