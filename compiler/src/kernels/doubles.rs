//! The `doubles` kernel: an element-wise expression computed in `f64`, two elements
//! at a time, over strided operands of any type.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::integers;
use super::map::{Operand, Walk};
use crate::emit::code::{Code, Local, at};
use crate::emit::nest::{self, Dim};
use crate::emit::{half, wide};
use crate::expr::{Expr, Lanes};
use crate::schedule::{Kernel, Places};

/// `out[i] = expr(operand_0[i], operand_1[i], ...)`, in `f64`.
#[derive(Clone, Debug)]
pub struct Doubles {
    /// The shape of the output.
    pub shape: Vec<usize>,
    /// What is read, of any type but BF16.
    pub operands: Vec<Operand>,
    /// What is done, without the functions that [`crate::emit::double::has`] not.
    pub expr: Expr,
    /// The type of the output. Integers are reached by truncation and saturation,
    /// shorter reals by one rounding.
    pub output: DType,
}

impl Kernel for Doubles {
    fn describe(&self) -> String {
        format!("map f64 {} op", self.expr.nodes().len() - self.operands.len())
    }

    fn skipped_bytes(&self, input: usize) -> usize {
        self.operands[input].skipped_bytes()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Walk { mut dims, pointers, sizes } =
            Walk::start(code, places, &self.shape, self.output, &self.operands);
        let inner = dims.pop().expect("a nest has at least one dimension");
        nest::emit_loops(code, &dims, &pointers, &sizes, &mut |code| {
            let pairs = inner.size / 2;
            code.repeat(pairs, |code| {
                self.emit_vector(code, &inner, &pointers, 2);
                for (i, &pointer) in pointers.iter().enumerate() {
                    code.advance(pointer, 2 * (inner.strides[i] * sizes[i]) as i64);
                }
            });
            if inner.size % 2 == 1 {
                self.emit_vector(code, &inner, &pointers, 1);
            }
            for (i, &pointer) in pointers.iter().enumerate() {
                code.advance(pointer, -((2 * pairs * inner.strides[i] * sizes[i]) as i64));
            }
        });
        code.release(pointers);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Doubles {
    fn emit_vector(&self, code: &mut Code, inner: &Dim, pointers: &[Local], lanes: usize) {
        self.expr.emit_in(Lanes::Double, code, |code, operand| {
            let dtype = self.operands[operand].dtype;
            let step = inner.strides[operand + 1] * dtype.size_bytes();
            load(code, pointers[operand + 1], step as u64, dtype, lanes);
        });
        let value = code.v128_local();
        code.set(value);
        for lane in 0..lanes {
            let step = inner.strides[0] * self.output.size_bytes();
            store(code, pointers[0], (lane * step) as u64, self.output, value, lane as u8);
        }
        code.release([value]);
    }
}

/// Pushes `lanes` elements as `f64`, `step` bytes apart.
fn load(code: &mut Code, address: Local, step: u64, dtype: DType, lanes: usize) {
    if dtype == DType::F16 {
        code.get(address).op(I::I32Load16U(at(0, 0))).op(I::I32x4Splat);
        if lanes == 2 {
            code.get(address).op(I::I32Load16U(at(step, 0))).op(I::I32x4ReplaceLane(1));
        }
        half::widen(code);
        code.op(I::F64x2PromoteLowF32x4);
        return;
    }
    load_scalar(code, address, 0, dtype);
    code.op(I::F64x2Splat);
    if lanes == 2 && step > 0 {
        load_scalar(code, address, step, dtype);
        code.op(I::F64x2ReplaceLane(1));
    }
}

/// Pushes the element at `address + offset` as an `f64`.
fn load_scalar(code: &mut Code, address: Local, offset: u64, dtype: DType) {
    match dtype {
        DType::F64 => code.get(address).op(I::F64Load(at(offset, 0))),
        DType::F32 => code.get(address).op(I::F32Load(at(offset, 0))).op(I::F64PromoteF32),
        _ => {
            code.get(address).i32(offset as u32).op(I::I32Add);
            integers::load(code, dtype);
            code.op(match dtype {
                DType::U64 => I::F64ConvertI64U,
                _ => I::F64ConvertI64S,
            })
        }
    };
}

/// Stores one lane as `dtype` at `address + offset`.
fn store(code: &mut Code, address: Local, offset: u64, dtype: DType, value: Local, lane: u8) {
    let memarg = at(offset, 0);
    match dtype {
        DType::F64 => {
            code.get(address).get(value).op(I::V128Store64Lane { memarg, lane });
        }
        DType::F32 => {
            code.get(address).get(value).op(I::F64x2ExtractLane(lane)).op(I::F32DemoteF64);
            code.op(I::F32Store(memarg));
        }
        DType::F16 => {
            let narrow = code.v128_local();
            code.get(value);
            half::demote_to_odd(code);
            half::narrow(code);
            code.set(narrow).get(address).get(narrow);
            // Lanes of 16 bits: of each `f32` the low half.
            code.op(I::V128Store16Lane { memarg, lane: 2 * lane });
            code.release([narrow]);
        }
        _ => {
            let wide = code.local(ValType::I64);
            code.get(value);
            if let Some((least, most)) = range(dtype) {
                wide::number(code, most).op(I::F64x2PMin);
                wide::number(code, least).op(I::F64x2PMax);
            }
            code.op(I::F64x2ExtractLane(lane));
            code.op(match dtype {
                DType::U64 => I::I64TruncSatF64U,
                _ => I::I64TruncSatF64S,
            });
            code.set(wide);
            code.get(address).i32(offset as u32).op(I::I32Add).get(wide);
            integers::store(code, dtype);
            code.release([wide]);
        }
    }
}

/// The bounds of an integer that is narrower than 64 bits.
fn range(dtype: DType) -> Option<(f64, f64)> {
    match dtype {
        DType::I8 => Some((i8::MIN.into(), i8::MAX.into())),
        DType::U8 => Some((0.0, u8::MAX.into())),
        DType::I16 => Some((i16::MIN.into(), i16::MAX.into())),
        DType::U16 => Some((0.0, u16::MAX.into())),
        DType::I32 => Some((i32::MIN.into(), i32::MAX.into())),
        DType::U32 => Some((0.0, u32::MAX.into())),
        _ => None,
    }
}
