//! The `integer fold` kernel: sums, products and extremes of integers along one
//! axis, computed in `i64`. Results wrap to the elements' width.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::integers;
use super::rows::{Fold, Rows};
use crate::emit::code::Code;
use crate::schedule::{Kernel, Places};

/// `out = fold(in)` of each row.
#[derive(Clone, Debug)]
pub struct IntegerFold {
    /// The tensor.
    pub rows: Rows,
    /// The type of its elements: an integer type or BOOL.
    pub dtype: DType,
    /// What is accumulated; the sum of squares is not.
    pub fold: Fold,
}

impl Kernel for IntegerFold {
    fn describe(&self) -> String {
        format!("integer fold {:?}", self.fold).to_lowercase()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Rows { outer, axis, inner } = self.rows;
        let size = self.dtype.size_bytes() as i64;
        let row = size * inner as i64;
        let (from, to) = (code.i32_local(), code.i32_local());
        let (result, value) = (code.local(ValType::I64), code.local(ValType::I64));
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        let (greater, less) = match self.dtype {
            DType::U64 => (I::I64GtU, I::I64LtU),
            _ => (I::I64GtS, I::I64LtS),
        };
        code.repeat(outer, |code| {
            code.repeat(inner, |code| {
                code.get(from);
                integers::load(code, self.dtype);
                code.set(result);
                code.repeat(axis - 1, |code| {
                    code.advance(from, row);
                    code.get(from);
                    integers::load(code, self.dtype);
                    code.set(value);
                    code.get(result).get(value);
                    match self.fold {
                        Fold::Product => code.op(I::I64Mul),
                        Fold::Max => code.get(result).get(value).op(greater.clone()).op(I::Select),
                        Fold::Min => code.get(result).get(value).op(less.clone()).op(I::Select),
                        Fold::Sum | Fold::SumOfSquares => code.op(I::I64Add),
                    };
                    code.set(result);
                });
                code.get(to).get(result);
                integers::store(code, self.dtype);
                code.advance(to, size);
                code.advance(from, size - (axis as i64 - 1) * row);
            });
            code.advance(from, (axis as i64 - 1) * row);
        });
        code.release([from, to, result, value]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
