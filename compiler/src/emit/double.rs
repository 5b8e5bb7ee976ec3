//! Element-wise functions on two `f64` lanes, to the precision of `f64`, as the same
//! sequence of operators for every input.
//!
//! Exponential and logarithm follow the range reductions of Sun's fdlibm (`e_exp.c`,
//! `e_log.c`), with Taylor series. The trigonometric functions and their inverses
//! are those of [`super::wide`]. The largest errors, sampled by
//! `tests/tests/operators/types.rs`, are named there.

use wasm_encoder::Instruction as I;

use super::code::{Code, Local};
use super::wide::{self, MAGIC, SIGN, bits, factorials, number, select_below, series, with};
use crate::expr::{Binary, Unary};

/// The bits of the one NaN that may leave a stage.
pub const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Whether [`unary`] has the function.
pub fn has(f: Unary) -> bool {
    !matches!(f, Unary::Erf)
}

/// Replaces the vector on the stack by `f` of it.
pub fn unary(code: &mut Code, f: Unary) {
    match f {
        Unary::Neg => drop(code.op(I::F64x2Neg)),
        Unary::Abs => drop(code.op(I::F64x2Abs)),
        Unary::Sqrt => drop(code.op(I::F64x2Sqrt)),
        Unary::Floor => drop(code.op(I::F64x2Floor)),
        Unary::Ceil => drop(code.op(I::F64x2Ceil)),
        Unary::RoundEven => drop(code.op(I::F64x2Nearest)),
        Unary::Recip => recip(code),
        Unary::Rsqrt => {
            code.op(I::F64x2Sqrt);
            recip(code);
        }
        Unary::Square => with(code, |code, x| {
            code.get(x).get(x).op(I::F64x2Mul);
        }),
        Unary::LeakyRelu(slope) => with(code, |code, x| {
            code.get(x);
            number(code, f64::from(slope)).op(I::F64x2Mul).get(x).get(x);
            number(code, 0.0).op(I::F64x2Lt).op(I::V128Bitselect);
        }),
        Unary::HardSwish => with(code, |code, x| {
            code.get(x).get(x);
            number(code, 6.0).op(I::F64x2Div);
            number(code, 0.5).op(I::F64x2Add);
            number(code, 0.0).op(I::F64x2PMax);
            number(code, 1.0).op(I::F64x2PMin).op(I::F64x2Mul);
        }),
        Unary::Sign => with(code, |code, x| {
            code.get(x);
            number(code, 0.0).op(I::F64x2Gt);
            number(code, 1.0).op(I::V128And).get(x);
            number(code, 0.0).op(I::F64x2Lt);
            number(code, -1.0).op(I::V128And).op(I::V128Or);
            code.get(x).get(x).get(x).op(I::F64x2Eq).op(I::V128Bitselect);
        }),
        Unary::RoundAway => round_away(code),
        Unary::Power(exponent) => {
            number(code, f64::from(exponent));
            pow(code);
        }
        Unary::Not => {
            number(code, 0.0).op(I::F64x2Eq);
            one_where_set(code);
        }
        Unary::IsNan => with(code, |code, x| {
            code.get(x).get(x).op(I::F64x2Ne);
            one_where_set(code);
        }),
        Unary::IsInf { positive, negative } => with(code, |code, x| {
            let wanted = |is: bool, infinity: f64| if is { infinity } else { f64::NAN };
            code.get(x);
            number(code, wanted(positive, f64::INFINITY)).op(I::F64x2Eq).get(x);
            number(code, wanted(negative, f64::NEG_INFINITY)).op(I::F64x2Eq).op(I::V128Or);
            one_where_set(code);
        }),
        Unary::Exp => exp(code),
        Unary::Ln => ln(code),
        Unary::Sigmoid => sigmoid(code),
        Unary::Silu => with(code, |code, x| {
            code.get(x).get(x);
            sigmoid(code);
            code.op(I::F64x2Mul);
        }),
        Unary::Tanh => tanh(code),
        Unary::Sinh => sinh(code),
        Unary::Cosh => cosh(code),
        Unary::Asinh => asinh(code),
        Unary::Acosh => acosh(code),
        Unary::Atanh => atanh(code),
        Unary::Sin => wide::sin(code),
        Unary::Cos => wide::cos(code),
        Unary::Tan => wide::tan(code),
        Unary::Asin => wide::asin(code),
        Unary::Acos => wide::acos(code),
        Unary::Atan => wide::atan(code),
        Unary::Erf => unreachable!("no function of f64: see has"),
    }
}

