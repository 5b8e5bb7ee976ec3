//! Element-wise functions on four `f32` lanes, computed in `f64`, two lanes at a
//! time: the result is the exact one rounded, but for a few in a million that
//! are off by one unit in the last place.
//!
//! Logarithm: `2 artanh((m - 1) / (m + 1))` of the mantissa as its series.
//! Exponential: `2^n e^r` with the series of `e^r`. Sine and cosine: the series
//! around the nearest multiple of pi/2, subtracted in three parts (W. Cody, W.
//! Waite, "Software Manual for the Elementary Functions", 1980). Arcus tangent:
//! the angle halved twice, then its series. The others are composed of these.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E};

use wasm_encoder::Instruction as I;

use super::code::{Code, Local};

/// Below this, a doubled precision leaves nothing of a difference: a series is
/// used.
const SMALL: f64 = 1.0 / 1024.0;

/// Added to an integer, leaves it in the low bits of the sum.
pub(super) const MAGIC: f64 = 6_755_399_441_055_744.0;

pub(super) const SIGN: u64 = 1 << 63;

/// Replaces four `f32` by `f` of them; `f` replaces two `f64`.
pub fn unary(code: &mut Code, f: fn(&mut Code)) {
    let (x, low) = (code.v128_local(), code.v128_local());
    code.tee(x);
    widen_low(code);
    f(code);
    code.op(I::F32x4DemoteF64x2Zero).set(low);
    code.get(x);
    widen_high(code, x);
    f(code);
    join(code, low);
    code.release([x, low]);
}

/// Replaces twice four `f32` by `f` of them; `f` replaces twice two `f64`.
pub fn binary(code: &mut Code, f: fn(&mut Code)) {
    let (a, b, low) = (code.v128_local(), code.v128_local(), code.v128_local());
    code.set(b).tee(a);
    widen_low(code);
    code.get(b);
    widen_low(code);
    f(code);
    code.op(I::F32x4DemoteF64x2Zero).set(low);
    code.get(a);
    widen_high(code, a);
    code.get(b);
    widen_high(code, b);
    f(code);
    join(code, low);
    code.release([a, b, low]);
}

fn widen_low(code: &mut Code) {
    code.op(I::F64x2PromoteLowF32x4);
}

/// Widens the high half of the vector on the stack, which is also in `x`.
fn widen_high(code: &mut Code, x: Local) {
    const HIGH: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];
    code.get(x).op(I::I8x16Shuffle(HIGH)).op(I::F64x2PromoteLowF32x4);
}

/// Narrows the two `f64` on the stack, and puts the low half before them.
fn join(code: &mut Code, low: Local) {
    const HALVES: [u8; 16] = [16, 17, 18, 19, 20, 21, 22, 23, 0, 1, 2, 3, 4, 5, 6, 7];
    code.op(I::F32x4DemoteF64x2Zero).get(low).op(I::I8x16Shuffle(HALVES));
}

/// Pushes twice the same `f64`.
pub fn number(code: &mut Code, value: f64) -> &mut Code {
    bits(code, value.to_bits())
}

pub(super) fn bits(code: &mut Code, bits: u64) -> &mut Code {
    let lane = u128::from(bits);
    code.op(I::V128Const((lane | lane << 64) as i128))
}

pub(super) fn with(code: &mut Code, body: impl FnOnce(&mut Code, Local)) {
    let x = code.v128_local();
    code.set(x);
    body(code, x);
    code.release([x]);
}

/// Pushes the polynomial of `x` with these coefficients, the lowest first.
pub(super) fn series(code: &mut Code, x: Local, coefficients: &[f64]) {
    let (&highest, rest) = coefficients.split_last().expect("a series has a term");
    number(code, highest);
    for &coefficient in rest.iter().rev() {
        code.get(x).op(I::F64x2Mul);
        number(code, coefficient).op(I::F64x2Add);
    }
}

