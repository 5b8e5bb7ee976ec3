//! Element-wise functions on four `f32` lanes, as the same sequence of
//! operators for every input.
//!
//! The exponential follows the range reduction and polynomial of S. Moshier's Cephes
//! library (`expf`). The hyperbolic tangent and the error function are quotients of
//! polynomials, fitted here. What is computed in `f64` is in [`super::wide`].
//!
//! The largest errors, measured against `f64` over all exponents by
//! `tests/tests/operators/precision.rs`, in units in the last place: `Exp` 2, `Tanh`
//! 6, `Sigmoid` 3, `Erf` 6, what is computed in `f64` 1.

use wasm_encoder::Instruction as I;

use super::code::{Code, Local};
use super::wide;
use crate::expr::{Binary, Unary};

/// The bits of the one NaN that may leave a stage.
pub const CANONICAL_NAN: u32 = 0x7fc0_0000;

/// The bit of the sign.
const SIGN: u32 = 0x8000_0000;

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
        Unary::Sign => with(code, |code, x| {
            code.get(x).splat(0.0).op(I::F32x4Gt).splat(1.0).op(I::V128And);
            code.get(x).splat(0.0).op(I::F32x4Lt).splat(-1.0).op(I::V128And).op(I::V128Or);
            code.get(x).get(x).get(x).op(I::F32x4Eq).op(I::V128Bitselect);
        }),
        Unary::RoundAway => round_away(code),
        Unary::Erf => erf(code),
        Unary::Power(exponent) => power(code, exponent),
        Unary::Not => {
            code.splat(0.0).op(I::F32x4Eq);
            one_where_set(code);
        }
        Unary::IsNan => with(code, |code, x| {
            code.get(x).get(x).op(I::F32x4Ne);
            one_where_set(code);
        }),
        Unary::IsInf { positive, negative } => with(code, |code, x| {
            let wanted = |is: bool, infinity: f32| if is { infinity } else { f32::NAN };
            code.get(x).splat(wanted(positive, f32::INFINITY)).op(I::F32x4Eq);
            code.get(x).splat(wanted(negative, f32::NEG_INFINITY)).op(I::F32x4Eq);
            code.op(I::V128Or);
            one_where_set(code);
        }),
        Unary::Ln => wide::unary(code, wide::ln),
        Unary::Sin => wide::unary(code, wide::sin),
        Unary::Cos => wide::unary(code, wide::cos),
        Unary::Tan => wide::unary(code, wide::tan),
        Unary::Asin => wide::unary(code, wide::asin),
        Unary::Acos => wide::unary(code, wide::acos),
        Unary::Atan => wide::unary(code, wide::atan),
        Unary::Sinh => wide::unary(code, wide::sinh),
        Unary::Cosh => wide::unary(code, wide::cosh),
        Unary::Asinh => wide::unary(code, wide::asinh),
        Unary::Acosh => wide::unary(code, wide::acosh),
        Unary::Atanh => wide::unary(code, wide::atanh),
    }
}

/// Replaces the two vectors on the stack by `f` of them. `right_is_number`: the
/// upper one is known not to be a NaN, and is a number, not a tensor.
pub fn binary(code: &mut Code, f: Binary, right_is_number: bool) {
    match f {
        Binary::Add => code.op(I::F32x4Add),
        Binary::Sub => code.op(I::F32x4Sub),
        Binary::Mul => code.op(I::F32x4Mul),
        Binary::Div => code.op(I::F32x4Div),
        Binary::Min if right_is_number => code.op(I::F32x4PMin),
        Binary::Max if right_is_number => code.op(I::F32x4PMax),
        Binary::Min => code.op(I::F32x4Min),
        Binary::Max => code.op(I::F32x4Max),
        Binary::Pow => return pow(code),
        Binary::Rem => return wide::binary(code, wide::rem),
        Binary::Eq => code.op(I::F32x4Eq),
        Binary::Ne => code.op(I::F32x4Ne),
        Binary::Lt => code.op(I::F32x4Lt),
        Binary::Le => code.op(I::F32x4Le),
        Binary::Gt => code.op(I::F32x4Gt),
        Binary::Ge => code.op(I::F32x4Ge),
        Binary::And | Binary::Or | Binary::Xor => {
            is_not_zero(code);
            with(code, |code, b| {
                is_not_zero(code);
                code.get(b);
            });
            code.op(match f {
                Binary::And => I::V128And,
                Binary::Or => I::V128Or,
                _ => I::V128Xor,
            })
        }
    };
    if !matches!(
        f,
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max
    ) {
        one_where_set(code);
    }
}

/// Replaces a vector by a mask of the lanes that are not 0.
pub fn is_not_zero(code: &mut Code) {
    code.splat(0.0).op(I::F32x4Ne);
}