/// Replaces the two vectors on the stack by `f` of them.
pub fn binary(code: &mut Code, f: Binary) {
    match f {
        Binary::Add => code.op(I::F64x2Add),
        Binary::Sub => code.op(I::F64x2Sub),
        Binary::Mul => code.op(I::F64x2Mul),
        Binary::Div => code.op(I::F64x2Div),
        Binary::Min => code.op(I::F64x2Min),
        Binary::Max => code.op(I::F64x2Max),
        Binary::Pow => return pow(code),
        Binary::Rem => return wide::rem(code),
        Binary::Eq => code.op(I::F64x2Eq),
        Binary::Ne => code.op(I::F64x2Ne),
        Binary::Lt => code.op(I::F64x2Lt),
        Binary::Le => code.op(I::F64x2Le),
        Binary::Gt => code.op(I::F64x2Gt),
        Binary::Ge => code.op(I::F64x2Ge),
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
    let arithmetic = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max];
    if !arithmetic.contains(&f) {
        one_where_set(code);
    }
}

/// Replaces a vector by a mask of the lanes that are not 0.
pub fn is_not_zero(code: &mut Code) {
    number(code, 0.0).op(I::F64x2Ne);
}

/// Replaces NaNs by [`CANONICAL_NAN`].
pub fn canonical_nan(code: &mut Code) {
    with(code, |code, x| {
        code.get(x);
        bits(code, CANONICAL_NAN);
        code.get(x).get(x).op(I::F64x2Eq).op(I::V128Bitselect);
    });
}

fn one_where_set(code: &mut Code) {
    number(code, 1.0).op(I::V128And);
}

fn recip(code: &mut Code) {
    with(code, |code, x| {
        number(code, 1.0).get(x).op(I::F64x2Div);
    });
}

fn round_away(code: &mut Code) {
    with(code, |code, x| {
        let whole = code.v128_local();
        code.get(x).op(I::F64x2Abs).op(I::F64x2Trunc).tee(whole);
        code.get(x).op(I::F64x2Abs).get(whole).op(I::F64x2Sub);
        number(code, 0.5).op(I::F64x2Ge);
        one_where_set(code);
        code.op(I::F64x2Add);
        wide::with_sign_of(code, x);
        code.release([whole]);
    });
}

/// `e^x`
fn exp(code: &mut Code) {
    with(code, |code, x| exp_of(code, x, None));
}

