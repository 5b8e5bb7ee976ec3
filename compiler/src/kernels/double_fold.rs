//! The `double fold` kernel: sums, products and extremes of `f64` along one axis.

use std::any::Any;

use wasm_encoder::{Instruction as I, ValType};

use super::rows::{Fold, Rows};
use crate::emit::code::{Code, at};
use crate::schedule::{Kernel, Places};

/// `out = fold(in) * scale` of each row.
#[derive(Clone, Debug)]
pub struct DoubleFold {
    /// The tensor.
    pub rows: Rows,
    /// What is accumulated.
    pub fold: Fold,
    /// What the result is multiplied by.
    pub scale: f64,
}

impl Kernel for DoubleFold {
    fn describe(&self) -> String {
        format!("reduce f64 {:?}", self.fold).to_lowercase()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Rows { outer, axis, inner } = self.rows;
        let row = 8 * inner as i64;
        let (from, to) = (code.i32_local(), code.i32_local());
        let (result, value) = (code.local(ValType::F64), code.local(ValType::F64));
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        let load = |code: &mut Code| {
            code.get(from).op(I::F64Load(at(0, 0)));
            if self.fold == Fold::SumOfSquares {
                code.tee(value).get(value).op(I::F64Mul);
            }
        };
        code.repeat(outer, |code| {
            code.repeat(inner, |code| {
                load(code);
                code.set(result);
                code.repeat(axis - 1, |code| {
                    code.advance(from, row);
                    code.get(result);
                    load(code);
                    code.op(match self.fold {
                        Fold::Product => I::F64Mul,
                        Fold::Max => I::F64Max,
                        Fold::Min => I::F64Min,
                        Fold::Sum | Fold::SumOfSquares => I::F64Add,
                    });
                    code.set(result);
                });
                code.get(to).get(result);
                if self.scale != 1.0 {
                    code.op(I::F64Const(self.scale.into())).op(I::F64Mul);
                }
                code.op(I::F64Store(at(0, 0)));
                code.advance(to, 8);
                code.advance(from, 8 - (axis as i64 - 1) * row);
            });
            code.advance(from, (axis as i64 - 1) * row);
        });
        code.release([from, to, result, value]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