/// Puts the sign of `x` on the vector on the stack, which has none.
pub(super) fn with_sign_of(code: &mut Code, x: Local) {
    code.get(x);
    bits(code, SIGN).op(I::V128And).op(I::V128Or);
}

/// Pushes a mask of where `|x|` is below a bound, and selects with it.
pub(super) fn select_below(code: &mut Code, x: Local, bound: f64) {
    code.get(x).op(I::F64x2Abs);
    number(code, bound).op(I::F64x2Lt).op(I::V128Bitselect);
}

/// `1 / (from)!`, `1 / (from + step)!`, ... with alternating signs, if wanted.
pub(super) fn factorials<const N: usize>(from: u32, alternating: bool) -> [f64; N] {
    std::array::from_fn(|i| {
        let factorial: f64 = (1..=from + 2 * i as u32).map(f64::from).product();
        if alternating && i % 2 == 1 { -1.0 / factorial } else { 1.0 / factorial }
    })
}

/// The natural logarithm.
pub fn ln(code: &mut Code) {
    let half_root: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    with(code, |code, x| {
        // x = m * 2^e, with m from the root of 1/2 to that of 2.
        let (e, m) = (code.v128_local(), code.v128_local());
        code.get(x);
        bits(code, half_root).op(I::I64x2Sub).i32(52).op(I::I64x2ShrS).set(e);
        code.get(x).get(e).i32(52).op(I::I64x2Shl).op(I::I64x2Sub).set(m);
        code.get(e);
        bits(code, MAGIC.to_bits()).op(I::I64x2Add);
        number(code, MAGIC).op(I::F64x2Sub).set(e);

        let (s, square) = (code.v128_local(), m);
        code.get(m);
        number(code, 1.0).op(I::F64x2Sub).get(m);
        number(code, 1.0).op(I::F64x2Add).op(I::F64x2Div).tee(s);
        code.get(s).op(I::F64x2Mul).set(square);
        let coefficients: [f64; 10] = std::array::from_fn(|i| 2.0 / (2 * i + 1) as f64);
        series(code, square, &coefficients);
        code.get(s).op(I::F64x2Mul).get(e);
        number(code, LN_2).op(I::F64x2Mul).op(I::F64x2Add);

        // Elsewhere than between 0 and infinity.
        number(code, f64::NEG_INFINITY);
        number(code, f64::INFINITY);
        number(code, f64::NAN).get(x);
        number(code, f64::INFINITY).op(I::F64x2Eq).op(I::V128Bitselect).get(x);
        number(code, 0.0).op(I::F64x2Eq).op(I::V128Bitselect);
        code.get(x);
        number(code, 0.0).op(I::F64x2Gt).get(x);
        number(code, f64::INFINITY).op(I::F64x2Lt).op(I::V128And).op(I::V128Bitselect);
        code.release([e, m, s]);
    });
}

/// `e^x`, with `x` at most 700 from zero.
fn exp(code: &mut Code) {
    with(code, |code, x| {
        let (n, r) = (code.v128_local(), x);
        code.get(x);
        number(code, 700.0).op(I::F64x2PMin);
        number(code, -700.0).op(I::F64x2PMax).tee(x);
        number(code, LOG2_E).op(I::F64x2Mul).op(I::F64x2Nearest).set(n);
        code.get(x).get(n);
        number(code, LN_2).op(I::F64x2Mul).op(I::F64x2Sub).set(r);
        let mut coefficients = [1.0; 13];
        (1..13).for_each(|i| coefficients[i] = coefficients[i - 1] / i as f64);
        series(code, r, &coefficients);
        // n in the low bits, moved to the exponent.
        code.get(n);
        number(code, MAGIC + 1023.0).op(I::F64x2Add).i32(52).op(I::I64x2Shl).op(I::F64x2Mul);
        code.release([n]);
    });
}

/// `a^b` of an `a` without a sign.
pub fn pow_of_positive(code: &mut Code) {
    with(code, |code, b| {
        ln(code);
        code.get(b).op(I::F64x2Mul);
        exp(code);
    });
}