/// Pushes `e^(x + low)`: `2^n e^r` with `|r| <= ln 2 / 2`. What `r` and the sum of the
/// series lack is added last, so that there is one rounding that matters.
fn exp_of(code: &mut Code, x: Local, low: Option<Local>) {
    let [n, r, rest, sum] = std::array::from_fn(|_| code.v128_local());
    // Past these bounds the result is infinity or zero; a NaN stays.
    code.get(x);
    number(code, 710.0).op(I::F64x2PMin);
    number(code, -746.0).op(I::F64x2PMax).tee(r);
    number(code, std::f64::consts::LOG2_E).op(I::F64x2Mul).op(I::F64x2Nearest).set(n);
    code.get(r).get(n);
    number(code, LN2_HIGH).op(I::F64x2Mul).op(I::F64x2Sub).tee(sum).get(n);
    number(code, LN2_LOW).op(I::F64x2Mul).tee(rest).op(I::F64x2Sub).set(r);
    code.get(sum).get(r).op(I::F64x2Sub).get(rest).op(I::F64x2Sub).set(rest);
    if let Some(low) = low {
        // Beyond the bounds it may be as large as anything, and is nothing.
        code.get(rest).get(low).get(x).op(I::F64x2Abs);
        number(code, 709.9).op(I::F64x2Lt).op(I::V128And).op(I::F64x2Add).set(rest);
        code.get(r).get(rest).op(I::F64x2Add).set(sum);
        code.get(rest).get(sum).get(r).op(I::F64x2Sub).op(I::F64x2Sub).set(rest);
        code.get(sum).set(r);
    }
    // 1 + r + (rest (1 + r) + r^2 (1/2! + r/3! + ...))
    let coefficients: [f64; 12] =
        std::array::from_fn(|i| 1.0 / (1..=i + 2).map(|k| k as f64).product::<f64>());
    series(code, r, &coefficients);
    code.get(r).op(I::F64x2Mul).get(r).op(I::F64x2Mul);
    code.get(rest).get(r).op(I::F64x2Mul).op(I::F64x2Add);
    code.get(rest).op(I::F64x2Add).set(rest);
    number(code, 1.0).get(r).op(I::F64x2Add).set(sum);
    number(code, 1.0).get(sum).op(I::F64x2Sub).get(r).op(I::F64x2Add);
    code.get(rest).op(I::F64x2Add).get(sum).op(I::F64x2Add);
    scale(code, n);
    code.release([n, r, rest, sum]);
}

/// Multiplies by `2^n`, in two halves, as that itself may be beyond the range.
fn scale(code: &mut Code, n: Local) {
    let half = code.v128_local();
    code.get(n);
    number(code, MAGIC).op(I::F64x2Add);
    bits(code, MAGIC.to_bits()).op(I::I64x2Sub).tee(n).i32(1).op(I::I64x2ShrS).set(half);
    let power = |code: &mut Code| {
        bits(code, 1023).op(I::I64x2Add).i32(52).op(I::I64x2Shl).op(I::F64x2Mul);
    };
    code.get(half);
    power(code);
    code.get(n).get(half).op(I::I64x2Sub);
    power(code);
    code.release([half]);
}

/// Pushes the `m`, from sqrt(1/2) to sqrt 2, of the positive finite numbers `m 2^e` in
/// `given`, and leaves `e` as numbers; `x` is overwritten.
fn split(code: &mut Code, given: Local, x: Local, e: Local) {
    const DENORMAL_SCALE: f64 = 18_014_398_509_481_984.0;
    let half_root = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let is_small = |code: &mut Code| {
        code.get(given);
        number(code, f64::MIN_POSITIVE).op(I::F64x2Lt);
    };
    // Denormals are made normal first.
    code.get(given);
    number(code, DENORMAL_SCALE).op(I::F64x2Mul).get(given);
    is_small(code);
    code.op(I::V128Bitselect).tee(x);
    bits(code, half_root).op(I::I64x2Sub).i32(52).op(I::I64x2ShrS).set(e);
    code.get(x).get(e).i32(52).op(I::I64x2Shl).op(I::I64x2Sub);
    code.get(e);
    bits(code, MAGIC.to_bits()).op(I::I64x2Add);
    number(code, MAGIC).op(I::F64x2Sub);
    number(code, 54.0);
    is_small(code);
    code.op(I::V128And).op(I::F64x2Sub).set(e);
}

