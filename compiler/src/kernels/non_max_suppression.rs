//! The `non max suppression` kernel: of overlapping boxes, those with the highest
//! scores (ONNX `NonMaxSuppression`), in a number of steps that does not depend on
//! the boxes.
//!
//! For each class, as often as a box may be selected, the best of those left is
//! found in a pass over all, and another pass drops what overlaps it. Scores are
//! compared as integers that are ordered as they are; a box that was dropped has the
//! smallest one.

use std::any::Any;

use wasm_encoder::{Instruction as I, ValType};

use crate::emit::code::{Address, Code, Local, at};
use crate::schedule::{Kernel, Places};

/// The key of a box that is not left.
const DROPPED: u32 = i32::MIN as u32;

/// The first input has the boxes, `[batch][boxes][4]`, the second the scores,
/// `[batch][classes][boxes]`. The output has for each box that is selected its batch,
/// class and index, as I64; -1 in the rows after them.
#[derive(Clone, Debug)]
pub struct NonMaxSuppression {
    /// The number of batches.
    pub batches: usize,
    /// The number of classes.
    pub classes: usize,
    /// The number of boxes.
    pub boxes: usize,
    /// How many of a class may be selected, at most as many as there are.
    pub most: usize,
    /// Boxes overlap whose intersection is more than this share of their union.
    pub overlap: f32,
    /// A score must be above this, if it is there. A NaN never is.
    pub threshold: Option<f32>,
    /// Whether boxes are their center, width and height, and not two corners.
    pub centers: bool,
}

/// What the kernel keeps of the boxes of a batch: `y1, x1, y2, x2`, the areas, and
/// the keys of a class.
const PLANES: usize = 6;
const AREA: usize = 4;
const KEYS: usize = 5;

impl NonMaxSuppression {
    fn vectors(&self) -> usize {
        self.boxes.div_ceil(4)
    }

    fn plane_bytes(&self) -> u32 {
        16 * self.vectors() as u32
    }

    fn rows(&self) -> usize {
        self.batches * self.classes * self.most
    }
}

impl Kernel for NonMaxSuppression {
    fn describe(&self) -> String {
        format!("non max suppression, {} of {}", self.most, self.boxes)
    }