/// What remains of `a` after its division by `b`; exact where the quotient is
/// below 2^29.
pub fn rem(code: &mut Code) {
    let (a, b) = (code.v128_local(), code.v128_local());
    code.set(b).tee(a);
    code.get(a).get(b).op(I::F64x2Div).op(I::F64x2Trunc).get(b).op(I::F64x2Mul);
    code.op(I::F64x2Sub).get(a).get(b).op(I::F64x2Abs);
    number(code, f64::INFINITY).op(I::F64x2Ne).op(I::V128Bitselect);
    code.release([a, b]);
}

/// The sine; of magnitudes above 2^29 it has no accuracy, but is one.
pub fn sin(code: &mut Code) {
    sine(code, 0.0);
}

/// The cosine, in the same way.
pub fn cos(code: &mut Code) {
    sine(code, 1.0);
}

/// The tangent, in the same way.
pub fn tan(code: &mut Code) {
    with(code, |code, x| {
        code.get(x);
        sin(code);
        code.get(x);
        cos(code);
        code.op(I::F64x2Div);
    });
}

/// The sine of `x + quarters * pi / 2`.
fn sine(code: &mut Code, quarters: f64) {
    // pi/2 in parts of 24 bits, whose products with an integer of 29 bits are
    // exact, and what is left.
    const MASK: u64 = !((1 << 29) - 1);
    let high = f64::from_bits(FRAC_PI_2.to_bits() & MASK);
    let middle = f64::from_bits((FRAC_PI_2 - high).to_bits() & MASK);
    // What pi/2 as an f64 lacks.
    let low = FRAC_PI_2 - high - middle + 6.123_233_995_736_766e-17;
    with(code, |code, x| {
        let (n, r, square) = (code.v128_local(), x, code.v128_local());
        code.get(x);
        number(code, FRAC_2_PI).op(I::F64x2Mul).op(I::F64x2Nearest).set(n);
        code.get(x);
        for part in [high, middle, low] {
            code.get(n);
            number(code, part).op(I::F64x2Mul).op(I::F64x2Sub);
        }
        number(code, 1.0).op(I::F64x2PMin);
        number(code, -1.0).op(I::F64x2PMax).tee(r).get(r).op(I::F64x2Mul).set(square);
        code.get(n);
        number(code, MAGIC + quarters).op(I::F64x2Add).set(n);

        series(code, square, &factorials::<9>(0, true));
        series(code, square, &factorials::<8>(1, true));
        code.get(r).op(I::F64x2Mul);
        code.get(n).i32(63).op(I::I64x2Shl).i32(63).op(I::I64x2ShrS).op(I::V128Bitselect);
        code.get(n).i32(1).op(I::I64x2ShrU).i32(63).op(I::I64x2Shl).op(I::V128Xor);
        code.release([n, square]);
    });
}

/// The arcus tangent.
pub fn atan(code: &mut Code) {
    with(code, |code, x| {
        // Of a magnitude above 1: pi/2 less that of 1/x.
        let (t, is_large) = (code.v128_local(), code.v128_local());
        code.get(x).op(I::F64x2Abs);
        number(code, 1.0).op(I::F64x2Gt).set(is_large);
        number(code, -1.0);
        code.get(x).op(I::F64x2Abs).tee(t).op(I::F64x2Div).get(t).get(is_large);
        code.op(I::V128Bitselect).set(t);
        for _ in 0..2 {
            code.get(t);
            number(code, 1.0).get(t).get(t).op(I::F64x2Mul);
            number(code, 1.0).op(I::F64x2Add).op(I::F64x2Sqrt).op(I::F64x2Add);
            code.op(I::F64x2Div).set(t);
        }
        let square = code.v128_local();
        code.get(t).get(t).op(I::F64x2Mul).set(square);
        let coefficient = |i: usize| 4.0 / (2 * i + 1) as f64 * [1.0, -1.0][i % 2];
        series(code, square, &std::array::from_fn::<f64, 10, _>(coefficient));
        code.get(t).op(I::F64x2Mul);
        number(code, FRAC_PI_2).get(is_large).op(I::V128And).op(I::F64x2Add);
        with_sign_of(code, x);
        code.release([t, is_large, square]);
    });
}