/// The natural logarithm: of `1 + f`, `f - (f^2/2 - s (f^2/2 + R))` with `s = f /
/// (2 + f)` and the rest `R` of the series of `2 artanh s`.
fn ln(code: &mut Code) {
    with(code, |code, given| {
        let [x, e, f, s, square, half] = std::array::from_fn(|_| code.v128_local());
        split(code, given, x, e);
        number(code, 1.0).op(I::F64x2Sub).set(f);

        code.get(f).get(f);
        number(code, 2.0).op(I::F64x2Add).op(I::F64x2Div).tee(s);
        code.get(s).op(I::F64x2Mul).set(square);
        code.get(f).get(f).op(I::F64x2Mul);
        number(code, 0.5).op(I::F64x2Mul).set(half);

        code.get(e);
        number(code, LN2_HIGH).op(I::F64x2Mul);
        code.get(half);
        let coefficients: [f64; 11] = std::array::from_fn(|i| 2.0 / (2 * i + 3) as f64);
        series(code, square, &coefficients);
        code.get(square).op(I::F64x2Mul).get(half).op(I::F64x2Add).get(s).op(I::F64x2Mul);
        code.get(e);
        number(code, LN2_LOW).op(I::F64x2Mul).op(I::F64x2Add).op(I::F64x2Sub);
        code.get(f).op(I::F64x2Sub).op(I::F64x2Sub);

        // Elsewhere than between 0 and infinity.
        number(code, f64::NEG_INFINITY);
        number(code, f64::INFINITY);
        number(code, f64::NAN).get(given);
        number(code, f64::INFINITY).op(I::F64x2Eq).op(I::V128Bitselect).get(given);
        number(code, 0.0).op(I::F64x2Eq).op(I::V128Bitselect).get(given);
        number(code, 0.0).op(I::F64x2Gt).get(given);
        number(code, f64::INFINITY).op(I::F64x2Lt).op(I::V128And).op(I::V128Bitselect);
        code.release([x, e, f, s, square, half]);
    });
}

/// `ln(1 + x)`: that of the rounded sum, and what was rounded off.
fn ln_1p(code: &mut Code) {
    with(code, |code, x| {
        let sum = code.v128_local();
        code.get(x);
        number(code, 1.0).op(I::F64x2Add).tee(sum);
        ln(code);
        code.get(x).get(sum);
        number(code, 1.0).op(I::F64x2Sub).op(I::F64x2Sub).get(sum).op(I::F64x2Div);
        code.op(I::F64x2Add);
        // Where the sum is infinite, or so is its logarithm, there is no rest.
        code.get(sum);
        ln(code);
        code.get(sum);
        number(code, f64::INFINITY).op(I::F64x2Lt).get(sum);
        number(code, 0.0).op(I::F64x2Gt).op(I::V128And).op(I::V128Bitselect);
        code.release([sum]);
    });
}

/// `1 / (1 + e^-x)`
fn sigmoid(code: &mut Code) {
    code.op(I::F64x2Neg);
    exp(code);
    number(code, 1.0).op(I::F64x2Add);
    recip(code);
}

/// `t / (t + 2)` of `t = e^2|x| - 1`, with the sign of `x`.
fn tanh(code: &mut Code) {
    with(code, |code, x| {
        let (y, t) = (code.v128_local(), code.v128_local());
        // From 20 on it is 1.
        code.get(x).op(I::F64x2Abs);
        number(code, 20.0).op(I::F64x2PMin);
        number(code, 2.0).op(I::F64x2Mul).set(y);
        let coefficients: [f64; 16] =
            std::array::from_fn(|i| 1.0 / (1..=i + 1).map(|k| k as f64).product::<f64>());
        series(code, y, &coefficients);
        code.get(y).op(I::F64x2Mul).get(y);
        exp(code);
        number(code, 1.0).op(I::F64x2Sub);
        select_below(code, y, 0.7);
        code.tee(t).get(t);
        number(code, 2.0).op(I::F64x2Add).op(I::F64x2Div);
        wide::with_sign_of(code, x);
        code.release([y, t]);
    });
}

/// Pushes `e^(|x|/2)`, whose square does not overflow before the result does.
fn half_exponential(code: &mut Code, x: Local) {
    code.get(x).op(I::F64x2Abs);
    number(code, 0.5).op(I::F64x2Mul);
    exp(code);
}