/// Replaces a mask by 1 where it is set, and 0 elsewhere.
fn one_where_set(code: &mut Code) {
    code.splat(1.0).op(I::V128And);
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

/// What rounds a number of less than 2^22 to an integer where it is added: the
/// integer is in the lowest bits of the sum.
const ROUNDING: f32 = 12_582_912.0;

/// Where `e^x` has got to: `x = n ln 2 + r`, with `|r| <= ln 2 / 2`.
struct Reduced {
    /// `e^r`
    power: Local,
    /// The bits of `n + bias +` [`ROUNDING`].
    exponent: Local,
}

/// Computes both parts of `e^x` of an `x` of less than 2^21, which is replaced. Of a
/// NaN, the power is one and the exponent arbitrary.
fn reduce(code: &mut Code, x: Local, bias: i32) -> Reduced {
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // ln 2, the first part with few enough bits that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let rounding = ROUNDING + bias as f32;

    let (exponent, n, r) = (code.v128_local(), code.v128_local(), x);
    code.get(x).splat(std::f32::consts::LOG2_E).op(I::F32x4Mul);
    code.splat(rounding).op(I::F32x4Add).tee(exponent).splat(rounding).op(I::F32x4Sub).set(n);
    code.get(x).get(n).splat(LN2_HIGH).op(I::F32x4Mul).op(I::F32x4Sub);
    code.get(n).splat(LN2_LOW).op(I::F32x4Mul).op(I::F32x4Sub).set(r);
    let (square, power) = (n, code.v128_local());
    code.get(r).get(r).op(I::F32x4Mul).set(square);
    polynomial(code, r, square, &POLYNOMIAL);
    code.get(square).op(I::F32x4Mul).get(r).op(I::F32x4Add).splat(1.0).op(I::F32x4Add).set(power);
    code.release([n]);
    Reduced { power, exponent }
}

impl Reduced {
    /// Pushes `e^x`, or of it `2^(bias - 127)`: for `n + bias` from 0, which gives 0,
    /// to 255, which gives infinity.
    fn push(self, code: &mut Code) {
        code.get(self.power).get(self.exponent).i32(23).op(I::I32x4Shl).op(I::F32x4Mul);
        code.release([self.power, self.exponent]);
    }
}

/// `e^x`. Overflows to infinity, underflows gradually to zero.
fn exp(code: &mut Code) {
    with(code, |code, x| {
        // Past these bounds the result is infinity or zero; a NaN stays.
        code.get(x).splat(89.0).op(I::F32x4PMin).splat(-104.0).op(I::F32x4PMax).set(x);
        let Reduced { power, exponent: n } = reduce(code, x, 0);
        // 2^n in two halves, as n itself may be beyond the exponent's range.
        code.get(n).splat_bits(ROUNDING.to_bits()).op(I::I32x4Sub).set(n);
        let half = x;
        code.get(n).i32(1).op(I::I32x4ShrS).set(half);
        code.get(power).get(half);
        power_of_two(code);
        code.op(I::F32x4Mul);
        code.get(n).get(half).op(I::I32x4Sub);
        power_of_two(code);
        code.op(I::F32x4Mul);
        code.release([power, n]);
    });
}

/// `2^n` of the integers on the stack, from -126 to 127.
fn power_of_two(code: &mut Code) {
    code.splat_bits(127).op(I::I32x4Add).i32(23).op(I::I32x4Shl);
}

/// `1/2 / (1/2 + e^-x / 2)`: the half is what keeps `n` in the exponent's range, in
/// whose bounds the result comes to one and to zero.
fn sigmoid(code: &mut Code) {
    code.op(I::F32x4Neg).splat(89.5).op(I::F32x4PMin).splat(-86.0).op(I::F32x4PMax);
    with(code, |code, x| {
        code.splat(0.5);
        reduce(code, x, 126).push(code);
        code.splat(0.5).op(I::F32x4Add).op(I::F32x4Div);
    });
}

/// `x P(x^2) / Q(x^2)`, fitted to the least relative error on numbers up to 8.5, from
/// where on the result is 1.
fn tanh(code: &mut Code) {
    const NUMERATOR: [f32; 6] =
        [-1.335_637_7e-11, 3.209_424_2e-8, 2.862_285e-5, 3.898_528_2e-3, 1.370_394_7e-1, 1.0];
    const DENOMINATOR: [f32; 5] = [1.330_731_5e-6, 3.992_082e-4, 2.735_613_8e-2, 4.703_728e-1, 1.0];
    saturating(code, 8.5, &NUMERATOR, &DENOMINATOR);
}

/// Replaces `x` by `x P(x^2) / Q(x^2)`, at most 1, from `bound` on the same. What the
/// polynomials' terms are is independent of each other, and little: a function that
/// is applied to many sums should not make them wait.
fn saturating(code: &mut Code, bound: f32, numerator: &[f32], denominator: &[f32]) {
    code.splat(bound).op(I::F32x4PMin).splat(-bound).op(I::F32x4PMax);
    with(code, |code, x| {
        let (square, fourth) = (code.v128_local(), code.v128_local());
        code.get(x).get(x).op(I::F32x4Mul).tee(square).get(square).op(I::F32x4Mul).set(fourth);
        polynomial(code, square, fourth, numerator);
        code.get(x).op(I::F32x4Mul);
        polynomial(code, square, fourth, denominator);
        code.op(I::F32x4Div);
        code.release([square, fourth]);
    });
    code.splat(1.0).op(I::F32x4PMin).splat(-1.0).op(I::F32x4PMax);
}

/// The magnitude rounded down, and 1 more where half or more was cut off.
fn round_away(code: &mut Code) {
    with(code, |code, x| {
        let whole = code.v128_local();
        code.get(x).op(I::F32x4Abs).op(I::F32x4Trunc).tee(whole);
        code.get(x).op(I::F32x4Abs).get(whole).op(I::F32x4Sub).splat(0.5).op(I::F32x4Ge);
        one_where_set(code);
        code.op(I::F32x4Add);
        code.get(x).splat_bits(SIGN).op(I::V128And).op(I::V128Or);
        code.release([whole]);
    });
}

/// `x P(x^2) / Q(x^2)`, fitted to the least relative error on numbers up to 3.83, from
/// where on the result is 1.
fn erf(code: &mut Code) {
    const NUMERATOR: [f32; 6] = [
        2.125_252_6e-6,
        2.859_827_4e-4,
        3.649_778_2e-3,
        5.240_997_3e-2,
        1.872_253_1e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const DENOMINATOR: [f32; 6] =
        [3.892_207_3e-5, 1.141_176_7e-3, 1.473_655_1e-2, 1.128_683_7e-1, 4.992_570_3e-1, 1.0];
    saturating(code, 3.83, &NUMERATOR, &DENOMINATOR);
}

/// Pushes the polynomial of `x` with these coefficients, the highest first, in pairs
/// that do not wait for each other (Estrin's scheme).
fn polynomial(code: &mut Code, x: Local, square: Local, coefficients: &[f32]) {
    let (alone, pairs) = coefficients.split_at(coefficients.len() % 2);
    for &coefficient in alone {
        code.splat(coefficient);
    }
    for (number, pair) in pairs.chunks(2).enumerate() {
        let is_first = number == 0 && alone.is_empty();
        if !is_first {
            code.get(square).op(I::F32x4Mul);
        }
        code.get(x).splat(pair[0]).op(I::F32x4Mul).splat(pair[1]).op(I::F32x4Add);
        if !is_first {
            code.op(I::F32x4Add);
        }
    }
}

/// Whether a power is a few multiplications.
pub fn is_short_power(exponent: f32) -> bool {
    [-1.0, 1.0, 2.0, 3.0, 4.0].contains(&exponent)
}

fn power(code: &mut Code, exponent: f32) {
    if !is_short_power(exponent) {
        code.splat(exponent);
        return pow(code);
    }
    with(code, |code, x| {
        code.get(x);
        match exponent {
            3.0 => {
                code.get(x).op(I::F32x4Mul).get(x).op(I::F32x4Mul);
            }
            2.0 | 4.0 => {
                code.get(x).op(I::F32x4Mul);
                if exponent == 4.0 {
                    unary(code, Unary::Square);
                }
            }
            -1.0 => recip(code),
            _ => {}
        }
    });
}

/// `a^b`, as C's `pow` of all special values: `e^(b ln |a|)` in `f64`, negated
/// for an odd `b` of a negative `a`; NaN for a `b` that is no integer of one.
fn pow(code: &mut Code) {
    let (a, b) = (code.v128_local(), code.v128_local());
    code.set(b).set(a);
    code.get(a).op(I::F32x4Abs).get(b);
    wide::binary(code, wide::pow_of_positive);

    // The sign: set where a is negative and b an odd integer, that is, where
    // b is an integer and half of it is not.
    let is_integer = |code: &mut Code| {
        with(code, |code, x| {
            code.get(x).get(x).op(I::F32x4Trunc).op(I::F32x4Eq);
        });
    };
    code.get(b);
    is_integer(code);
    code.get(b).splat(0.5).op(I::F32x4Mul);
    is_integer(code);
    code.op(I::V128AndNot);
    code.get(a).op(I::V128And).splat_bits(SIGN).op(I::V128And).op(I::V128Or);

    // No integer of a finite negative number: NaN.
    let result = code.v128_local();
    code.set(result);
    code.splat_bits(CANONICAL_NAN).get(result);
    code.get(a).splat(0.0).op(I::F32x4Lt);
    code.get(a).splat(f32::NEG_INFINITY).op(I::F32x4Gt).op(I::V128And);
    code.get(b);
    is_integer(code);
    code.op(I::V128AndNot).op(I::V128Bitselect).set(result);

    // b = 0, a = 1, and a = -1 with an infinite b: 1, even beside a NaN.
    code.splat(1.0).get(result);
    code.get(b).splat(0.0).op(I::F32x4Eq);
    code.get(a).splat(1.0).op(I::F32x4Eq).op(I::V128Or);
    code.get(a).splat(-1.0).op(I::F32x4Eq);
    code.get(b).op(I::F32x4Abs).splat(f32::INFINITY).op(I::F32x4Eq).op(I::V128And);
    code.op(I::V128Or).op(I::V128Bitselect);
    code.release([a, b, result]);
}
