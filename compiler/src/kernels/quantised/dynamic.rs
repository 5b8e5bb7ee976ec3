//! The `quantize` kernel: a tensor of reals, quantised by the scale that its own numbers
//! want. Its work does not depend on them: it is two passes over all.

use std::any::Any;

use wasm_encoder::Instruction as I;

use super::outcome::MAGIC;
use crate::emit::code::{Code, Local, at};
use crate::schedule::{Kernel, Places};

/// Vectors that one iteration takes: what one store of bytes wants.
const VECTORS: usize = 4;

/// `DynamicQuantizeLinear`: the integers, their scale and their zero point. NaNs have no
/// part in the scale.
#[derive(Clone, Debug)]
pub struct DynamicQuantize {
    /// The number of elements.
    pub count: usize,
}

/// What the first pass finds, in all lanes.
#[derive(Clone, Copy)]
struct Scale {
    scale: Local,
    zero_point: Local,
}

impl Kernel for DynamicQuantize {
    fn describe(&self) -> String {
        "quantize u8 dynamic".into()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        let found = self.emit_scale(code, from);
        code.point(to, places.outputs[1]);
        code.get(to).get(found.scale).op(I::V128Store32Lane { memarg: at(0, 0), lane: 0 });
        code.point(to, places.outputs[2]);
        code.get(to).get(found.zero_point).op(I::F32x4ExtractLane(0)).op(I::I32TruncSatF32U);
        code.op(I::I32Store8(at(0, 0)));

        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        code.repeat(self.count.div_ceil(4 * VECTORS), |code| {
            emit_integers(code, from, to, found);
            code.advance(from, 16 * VECTORS as i64);
            code.advance(to, 4 * VECTORS as i64);
        });
        code.release([from, to, found.scale, found.zero_point]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DynamicQuantize {
    /// Emits the scale and zero point of all elements from `from` on, which moves.
    fn emit_scale(&self, code: &mut Code, from: Local) -> Scale {
        let [least, most, x] = std::array::from_fn(|_| code.v128_local());
        code.splat(0.0).tee(least).set(most);
        // Of a NaN and a number these give the number before.
        let take = |code: &mut Code| {
            code.get(least).get(x).op(I::F32x4PMin).set(least);
            code.get(most).get(x).op(I::F32x4PMax).set(most);
        };
        code.repeat(self.count / (4 * VECTORS), |code| {
            for vector in 0..VECTORS {
                code.load(from, 16 * vector as u64).set(x);
                take(code);
            }
            code.advance(from, 16 * VECTORS as i64);
        });
        let rest = self.count % (4 * VECTORS);
        for (vector, first) in (0..rest).step_by(4).enumerate() {
            code.load(from, 16 * vector as u64);
            let lanes = (rest - first).min(4);
            if lanes < 4 {
                // A zero changes neither bound.
                code.op(I::V128Const(((1u128 << (32 * lanes)) - 1) as i128)).op(I::V128And);
            }
            code.set(x);
            take(code);
        }
        for (bound, combine) in [(least, I::F32x4PMin), (most, I::F32x4PMax)] {
            for distance in [8, 4] {
                let bytes = std::array::from_fn(|i| ((i + distance) % 16) as u8);
                code.get(bound).get(bound).get(bound).op(I::I8x16Shuffle(bytes));
                code.op(combine.clone()).set(bound);
            }
        }
        // 1 where all are 0.
        let (scale, zero_point) = (most, least);
        code.splat(1.0);
        code.get(most).get(least).op(I::F32x4Sub).tee(x).splat(255.0).op(I::F32x4Div);
        code.get(x).splat(0.0).op(I::F32x4Eq).op(I::V128Bitselect).set(scale);
        code.get(least).op(I::F32x4Neg).get(scale).op(I::F32x4Div).set(x);
        code.splat(0.0).get(x).op(I::F32x4PMax).set(x);
        code.splat(255.0).get(x).op(I::F32x4PMin).op(I::F32x4Nearest).set(zero_point);
        code.release([x]);
        Scale { scale, zero_point }
    }
}

/// Emits the integers of 16 elements.
fn emit_integers(code: &mut Code, from: Local, to: Local, found: Scale) {
    let x = code.v128_local();
    code.get(to);
    for vector in 0..VECTORS {
        code.load(from, 16 * vector as u64).get(found.scale).op(I::F32x4Div);
        code.op(I::F32x4Nearest).get(found.zero_point).op(I::F32x4Add).set(x);
        // The bound first: a NaN gives it.
        code.splat(0.0).get(x).op(I::F32x4PMax).set(x);
        code.splat(255.0).get(x).op(I::F32x4PMin);
        code.splat(MAGIC).op(I::F32x4Add).splat_bits(MAGIC.to_bits()).op(I::I32x4Sub);
        if vector % 2 == 1 {
            code.op(I::I16x8NarrowI32x4S);
        }
    }
    code.op(I::I8x16NarrowI16x8U).op(I::V128Store(at(0, 0)));
    code.release([x]);
}