/// `(e^x - e^-x) / 2`, near zero its series.
fn sinh(code: &mut Code) {
    with(code, |code, x| {
        let (square, root) = (code.v128_local(), code.v128_local());
        code.get(x).get(x).op(I::F64x2Mul).set(square);
        series(code, square, &factorials::<11>(1, false));
        code.get(x).op(I::F64x2Mul);
        half_exponential(code, x);
        code.tee(root);
        number(code, 0.5).op(I::F64x2Mul).get(root).op(I::F64x2Mul);
        number(code, 0.5).get(root).op(I::F64x2Div).get(root).op(I::F64x2Div);
        code.op(I::F64x2Sub);
        wide::with_sign_of(code, x);
        select_below(code, x, 1.0);
        code.release([square, root]);
    });
}

/// `(e^x + e^-x) / 2`
fn cosh(code: &mut Code) {
    with(code, |code, x| {
        let root = code.v128_local();
        half_exponential(code, x);
        code.tee(root);
        number(code, 0.5).op(I::F64x2Mul).get(root).op(I::F64x2Mul);
        number(code, 0.5).get(root).op(I::F64x2Div).get(root).op(I::F64x2Div);
        code.op(I::F64x2Add);
        code.release([root]);
    });
}

/// `ln(1 + |x| + x^2 / (1 + sqrt(1 + x^2)))`, of large numbers `ln |x| + ln 2`.
fn asinh(code: &mut Code) {
    with(code, |code, x| {
        let size = code.v128_local();
        code.get(x).op(I::F64x2Abs).tee(size);
        ln(code);
        number(code, std::f64::consts::LN_2).op(I::F64x2Add);
        code.get(size).get(size).get(size).op(I::F64x2Mul);
        number(code, 1.0);
        number(code, 1.0).get(size).get(size).op(I::F64x2Mul).op(I::F64x2Add);
        code.op(I::F64x2Sqrt).op(I::F64x2Add).op(I::F64x2Div).op(I::F64x2Add);
        ln_1p(code);
        code.get(size);
        number(code, 1e9).op(I::F64x2Gt).op(I::V128Bitselect);
        wide::with_sign_of(code, x);
        code.release([size]);
    });
}

/// `ln(1 + t + sqrt(t) sqrt(t + 2))` of `t = x - 1`, of large numbers `ln x + ln 2`.
fn acosh(code: &mut Code) {
    with(code, |code, x| {
        let t = code.v128_local();
        code.get(x);
        ln(code);
        number(code, std::f64::consts::LN_2).op(I::F64x2Add);
        code.get(x);
        number(code, 1.0).op(I::F64x2Sub).tee(t);
        code.get(t).op(I::F64x2Sqrt).get(t);
        number(code, 2.0).op(I::F64x2Add).op(I::F64x2Sqrt).op(I::F64x2Mul).op(I::F64x2Add);
        ln_1p(code);
        code.get(x);
        number(code, 1e9).op(I::F64x2Gt).op(I::V128Bitselect);
        code.release([t]);
    });
}

/// `ln(1 + 2|x| / (1 - |x|)) / 2`, with the sign of `x`.
fn atanh(code: &mut Code) {
    with(code, |code, x| {
        let size = code.v128_local();
        code.get(x).op(I::F64x2Abs).tee(size).get(size).op(I::F64x2Add);
        number(code, 1.0).get(size).op(I::F64x2Sub).op(I::F64x2Div);
        ln_1p(code);
        number(code, 0.5).op(I::F64x2Mul);
        wide::with_sign_of(code, x);
        code.release([size]);
    });
}

/// A number as the sum of two, the second far smaller.
struct Sum {
    high: Local,
    low: Local,
}

