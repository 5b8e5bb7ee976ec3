//! Padding an image, and splitting it by the phases of a stride, so that a
//! window's every tap becomes a plane at a constant offset with stride 1.

use wasm_encoder::Instruction as I;

use super::copy::copy_bytes;
use crate::emit::code::{Address, Code, Local, at};

/// How one dimension of an image is padded and split: the phase `p` has the
/// pixels `p, p + stride, p + 2 * stride, ...` of the padded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Pixels of the image.
    pub size: usize,
    /// Pixels of padding before it.
    pub before: usize,
    /// The distance between two pixels of one phase, in pixels.
    pub stride: usize,
    /// Pixels of each phase.
    pub phase_size: usize,
}

impl Axis {
    /// The pixels `from..to` of a phase that are in the image and not padding.
    pub fn valid(&self, phase: usize) -> (usize, usize) {
        let from = self.before.saturating_sub(phase).div_ceil(self.stride).min(self.phase_size);
        let end = (self.before + self.size).saturating_sub(phase).div_ceil(self.stride);
        (from, end.clamp(from, self.phase_size))
    }
}

/// Planes of `f32`, one for each channel and phase, channels outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    /// The number of channels, of all images together.
    pub channels: usize,
    /// Rows.
    pub y: Axis,
    /// Columns.
    pub x: Axis,
    /// The phases that there are planes of, row and column.
    pub phases: Vec<(usize, usize)>,
    /// The bits of the padding's value.
    pub fill: u32,
}

impl Planes {
    /// The pixels of one plane.
    pub fn plane_elements(&self) -> usize {
        self.y.phase_size * self.x.phase_size
    }

    /// From one channel to the next, in elements.
    pub fn channel_elements(&self) -> usize {
        self.plane_elements() * self.phases.len()
    }

    /// The size of all planes in bytes.
    pub fn size_bytes(&self) -> usize {
        4 * self.channels * self.channel_elements()
    }

    /// Emits the making of the planes at the address `to` from dense images at
    /// `image`, which moves past them.
    pub fn emit(&self, code: &mut Code, image: Local, to: Address) {
        let (plane, row) = (code.i32_local(), code.i32_local());
        code.point(plane, to);
        code.repeat(self.channels, |code| {
            for &(phase_y, phase_x) in &self.phases {
                self.emit_plane(code, image, row, plane, phase_y, phase_x);
            }
            code.advance(image, (4 * self.y.size * self.x.size) as i64);
        });
        code.release([plane, row]);
    }

    /// The same, from dense images at the address in `images`, which stays.
    pub fn emit_at(&self, code: &mut Code, images: Local, to: Address) {
        let image = code.i32_local();
        code.copy(image, images);
        self.emit(code, image, to);
        code.release([image]);
    }

    /// Emits one plane at `plane`, which moves past it.
    fn emit_plane(
        &self,
        code: &mut Code,
        image: Local,
        row: Local,
        plane: Local,
        phase_y: usize,
        phase_x: usize,
    ) {
        let ((top, bottom), (left, right)) = (self.y.valid(phase_y), self.x.valid(phase_x));
        let width = self.x.phase_size;
        self.fill(code, plane, top * width);
        if bottom > top {
            let first_y = top * self.y.stride + phase_y - self.y.before;
            let first_x = match right > left {
                true => left * self.x.stride + phase_x - self.x.before,
                false => 0,
            };
            code.get(image).i32((4 * (first_y * self.x.size + first_x)) as u32);
            code.op(I::I32Add).set(row);
            code.repeat(bottom - top, |code| {
                self.fill(code, plane, left);
                self.copy_row(code, row, plane, right - left);
                code.advance(plane, 4 * (right - left) as i64);
                self.fill(code, plane, width - right);
                code.advance(row, (4 * self.y.stride * self.x.size) as i64);
            });
        }
        self.fill(code, plane, (self.y.phase_size - bottom) * width);
    }

    /// Emits `count` elements of padding at `to`, which moves past them.
    fn fill(&self, code: &mut Code, to: Local, count: usize) {
        let vectors = count / 4;
        let store = |code: &mut Code, offset: usize| {
            code.get(to).splat_bits(self.fill).op(I::V128Store(at(offset as u64, 0)));
        };
        if vectors > 4 {
            code.repeat(vectors, |code| {
                store(code, 0);
                code.advance(to, 16);
            });
        } else {
            (0..vectors).for_each(|v| store(code, 16 * v));
            code.advance(to, 16 * vectors as i64);
        }
        for i in 0..count % 4 {
            code.get(to).i32(self.fill).op(I::I32Store(at(4 * i as u64, 0)));
        }
        code.advance(to, 4 * (count % 4) as i64);
    }

    /// Emits a copy of every `stride`-th of the pixels from `from` on. Leaves
    /// both pointers as they were.
    fn copy_row(&self, code: &mut Code, from: Local, to: Local, count: usize) {
        match self.x.stride {
            1 => copy_bytes(code, from, to, 4 * count),
            stride => {
                for first in (0..count).step_by(4) {
                    let lanes = (count - first).min(4);
                    load_strided(code, from, (4 * first * stride) as u64, stride, lanes);
                    let value = code.v128_local();
                    code.set(value);
                    code.store_lanes(to, 4 * first as u64, value, lanes);
                    code.release([value]);
                }
            }
        }
    }
}

/// Pushes four `f32` that lie `stride` elements apart, from `address + offset`
/// on. Past the first `lanes` the value is arbitrary.
pub fn load_strided(code: &mut Code, address: Local, offset: u64, stride: usize, lanes: usize) {
    match stride {
        1 => {
            code.load(address, offset);
        }
        2 => {
            code.load(address, offset).load(address, offset + 16);
            code.op(I::I8x16Shuffle([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]));
        }
        _ => {
            code.get(address).op(I::V128Load32Zero(at(offset, 0)));
            let vector = code.v128_local();
            for lane in 1..lanes {
                let memarg = at(offset + (4 * stride * lane) as u64, 0);
                code.set(vector).get(address).get(vector);
                code.op(I::V128Load32Lane { memarg, lane: lane as u8 });
            }
            code.release([vector]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_pixels_of_a_phase() {
        // Padded by 1: positions 0 (padding), 1..=5 (image), 6 (padding).
        let axis = Axis { size: 5, before: 1, stride: 2, phase_size: 4 };
        assert_eq!(axis.valid(0), (1, 3), "0p 2 4 6p");
        assert_eq!(axis.valid(1), (0, 3), "1 3 5 (7)");
        let axis = Axis { size: 5, before: 1, stride: 1, phase_size: 7 };
        assert_eq!(axis.valid(0), (1, 6));
    }

    #[test]
    fn a_phase_of_padding_only_has_no_valid_pixels() {
        let axis = Axis { size: 1, before: 0, stride: 3, phase_size: 1 };
        assert_eq!(axis.valid(0), (0, 1));
        assert_eq!(axis.valid(1), (0, 0));
    }
}
