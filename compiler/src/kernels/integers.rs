//! The `integers` kernel: an element-wise function of integers of any width,
//! computed in `i64`, one element at a time. Results wrap to the output's width.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::map::{Operand, Walk};
use crate::emit::code::{Code, Local, at};
use crate::emit::nest;
use crate::schedule::{Kernel, Places};

/// A function of integers. A truth value is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The operand itself, in another type.
    Cast,
    /// `-a`
    Neg,
    /// `|a|`
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// 1 where it is 0, else 0.
    Not,
    /// 0 where it is 0, else 1.
    IsNotZero,
    /// All bits inverted.
    BitNot,
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`, towards zero; 0 where `b` is 0.
    Div,
    /// What remains of `a` after `a / b`; `a` where `b` is 0.
    Rem,
    /// `a` to the power of `b`; of a negative `b`, whose power is none, of its bits.
    Pow,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// Bits set in both.
    BitAnd,
    /// Bits set in either.
    BitOr,
    /// Bits set in just one.
    BitXor,
    /// `a` shifted to higher bits; by less than 0 or more than there are, to 0.
    ShiftLeft,
    /// `a` shifted to lower bits; by less than 0 or more than there are, to its
    /// sign.
    ShiftRight,
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
    /// `b` where `a` is not 0, else `c`.
    Select,
}

/// `out[i] = function(operand_0[i], ...)`.
#[derive(Clone, Debug)]
pub struct Integers {
    /// The shape of the output.
    pub shape: Vec<usize>,
    /// What is read: integers, BOOL, and FP32, which is truncated and saturated.
    pub operands: Vec<Operand>,
    /// What is done.
    pub function: Function,
    /// The type of the output: of the same ones, BOOL where the function gives a
    /// truth value.
    pub output: DType,
}

impl Integers {
    /// The types that are read and written.
    pub fn supports(dtype: DType) -> bool {
        use DType::*;
        matches!(dtype, F32 | I64 | U64 | I32 | U32 | I16 | U16 | I8 | U8 | Bool)
    }
}

impl Kernel for Integers {
    fn describe(&self) -> String {
        format!("integers {:?}", self.function).to_lowercase()
    }

    fn overwrites(&self, input: usize) -> bool {
        self.operands[input].may_be_overwritten(self.output, &self.shape)
    }

    fn skipped_bytes(&self, input: usize) -> usize {
        self.operands[input].skipped_bytes()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Walk { dims, pointers, sizes } =
            Walk::start(code, places, &self.shape, self.output, &self.operands);
        let values: Vec<Local> = self.operands.iter().map(|_| code.local(ValType::I64)).collect();
        nest::emit_loops(code, &dims, &pointers, &sizes, &mut |code| {
            for ((operand, &pointer), &value) in
                self.operands.iter().zip(&pointers[1..]).zip(&values)
            {
                code.get(pointer);
                match (operand.dtype, self.output) {
                    (DType::F32, DType::U64) => {
                        code.op(I::F32Load(at(0, 0))).op(I::I64TruncSatF32U);
                    }
                    _ => load(code, operand.dtype),
                }
                code.set(value);
            }
            code.get(pointers[0]);
            emit_function(code, self.function, &values, self.is_unsigned());
            match (self.operands[0].dtype, self.output) {
                (DType::U64, DType::F32) => {
                    code.op(I::F32ConvertI64U).op(I::F32Store(at(0, 0)));
                }
                _ => store(code, self.output),
            }
        });
        code.release(values);
        code.release(pointers);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Replaces an address by the `i64` there.
pub fn load(code: &mut Code, dtype: DType) {
    let memarg = at(0, 0);
    match dtype {
        DType::I64 => code.op(I::I64Load(memarg)),
        DType::U64 => code.op(I::I64Load(memarg)),
        DType::I32 => code.op(I::I64Load32S(memarg)),
        DType::U32 => code.op(I::I64Load32U(memarg)),
        DType::I16 => code.op(I::I64Load16S(memarg)),
        DType::U16 => code.op(I::I64Load16U(memarg)),
        DType::I8 => code.op(I::I64Load8S(memarg)),
        DType::U8 | DType::Bool => code.op(I::I64Load8U(memarg)),
        DType::F32 => code.op(I::F32Load(memarg)).op(I::I64TruncSatF32S),
        _ => unreachable!("integers are not read from {dtype}: see Integers::supports"),
    };
}

/// Pops an `i64` and stores it at the address below it.
pub fn store(code: &mut Code, dtype: DType) {
    let memarg = at(0, 0);
    match dtype {
        DType::I64 | DType::U64 => code.op(I::I64Store(memarg)),
        DType::I32 | DType::U32 => code.op(I::I64Store32(memarg)),
        DType::I16 | DType::U16 => code.op(I::I64Store16(memarg)),
        DType::I8 | DType::U8 | DType::Bool => code.op(I::I64Store8(memarg)),
        DType::F32 => code.op(I::F32ConvertI64S).op(I::F32Store(memarg)),
        _ => unreachable!("integers are not written as {dtype}: see Integers::supports"),
    };
}

impl Integers {
    /// Whether the order of numbers is that of `u64`. All narrower types fit `i64`.
    fn is_unsigned(&self) -> bool {
        self.operands.iter().any(|operand| operand.dtype == DType::U64)
    }
}

/// Pushes the function of these values.
fn emit_function(code: &mut Code, function: Function, values: &[Local], unsigned: bool) {
    let order = |signed: I<'static>, of_unsigned: I<'static>| match unsigned {
        true => of_unsigned,
        false => signed,
    };
    let a = values[0];
    let simple = |code: &mut Code, operator: I<'static>| {
        code.get(a).get(values[1]).op(operator);
    };
    let truth = |code: &mut Code, operator: I<'static>| {
        code.get(a).get(values[1]).op(operator).op(I::I64ExtendI32U);
    };
    // `a` where the comparison holds, else `b`.
    let pick = |code: &mut Code, operator: I<'static>| {
        code.get(a).get(values[1]).get(a).get(values[1]).op(operator).op(I::Select);
    };
    match function {
        Function::Cast => {
            code.get(a);
        }
        Function::Neg => {
            code.op(I::I64Const(0)).get(a).op(I::I64Sub);
        }
        Function::Abs if unsigned => drop(code.get(a)),
        Function::Abs => {
            code.op(I::I64Const(0)).get(a).op(I::I64Sub).get(a);
            code.get(a).op(I::I64Const(0)).op(I::I64LtS).op(I::Select);
        }
        Function::Sign if unsigned => {
            code.get(a).op(I::I64Const(0)).op(I::I64Ne).op(I::I64ExtendI32U);
        }
        Function::Sign => {
            code.get(a).op(I::I64Const(0)).op(I::I64GtS);
            code.get(a).op(I::I64Const(0)).op(I::I64LtS).op(I::I32Sub).op(I::I64ExtendI32S);
        }
        Function::Not => {
            code.get(a).op(I::I64Eqz).op(I::I64ExtendI32U);
        }
        Function::IsNotZero => {
            code.get(a).op(I::I64Const(0)).op(I::I64Ne).op(I::I64ExtendI32U);
        }
        Function::BitNot => {
            code.get(a).op(I::I64Const(-1)).op(I::I64Xor);
        }
        Function::Add => simple(code, I::I64Add),
        Function::Sub => simple(code, I::I64Sub),
        Function::Mul => simple(code, I::I64Mul),
        Function::Div if unsigned => divide_unsigned(code, a, values[1]),
        Function::Div => divide(code, a, values[1]),
        Function::Rem => {
            code.get(a);
            match unsigned {
                true => divide_unsigned(code, a, values[1]),
                false => divide(code, a, values[1]),
            }
            code.get(values[1]).op(I::I64Mul).op(I::I64Sub);
        }
        Function::Pow => power(code, a, values[1]),
        Function::Min => pick(code, order(I::I64LtS, I::I64LtU)),
        Function::Max => pick(code, order(I::I64GtS, I::I64GtU)),
        Function::BitAnd => simple(code, I::I64And),
        Function::BitOr => simple(code, I::I64Or),
        Function::BitXor => simple(code, I::I64Xor),
        Function::ShiftLeft => {
            code.get(a).get(values[1]).op(I::I64Shl).op(I::I64Const(0));
            code.get(values[1]).op(I::I64Const(64)).op(I::I64LtU).op(I::Select);
        }
        Function::ShiftRight if unsigned => {
            code.get(a).get(values[1]).op(I::I64ShrU).op(I::I64Const(0));
            code.get(values[1]).op(I::I64Const(64)).op(I::I64LtU).op(I::Select);
        }
        Function::ShiftRight => {
            code.get(a).get(values[1]).op(I::I64Const(63));
            code.get(values[1]).op(I::I64Const(63)).op(I::I64LtU).op(I::Select).op(I::I64ShrS);
        }
        Function::Eq => truth(code, I::I64Eq),
        Function::Ne => truth(code, I::I64Ne),
        Function::Lt => truth(code, order(I::I64LtS, I::I64LtU)),
        Function::Le => truth(code, order(I::I64LeS, I::I64LeU)),
        Function::Gt => truth(code, order(I::I64GtS, I::I64GtU)),
        Function::Ge => truth(code, order(I::I64GeS, I::I64GeU)),
        Function::Select => {
            code.get(values[1]).get(values[2]);
            code.get(a).op(I::I64Const(0)).op(I::I64Ne).op(I::Select);
        }
    }
}

/// Pushes `a / b` without a trap: the engine has one for a division by 0 and for
/// the one that overflows, of the smallest number by -1.
fn divide(code: &mut Code, a: Local, b: Local) {
    let is = |code: &mut Code, value: i64| {
        code.get(b).op(I::I64Const(value)).op(I::I64Eq);
    };
    code.op(I::I64Const(0)).op(I::I64Const(0)).get(a).op(I::I64Sub);
    code.get(a).op(I::I64Const(1)).get(b);
    is(code, 0);
    is(code, -1);
    code.op(I::I32Or).op(I::Select).op(I::I64DivS);
    is(code, -1);
    code.op(I::Select);
    is(code, 0);
    code.op(I::Select);
}

/// Pushes `a / b` of unsigned numbers, 0 where `b` is 0.
fn divide_unsigned(code: &mut Code, a: Local, b: Local) {
    let is_zero = |code: &mut Code| {
        code.get(b).op(I::I64Eqz);
    };
    code.op(I::I64Const(0)).get(a).op(I::I64Const(1)).get(b);
    is_zero(code);
    code.op(I::Select).op(I::I64DivU);
    is_zero(code);
    code.op(I::Select);
}

/// Pushes `a` to the power of `b`, by squaring, bit by bit.
fn power(code: &mut Code, a: Local, b: Local) {
    let [result, square, rest] = std::array::from_fn(|_| code.local(ValType::I64));
    code.op(I::I64Const(1)).set(result);
    code.copy(square, a);
    code.copy(rest, b);
    code.repeat(64, |code| {
        code.get(result).get(square).op(I::I64Mul).get(result);
        code.get(rest).op(I::I64Const(1)).op(I::I64And).op(I::I32WrapI64);
        code.op(I::Select).set(result);
        code.get(square).get(square).op(I::I64Mul).set(square);
        code.get(rest).op(I::I64Const(1)).op(I::I64ShrU).set(rest);
    });
    code.get(result);
    code.release([result, square, rest]);
}