/// The product of two numbers, exactly (T. Dekker, "A floating-point technique for
/// extending the available precision", 1971).
fn product(code: &mut Code, a: Local, b: Local) -> Sum {
    let sum = Sum { high: code.v128_local(), low: code.v128_local() };
    let [a_high, a_low, b_high, b_low] = std::array::from_fn(|_| code.v128_local());
    for (x, high, low) in [(a, a_high, a_low), (b, b_high, b_low)] {
        code.get(x);
        number(code, 134_217_729.0).op(I::F64x2Mul).tee(high).get(high).get(x);
        code.op(I::F64x2Sub).op(I::F64x2Sub).set(high);
        code.get(x).get(high).op(I::F64x2Sub).set(low);
    }
    code.get(a).get(b).op(I::F64x2Mul).set(sum.high);
    code.get(a_high).get(b_high).op(I::F64x2Mul).get(sum.high).op(I::F64x2Sub);
    for (x, y) in [(a_high, b_low), (a_low, b_high), (a_low, b_low)] {
        code.get(x).get(y).op(I::F64x2Mul).op(I::F64x2Add);
    }
    code.set(sum.low);
    code.release([a_high, a_low, b_high, b_low]);
    sum
}

impl Sum {
    /// `low += a * b`
    fn add_product(&self, code: &mut Code, a: Local, b: Local) {
        code.get(self.low).get(a).get(b).op(I::F64x2Mul).op(I::F64x2Add).set(self.low);
    }

    /// Replaces `self + high` by its exact sum, where `high` is the larger.
    fn below(&self, code: &mut Code, high: Local) {
        let sum = code.v128_local();
        code.get(high).get(self.high).op(I::F64x2Add).set(sum);
        code.get(self.high).get(sum).get(high).op(I::F64x2Sub).op(I::F64x2Sub);
        code.get(self.low).op(I::F64x2Add).set(self.low);
        code.get(sum).set(self.high);
        code.release([sum]);
    }

    /// Makes the second number smaller than the last place of the first.
    fn normalise(&self, code: &mut Code) {
        let sum = code.v128_local();
        code.get(self.high).get(self.low).op(I::F64x2Add).set(sum);
        code.get(self.low).get(sum).get(self.high).op(I::F64x2Sub).op(I::F64x2Sub).set(self.low);
        code.get(sum).set(self.high);
        code.release([sum]);
    }

    fn release(self, code: &mut Code) {
        code.release([self.high, self.low]);
    }
}

/// The natural logarithm of a positive finite number to twice the precision:
/// `2 s + s^3 (2/3 + ...)` with `s = (m - 1) / (m + 1)`, and `e ln 2`.
fn precise_ln(code: &mut Code, given: Local) -> Sum {
    const THIRDS: f64 = 2.0 / 3.0;
    const THIRDS_LOW: f64 = 3.700_743_415_417_188e-17;
    let [x, e, f, d, low] = std::array::from_fn(|_| code.v128_local());
    split(code, given, x, e);
    code.set(x);

    // s = f / d, with what the divisor and the quotient lack.
    code.get(x);
    number(code, 1.0).op(I::F64x2Sub).set(f);
    code.get(x);
    number(code, 1.0).op(I::F64x2Add).set(d);
    code.get(x).get(d);
    number(code, 1.0).op(I::F64x2Sub).op(I::F64x2Sub).set(low);
    let s = Sum { high: x, low: code.v128_local() };
    code.get(f).get(d).op(I::F64x2Div).set(s.high);
    let back = product(code, s.high, d);
    code.get(f).get(back.high).op(I::F64x2Sub).get(back.low).op(I::F64x2Sub);
    code.get(s.high).get(low).op(I::F64x2Mul).op(I::F64x2Sub).get(d).op(I::F64x2Div).set(s.low);
    back.release(code);

    // q = s^2 (2/3 + 2/5 s^2 + ...), then s q.
    let square = product(code, s.high, s.high);
    square.add_product(code, s.high, s.low);
    square.add_product(code, s.high, s.low);
    let third = d;
    number(code, THIRDS).set(third);
    let q = product(code, square.high, third);
    q.add_product(code, square.low, third);
    let rest = f;
    let coefficients: [f64; 10] = std::array::from_fn(|i| 2.0 / (2 * i + 5) as f64);
    series(code, square.high, &coefficients);
    code.get(square.high).op(I::F64x2Mul);
    number(code, THIRDS_LOW).op(I::F64x2Add).set(rest);
    q.add_product(code, square.high, rest);
    square.release(code);
    let log = product(code, s.high, q.high);
    log.add_product(code, s.high, q.low);
    log.add_product(code, s.low, q.high);
    q.release(code);

    // What is added grows: the logarithm's higher terms, 2 s, e ln 2.
    code.get(s.high).get(s.high).op(I::F64x2Add).set(d);
    log.below(code, d);
    code.get(log.low).get(s.low).get(s.low).op(I::F64x2Add).op(I::F64x2Add).set(log.low);
    code.get(e);
    number(code, LN2_HIGH).op(I::F64x2Mul).set(d);
    number(code, LN2_LOW).set(low);
    log.add_product(code, e, low);
    // Of e = 0 the sum is the other number, whichever is larger.
    log.below(code, d);
    log.normalise(code);
    s.release(code);
    code.release([e, f, d, low]);
    log
}

