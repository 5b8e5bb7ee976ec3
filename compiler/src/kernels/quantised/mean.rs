//! The `mean` kernel of 8-bit integers: the sum of each row, and what becomes of it.

use std::any::Any;

use wasm_encoder::Instruction as I;

use super::outcome::{Outcome, Stored};
use crate::emit::code::{Code, Local, at};
use crate::schedule::{Kernel, Places};

/// Bytes of a row that are summed at a time.
const LANES: usize = 16;

/// `out[row] = outcome(sum(in[row][..] - zero_point))`; there is one channel.
#[derive(Clone, Debug)]
pub struct Mean {
    /// The number of rows.
    pub rows: usize,
    /// The elements of one.
    pub count: usize,
    /// Whether they are I8, and not U8.
    pub signed: bool,
    /// Their zero point.
    pub zero_point: i32,
    /// What is stored.
    pub outcome: Outcome,
}

impl Kernel for Mean {
    fn describe(&self) -> String {
        "mean i8".into()
    }

    /// The outcome's constants.
    fn weights(&self) -> Vec<Vec<u8>> {
        vec![self.outcome.constants()]
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (from, to, constants) = (code.i32_local(), code.i32_local(), code.i32_local());
        code.point(constants, places.weights[0]);
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        code.repeat(self.rows / 4, |code| self.emit_rows(code, (from, to, constants), 4));
        if !self.rows.is_multiple_of(4) {
            self.emit_rows(code, (from, to, constants), self.rows % 4);
        }
        code.release([from, to, constants]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Mean {
    /// Emits up to four rows. Both pointers move past them.
    fn emit_rows(
        &self,
        code: &mut Code,
        (from, to, constants): (Local, Local, Local),
        rows: usize,
    ) {
        let sums = code.v128_local();
        code.splat_bits(0).set(sums);
        for lane in 0..rows {
            let row = self.emit_row(code, from);
            code.get(sums);
            for at in 0..4 {
                code.get(row).op(I::I32x4ExtractLane(at));
            }
            code.op(I::I32Add).op(I::I32Add).op(I::I32Add);
            code.i32((self.zero_point.wrapping_mul(self.count as i32)) as u32).op(I::I32Sub);
            code.op(I::I32x4ReplaceLane(lane as u8)).set(sums);
            code.release([row]);
        }
        let channel = &mut |_: &mut Code, _| unreachable!("there is one channel");
        self.outcome.apply(code, sums, constants, channel);
        self.outcome.store(code, to, &[Stored { value: sums, to: 0, lanes: rows }]);
        code.advance(to, (rows * self.outcome.element_bytes()) as i64);
        code.release([sums]);
    }

    /// Emits the sum of a row, as four sums in the local that is returned. `from` moves
    /// past the row.
    fn emit_row(&self, code: &mut Code, from: Local) -> Local {
        let sum = code.v128_local();
        code.splat_bits(0).set(sum);
        let add = |code: &mut Code, bytes: usize| {
            code.get(sum).get(from).op(I::V128Load(at(0, 0)));
            if bytes < LANES {
                let mask = (1u128 << (8 * bytes)) - 1;
                code.op(I::V128Const(mask as i128)).op(I::V128And);
            }
            match self.signed {
                true => code.op(I::I16x8ExtAddPairwiseI8x16S).op(I::I32x4ExtAddPairwiseI16x8S),
                false => code.op(I::I16x8ExtAddPairwiseI8x16U).op(I::I32x4ExtAddPairwiseI16x8U),
            };
            code.op(I::I32x4Add).set(sum);
            code.advance(from, bytes as i64);
        };
        code.repeat(self.count / LANES, |code| add(code, LANES));
        if !self.count.is_multiple_of(LANES) {
            add(code, self.count % LANES);
        }
        sum
    }
}
