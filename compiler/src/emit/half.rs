//! IEEE 754 binary16 on four lanes of 32 bits: widened exactly, and rounded to the
//! nearest, of two to the even one.

use wasm_encoder::Instruction as I;

use super::code::Code;

/// The bits of the one NaN that may leave a stage.
pub const CANONICAL_NAN: u16 = 0x7e00;

/// Replaces four binary16, in the low halves of the lanes, by the `f32` that they
/// are.
pub fn widen(code: &mut Code) {
    let (bits, magnitude) = (code.v128_local(), code.v128_local());
    code.tee(bits).splat_bits(0x7fff).op(I::V128And).tee(magnitude);
    // The exponents differ by 112; a multiplication scales denormals as well.
    code.i32(13).op(I::I32x4Shl).splat(2f32.powi(112)).op(I::F32x4Mul);
    code.get(magnitude).splat_bits(0x7bff).op(I::I32x4GtS);
    code.splat_bits(0x7f80_0000).op(I::V128And).op(I::V128Or);
    code.get(bits).splat_bits(0x8000).op(I::V128And).i32(16).op(I::I32x4Shl).op(I::V128Or);
    code.release([bits, magnitude]);
}

/// Replaces four `f32` by binary16 in the low halves of the lanes, with zeros above.
pub fn narrow(code: &mut Code) {
    const INFINITY: u32 = 0x7c00;
    // Below this a binary16 is denormal: adding 1/2 leaves its bits at the end.
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    const OVERFLOW: u32 = 0x4780_0000;
    let (bits, magnitude) = (code.v128_local(), code.v128_local());
    code.tee(bits).splat_bits(0x7fff_ffff).op(I::V128And).set(magnitude);

    code.get(magnitude).splat(0.5).op(I::F32x4Add).splat(0.5).op(I::I32x4Sub);

    code.get(magnitude).i32(13).op(I::I32x4ShrU).splat_bits(1).op(I::V128And);
    code.get(magnitude).op(I::I32x4Add);
    code.splat_bits((15u32.wrapping_sub(127) << 23).wrapping_add(0xfff)).op(I::I32x4Add);
    code.i32(13).op(I::I32x4ShrU);
    code.get(magnitude).splat_bits(SMALLEST_NORMAL).op(I::I32x4LtS).op(I::V128Bitselect);
    let usual = code.v128_local();
    code.set(usual);

    code.splat_bits(u32::from(CANONICAL_NAN)).splat_bits(INFINITY);
    code.get(magnitude).splat_bits(0x7f80_0000).op(I::I32x4GtS).op(I::V128Bitselect);
    code.get(usual);
    code.get(magnitude).splat_bits(OVERFLOW - 1).op(I::I32x4GtS).op(I::V128Bitselect);
    code.get(bits).i32(31).op(I::I32x4ShrU).i32(15).op(I::I32x4Shl).op(I::V128Or);
    code.release([bits, magnitude, usual]);
}

/// Replaces the NaNs among eight binary16 by [`CANONICAL_NAN`].
pub fn canonical_nan(code: &mut Code) {
    let all = |half: u16| {
        I::V128Const(i128::from_le_bytes(std::array::from_fn(|i| half.to_le_bytes()[i % 2])))
    };
    let x = code.v128_local();
    code.set(x).op(all(CANONICAL_NAN)).get(x);
    code.get(x).op(all(0x7fff)).op(I::V128And).op(all(0x7c00)).op(I::I16x8GtS);
    code.op(I::V128Bitselect);
    code.release([x]);
}

/// Replaces two `f64`, in the low half of a vector that [`I::F32x4DemoteF64x2Zero`]
/// would make of them, by `f32` rounded to odd: narrowed once more, the result is
/// that of a single rounding.
pub fn demote_to_odd(code: &mut Code) {
    let [exact, narrow, back] = std::array::from_fn(|_| code.v128_local());
    code.tee(exact).op(I::F32x4DemoteF64x2Zero).tee(narrow);
    code.op(I::F64x2PromoteLowF32x4).set(back);
    const LOW_WORDS: [u8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
    let to_words = |code: &mut Code| {
        let mask = code.v128_local();
        code.tee(mask).get(mask).op(I::I8x16Shuffle(LOW_WORDS));
        code.release([mask]);
    };
    // A mask is -1: one unit less where the magnitude was rounded up.
    code.get(narrow);
    code.get(back).op(I::F64x2Abs).get(exact).op(I::F64x2Abs).op(I::F64x2Gt);
    to_words(code);
    code.op(I::I32x4Add);
    code.get(back).get(exact).op(I::F64x2Lt);
    code.get(back).get(exact).op(I::F64x2Gt).op(I::V128Or);
    to_words(code);
    code.splat_bits(1).op(I::V128And).op(I::V128Or);
    code.release([exact, narrow, back]);
}