/// `a^b`, as C's `pow` of all special values: `e^(b ln |a|)`, negated for an odd
/// `b` of a negative `a`; NaN for a `b` that is no integer of one.
fn pow(code: &mut Code) {
    let [a, b, size, bounded] = std::array::from_fn(|_| code.v128_local());
    code.set(b).tee(a).op(I::F64x2Abs).set(size);
    let log = precise_ln(code, size);
    // A larger exponent gives 0, 1 or infinity as this one does.
    code.get(b);
    number(code, 2f64.powi(70)).op(I::F64x2PMin);
    number(code, -(2f64.powi(70))).op(I::F64x2PMax).set(bounded);
    let exponent = product(code, log.high, bounded);
    exponent.add_product(code, log.low, bounded);
    log.release(code);
    exp_of(code, exponent.high, Some(exponent.low));
    let power = bounded;
    code.set(power);
    exponent.release(code);
    // Of 0 and infinity, by the sign of the exponent; of NaN itself.
    number(code, 0.0);
    number(code, f64::INFINITY);
    code.get(size);
    number(code, 0.0).op(I::F64x2Eq).get(b);
    number(code, 0.0).op(I::F64x2Lt).op(I::V128Xor).op(I::V128Bitselect).get(power);
    code.get(size);
    number(code, 0.0).op(I::F64x2Eq).get(size);
    number(code, f64::INFINITY).op(I::F64x2Eq).op(I::V128Or).op(I::V128Bitselect).set(power);
    code.get(power).get(size).get(size).get(size).op(I::F64x2Eq).op(I::V128Bitselect);
    // And to the power of NaN.
    code.get(b).get(b).get(b).op(I::F64x2Eq).op(I::V128Bitselect);
    code.release([size, bounded]);

    let is_integer = |code: &mut Code| {
        with(code, |code, x| {
            code.get(x).get(x).op(I::F64x2Trunc).op(I::F64x2Eq);
        });
    };
    code.get(b);
    is_integer(code);
    code.get(b);
    number(code, 0.5).op(I::F64x2Mul);
    is_integer(code);
    code.op(I::V128AndNot).get(a).op(I::V128And);
    bits(code, SIGN).op(I::V128And).op(I::V128Or);

    let result = code.v128_local();
    code.set(result);
    bits(code, CANONICAL_NAN).get(result).get(a);
    number(code, 0.0).op(I::F64x2Lt).get(a);
    number(code, f64::NEG_INFINITY).op(I::F64x2Gt).op(I::V128And).get(b);
    is_integer(code);
    code.op(I::V128AndNot).op(I::V128Bitselect).set(result);

    // b = 0, a = 1, and a = -1 with an infinite b: 1, even beside a NaN.
    number(code, 1.0).get(result).get(b);
    number(code, 0.0).op(I::F64x2Eq).get(a);
    number(code, 1.0).op(I::F64x2Eq).op(I::V128Or).get(a);
    number(code, -1.0).op(I::F64x2Eq).get(b).op(I::F64x2Abs);
    number(code, f64::INFINITY).op(I::F64x2Eq).op(I::V128And);
    code.op(I::V128Or).op(I::V128Bitselect);
    code.release([a, b, result]);
}