/// The arcus sine: the arcus tangent of `x / sqrt(1 - x^2)`.
pub fn asin(code: &mut Code) {
    with(code, |code, x| {
        code.get(x);
        number(code, 1.0).get(x).op(I::F64x2Sub);
        number(code, 1.0).get(x).op(I::F64x2Add).op(I::F64x2Mul);
        code.op(I::F64x2Sqrt).op(I::F64x2Div);
    });
    atan(code);
}

/// The arcus cosine: twice the arcus tangent of `sqrt((1 - x) / (1 + x))`.
pub fn acos(code: &mut Code) {
    with(code, |code, x| {
        number(code, 1.0).get(x).op(I::F64x2Sub);
        number(code, 1.0).get(x).op(I::F64x2Add).op(I::F64x2Div).op(I::F64x2Sqrt);
    });
    atan(code);
    number(code, 2.0).op(I::F64x2Mul);
}

/// The hyperbolic sine.
pub fn sinh(code: &mut Code) {
    with(code, |code, x| {
        let (square, e) = (code.v128_local(), code.v128_local());
        code.get(x).get(x).op(I::F64x2Mul).set(square);
        series(code, square, &factorials::<8>(1, false));
        code.get(x).op(I::F64x2Mul);
        code.get(x);
        exp(code);
        code.tee(e);
        number(code, 1.0).get(e).op(I::F64x2Div).op(I::F64x2Sub);
        number(code, 0.5).op(I::F64x2Mul);
        select_below(code, x, 1.0);
        code.release([square, e]);
    });
}

/// The hyperbolic cosine.
pub fn cosh(code: &mut Code) {
    exp(code);
    with(code, |code, e| {
        code.get(e);
        number(code, 1.0).get(e).op(I::F64x2Div).op(I::F64x2Add);
        number(code, 0.5).op(I::F64x2Mul);
    });
}

/// The inverse of the hyperbolic sine: `ln(|x| + sqrt(x^2 + 1))`.
pub fn asinh(code: &mut Code) {
    with(code, |code, x| {
        cubic(code, x, -1.0 / 6.0);
        code.get(x).op(I::F64x2Abs).get(x).get(x).op(I::F64x2Mul);
        number(code, 1.0).op(I::F64x2Add).op(I::F64x2Sqrt).op(I::F64x2Add);
        ln(code);
        with_sign_of(code, x);
        select_below(code, x, SMALL);
    });
}

/// The inverse of the hyperbolic cosine: `ln(x + sqrt(x^2 - 1))`, NaN below 1.
pub fn acosh(code: &mut Code) {
    with(code, |code, x| {
        code.get(x).get(x);
        number(code, 1.0).op(I::F64x2Sub).op(I::F64x2Sqrt).get(x);
        number(code, 1.0).op(I::F64x2Add).op(I::F64x2Sqrt).op(I::F64x2Mul).op(I::F64x2Add);
    });
    ln(code);
}

/// The inverse of the hyperbolic tangent: `ln((1 + x) / (1 - x)) / 2`.
pub fn atanh(code: &mut Code) {
    with(code, |code, x| {
        cubic(code, x, 1.0 / 3.0);
        number(code, 1.0).get(x).op(I::F64x2Add);
        number(code, 1.0).get(x).op(I::F64x2Sub).op(I::F64x2Div);
        ln(code);
        number(code, 0.5).op(I::F64x2Mul);
        select_below(code, x, SMALL);
    });
}

/// Pushes `x + factor * x^3`.
fn cubic(code: &mut Code, x: Local, factor: f64) {
    code.get(x).get(x).get(x).op(I::F64x2Mul);
    number(code, factor).op(I::F64x2Mul);
    code.get(x).op(I::F64x2Mul).op(I::F64x2Add);
}
