//! Numbers of any type as integers that are ordered as they are: what is compared
//! when elements are sorted. NaN is above all numbers, and -0 is 0.

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::integers;
use crate::emit::code::Code;

/// Replaces an address by the key, an `i64`, of the element there.
pub fn load(code: &mut Code, dtype: DType) {
    let (bits_type, width, infinity, nan) = match dtype {
        DType::F16 => (DType::I16, 16, 0x7c00, 0x7e00),
        DType::F32 => (DType::I32, 32, 0x7f80_0000, 0x7fc0_0000),
        DType::F64 => (DType::I64, 64, 0x7ff0_0000_0000_0000, 0x7ff8_0000_0000_0000),
        DType::U64 => {
            integers::load(code, dtype);
            code.op(I::I64Const(i64::MIN)).op(I::I64Xor);
            return;
        }
        DType::U32 => {
            // As wide as the others of 32 bits.
            integers::load(code, dtype);
            code.op(I::I64Const(1 << 31)).op(I::I64Sub);
            return;
        }
        _ => return integers::load(code, dtype),
    };
    let (bits, magnitude) = (code.local(ValType::I64), code.local(ValType::I64));
    integers::load(code, bits_type);
    let mask = i64::MAX >> (64 - width);
    // Of a negative number, the magnitude's bits inverted.
    code.tee(bits).op(I::I64Const(mask)).op(I::I64And).set(magnitude);
    code.op(I::I64Const(nan)).op(I::I64Const(0));
    code.get(bits).get(bits).op(I::I64Const(63)).op(I::I64ShrS).op(I::I64Const(mask));
    code.op(I::I64And).op(I::I64Xor);
    code.get(magnitude).op(I::I64Eqz).op(I::Select);
    // The stack has the NaN, and 0 or the key: of `select` the first where the
    // condition holds.
    code.get(magnitude).op(I::I64Const(infinity)).op(I::I64GtS).op(I::Select);
    code.release([bits, magnitude]);
}
