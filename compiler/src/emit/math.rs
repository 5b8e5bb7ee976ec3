//! Element-wise functions on four `f32` lanes, as the same sequence of
//! operators for every input.
//!
//! The exponential and the hyperbolic tangent follow the range reductions and
//! polynomials of S. Moshier's Cephes library (`expf`, `tanhf`).

use wasm_encoder::Instruction as I;

use super::code::{Code, Local};
use crate::expr::{Binary, Unary};

/// The bits of the one NaN that may leave a stage.
pub const CANONICAL_NAN: u32 = 0x7fc0_0000;

/// Replaces the vector on the stack by `f` of it.
pub fn unary(code: &mut Code, f: Unary) {
    match f {
        Unary::Neg => {
            code.op(I::F32x4Neg);
        }
        Unary::Abs => {
            code.op(I::F32x4Abs);
        }
        Unary::Sqrt => {
            code.op(I::F32x4Sqrt);
        }
        Unary::Floor => {
            code.op(I::F32x4Floor);
        }
        Unary::Ceil => {
            code.op(I::F32x4Ceil);
        }
        Unary::RoundEven => {
            code.op(I::F32x4Nearest);
        }
        Unary::Recip => recip(code),
        Unary::Rsqrt => {
            code.op(I::F32x4Sqrt);
            recip(code);
        }
        Unary::Square => with(code, |code, x| {
            code.get(x).get(x).op(I::F32x4Mul);
        }),
        Unary::Exp => exp(code),
        Unary::Tanh => tanh(code),
        Unary::Sigmoid => sigmoid(code),
        Unary::Silu => with(code, |code, x| {
            code.get(x).get(x);
            sigmoid(code);
            code.op(I::F32x4Mul);
        }),
        Unary::HardSwish => with(code, |code, x| {
            code.get(x).get(x).splat(1.0 / 6.0).op(I::F32x4Mul).splat(0.5).op(I::F32x4Add);
            code.splat(0.0).op(I::F32x4PMax).splat(1.0).op(I::F32x4PMin).op(I::F32x4Mul);
        }),
        Unary::LeakyRelu(slope) => with(code, |code, x| {
            code.get(x).splat(slope).op(I::F32x4Mul).get(x);
            code.get(x).splat(0.0).op(I::F32x4Lt).op(I::V128Bitselect);
        }),
    }
}

/// Replaces the two vectors on the stack by `f` of them. `right_is_number`: the
/// upper one is known not to be a NaN, and is a number, not a tensor.
pub fn binary(code: &mut Code, f: Binary, right_is_number: bool) {
    code.op(match f {
        Binary::Add => I::F32x4Add,
        Binary::Sub => I::F32x4Sub,
        Binary::Mul => I::F32x4Mul,
        Binary::Div => I::F32x4Div,
        Binary::Min if right_is_number => I::F32x4PMin,
        Binary::Max if right_is_number => I::F32x4PMax,
        Binary::Min => I::F32x4Min,
        Binary::Max => I::F32x4Max,
    });
}

/// Replaces NaNs by [`CANONICAL_NAN`].
pub fn canonical_nan(code: &mut Code) {
    with(code, |code, x| {
        code.get(x).splat_bits(CANONICAL_NAN);
        code.get(x).get(x).op(I::F32x4Eq).op(I::V128Bitselect);
    });
}

/// Pops into a local for the time of `body`.
fn with(code: &mut Code, body: impl FnOnce(&mut Code, Local)) {
    let x = code.v128_local();
    code.set(x);
    body(code, x);
    code.release([x]);
}

fn recip(code: &mut Code) {
    with(code, |code, x| {
        code.splat(1.0).get(x).op(I::F32x4Div);
    });
}

/// `e^x`: `2^n * e^r` with `n` the integer nearest to `x / ln 2` and
/// `|r| <= ln 2 / 2`. Overflows to infinity, underflows gradually to zero.
fn exp(code: &mut Code) {
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // ln 2, the first part with few enough bits that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;

    with(code, |code, x| {
        // Past these bounds the result is infinity or zero; a NaN stays.
        code.get(x).splat(89.0).op(I::F32x4PMin).splat(-104.0).op(I::F32x4PMax).set(x);
        let n = code.v128_local();
        code.get(x).splat(std::f32::consts::LOG2_E).op(I::F32x4Mul).op(I::F32x4Nearest).set(n);
        let r = code.v128_local();
        code.get(x).get(n).splat(LN2_HIGH).op(I::F32x4Mul).op(I::F32x4Sub);
        code.get(n).splat(LN2_LOW).op(I::F32x4Mul).op(I::F32x4Sub).set(r);

        code.splat(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            code.get(r).op(I::F32x4Mul).splat(*coefficient).op(I::F32x4Add);
        }
        code.get(r).op(I::F32x4Mul).get(r).op(I::F32x4Mul).get(r).op(I::F32x4Add);
        code.splat(1.0).op(I::F32x4Add);

        // 2^n in two halves, as n itself may be beyond the exponent's range.
        code.get(n).op(I::I32x4TruncSatF32x4S).set(n);
        let half = r;
        code.get(n).i32(1).op(I::I32x4ShrS).set(half);
        code.get(half);
        power_of_two(code);
        code.op(I::F32x4Mul);
        code.get(n).get(half).op(I::I32x4Sub);
        power_of_two(code);
        code.op(I::F32x4Mul);
        code.release([n, r]);
    });
}

/// `2^n` of the integers on the stack, from -126 to 127.
fn power_of_two(code: &mut Code) {
    code.splat_bits(127).op(I::I32x4Add).i32(23).op(I::I32x4Shl);
}

fn sigmoid(code: &mut Code) {
    code.op(I::F32x4Neg);
    exp(code);
    code.splat(1.0).op(I::F32x4Add);
    recip(code);
}

/// A polynomial in `x^2` near zero, `1 - 2 / (e^2|x| + 1)` with the sign of `x`
/// elsewhere.
fn tanh(code: &mut Code) {
    const POLYNOMIAL: [f32; 5] =
        [-0.005_704_989, 0.020_639_09, -0.053_739_715, 0.133_314_42, -0.333_332_8];
    const SMALL: f32 = 0.625;

    with(code, |code, x| {
        let square = code.v128_local();
        code.get(x).get(x).op(I::F32x4Mul).set(square);
        code.splat(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            code.get(square).op(I::F32x4Mul).splat(*coefficient).op(I::F32x4Add);
        }
        code.get(square).op(I::F32x4Mul).get(x).op(I::F32x4Mul).get(x).op(I::F32x4Add);

        code.splat(1.0).splat(2.0);
        code.get(x).op(I::F32x4Abs).splat(2.0).op(I::F32x4Mul);
        exp(code);
        code.splat(1.0).op(I::F32x4Add).op(I::F32x4Div).op(I::F32x4Sub);
        // The magnitude is not negative: put the sign of x on it.
        code.get(x).splat_bits(0x8000_0000).op(I::V128And).op(I::V128Or);

        code.get(x).op(I::F32x4Abs).splat(SMALL).op(I::F32x4Lt).op(I::V128Bitselect);
        code.release([square]);
    });
}