    fn scratch_bytes(&self) -> usize {
        PLANES * self.plane_bytes() as usize
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let [boxes, scores, out] = std::array::from_fn(|_| code.i32_local());
        let (batch, class) = (code.local(ValType::I64), code.local(ValType::I64));
        code.point(out, places.outputs[0]);
        code.repeat(3 * self.rows(), |code| {
            code.get(out).op(I::I64Const(-1)).op(I::I64Store(at(0, 0)));
            code.advance(out, 8);
        });
        code.point(out, places.outputs[0]);
        code.point(boxes, places.inputs[0]);
        code.point(scores, places.inputs[1]);
        let next = |code: &mut Code, number: Local| {
            code.get(number).op(I::I64Const(1)).op(I::I64Add).set(number);
        };
        code.op(I::I64Const(0)).set(batch);
        code.repeat(self.batches, |code| {
            self.emit_boxes(code, boxes, places.scratch);
            code.op(I::I64Const(0)).set(class);
            code.repeat(self.classes, |code| {
                self.emit_keys(code, scores, places.scratch);
                code.repeat(self.most, |code| {
                    self.emit_selection(code, [batch, class], out, places.scratch);
                });
                next(code, class);
            });
            next(code, batch);
        });
        code.release([boxes, scores, out, batch, class]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl NonMaxSuppression {
    /// Writes the corners and areas of the boxes of a batch, and moves past them.
    fn emit_boxes(&self, code: &mut Code, boxes: Local, scratch: Address) {
        let to = code.i32_local();
        let corners: [Local; 4] = std::array::from_fn(|_| code.local(ValType::F32));
        let [y1, x1, y2, x2] = corners;
        code.point(to, scratch);
        code.repeat(self.boxes, |code| {
            let part = |code: &mut Code, number: u64| {
                code.get(boxes).op(I::F32Load(at(4 * number, 0)));
            };
            if self.centers {
                for (center, size, low, high) in [(0, 2, x1, x2), (1, 3, y1, y2)] {
                    for (operator, corner) in [(I::F32Sub, low), (I::F32Add, high)] {
                        part(code, center);
                        part(code, size);
                        code.f32(0.5).op(I::F32Mul).op(operator).set(corner);
                    }
                }
            } else {
                for (one, other, low, high) in [(0, 2, y1, y2), (1, 3, x1, x2)] {
                    for (operator, corner) in [(I::F32Min, low), (I::F32Max, high)] {
                        part(code, one);
                        part(code, other);
                        code.op(operator).set(corner);
                    }
                }
            }
            for (plane, &corner) in corners.iter().enumerate() {
                let memarg = at(u64::from(plane as u32 * self.plane_bytes()), 0);
                code.get(to).get(corner).op(I::F32Store(memarg));
            }
            code.get(to).get(y2).get(y1).op(I::F32Sub).get(x2).get(x1).op(I::F32Sub);
            code.op(I::F32Mul);
            code.op(I::F32Store(at(u64::from(AREA as u32 * self.plane_bytes()), 0)));
            code.advance(to, 4);
            code.advance(boxes, 16);
        });
        code.release(corners);
        code.release([to]);
    }

    /// Writes the keys of a class, and moves past its scores.
    fn emit_keys(&self, code: &mut Code, scores: Local, scratch: Address) {
        let to = code.i32_local();
        let (score, key) = (code.v128_local(), code.v128_local());
        code.point(to, scratch.plus(KEYS as u32 * self.plane_bytes()));
        let vector = |code: &mut Code, lanes: usize| {
            // 0 is added to make a 0 of -0.
            code.load(scores, 0).splat(0.0).op(I::F32x4Add).tee(score).set(key);
            code.get(key).get(key).i32(31).op(I::I32x4ShrS).splat_bits(0x7fff_ffff);
            code.op(I::V128And).op(I::V128Xor).splat_bits(DROPPED).get(score);
            match self.threshold {
                Some(threshold) => code.splat(threshold).op(I::F32x4Gt),
                None => code.get(score).op(I::F32x4Eq),
            };
            let is_there = (0..lanes).fold(0u128, |mask, lane| mask | 0xffff_ffff << (32 * lane));
            code.op(I::V128Const(is_there as i128)).op(I::V128And);
            code.op(I::V128Bitselect).set(key);
            code.get(to).get(key).op(I::V128Store(at(0, 0)));
            code.advance(to, 16);
        };
        code.repeat(self.boxes / 4, |code| {
            vector(code, 4);
            code.advance(scores, 16);
        });
        if !self.boxes.is_multiple_of(4) {
            vector(code, self.boxes % 4);
            code.advance(scores, 4 * (self.boxes % 4) as i64);
        }
        code.release([to, score, key]);
    }

    /// Selects one more box, if there is one left, and drops what overlaps it.
    fn emit_selection(
        &self,
        code: &mut Code,
        [batch, class]: [Local; 2],
        out: Local,
        scratch: Address,
    ) {
        let (best, index, is_found) = (code.i32_local(), code.i32_local(), code.i32_local());
        self.emit_best(code, best, index, scratch);
        code.get(best).i32(DROPPED).op(I::I32Ne).set(is_found);
        let columns = [Some(batch), Some(class), None];
        for (column, number) in columns.into_iter().enumerate() {
            code.get(out);
            match number {
                Some(number) => code.get(number),
                None => code.get(index).op(I::I64ExtendI32U),
            };
            code.op(I::I64Const(-1)).get(is_found).op(I::Select);
            code.op(I::I64Store(at(8 * column as u64, 0)));
        }
        code.get(out).get(is_found).i32(24).op(I::I32Mul).op(I::I32Add).set(out);
        // Where there is none left, all are dropped, and box 0 is as good as any.
        code.get(index).i32(0).get(is_found).op(I::Select).i32(4).op(I::I32Mul);
        code.address(scratch).op(I::I32Add).set(index);
        code.get(index).i32(DROPPED);
        code.op(I::I32Store(at(u64::from(KEYS as u32 * self.plane_bytes()), 0)));
        self.emit_suppression(code, index, scratch);
        code.release([best, index, is_found]);
    }

    /// The largest key, and the first index that has it.
    fn emit_best(&self, code: &mut Code, best: Local, index: Local, scratch: Address) {
        const LANES: [u32; 4] = [0, 1, 2, 3];
        let [keys, indices, here, key, is_better] = std::array::from_fn(|_| code.v128_local());
        let from = code.i32_local();
        code.point(from, scratch.plus(KEYS as u32 * self.plane_bytes()));
        code.splat_bits(DROPPED).set(keys);
        code.splat_bits(u32::MAX).set(indices);
        let lanes = LANES.iter().rev().fold(0u128, |all, &lane| all << 32 | u128::from(lane));
        code.op(I::V128Const(lanes as i128)).set(here);
        code.repeat(self.vectors(), |code| {
            code.load(from, 0).tee(key).get(keys).op(I::I32x4GtS).set(is_better);
            code.get(key).get(keys).get(is_better).op(I::V128Bitselect).set(keys);
            code.get(here).get(indices).get(is_better).op(I::V128Bitselect).set(indices);
            code.get(here).splat_bits(4).op(I::I32x4Add).set(here);
            code.advance(from, 16);
        });
        let (a, b, is_first) = (code.i32_local(), code.i32_local(), code.i32_local());
        code.assign(best, DROPPED);
        code.assign(index, u32::MAX);
        for lane in 0..4 {
            code.get(keys).op(I::I32x4ExtractLane(lane)).set(a);
            code.get(indices).op(I::I32x4ExtractLane(lane)).set(b);
            code.get(a).get(best).op(I::I32GtS).get(a).get(best).op(I::I32Eq);
            code.get(b).get(index).op(I::I32LtU).op(I::I32And).op(I::I32Or).set(is_first);
            code.get(a).get(best).get(is_first).op(I::Select).set(best);
            code.get(b).get(index).get(is_first).op(I::Select).set(index);
        }
        code.release([keys, indices, here, key, is_better, from, a, b, is_first]);
    }

    /// Drops the boxes that overlap the one whose first corner is at `chosen`.
    fn emit_suppression(&self, code: &mut Code, chosen: Local, scratch: Address) {
        let of_chosen: [Local; 5] = std::array::from_fn(|_| code.v128_local());
        let offset = |plane: usize| u64::from(plane as u32 * self.plane_bytes());
        for (plane, &local) in of_chosen.iter().enumerate() {
            code.load_splat(chosen, offset(plane)).set(local);
        }
        let [height, width, both, overlaps] = std::array::from_fn(|_| code.v128_local());
        let from = code.i32_local();
        code.point(from, scratch);
        code.repeat(self.vectors(), |code| {
            for (low, high, extent) in [(0, 2, height), (1, 3, width)] {
                code.load(from, offset(high)).get(of_chosen[high]).op(I::F32x4Min);
                code.load(from, offset(low)).get(of_chosen[low]).op(I::F32x4Max);
                code.op(I::F32x4Sub).set(extent);
            }
            code.get(height).get(width).op(I::F32x4Mul).tee(both);
            code.load(from, offset(AREA)).get(of_chosen[AREA]).op(I::F32x4Add);
            code.get(both).op(I::F32x4Sub).op(I::F32x4Div).splat(self.overlap).op(I::F32x4Gt);
            code.get(height).splat(0.0).op(I::F32x4Gt).op(I::V128And);
            code.get(width).splat(0.0).op(I::F32x4Gt).op(I::V128And).set(overlaps);
            code.get(from).splat_bits(DROPPED).load(from, offset(KEYS)).get(overlaps);
            code.op(I::V128Bitselect).op(I::V128Store(at(offset(KEYS), 0)));
            code.advance(from, 16);
        });
        code.release(of_chosen);
        code.release([height, width, both, overlaps, from]);
    }
}
