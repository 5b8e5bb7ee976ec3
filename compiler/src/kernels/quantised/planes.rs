//! Images of bytes made ready for a window: widened, padded, split by the phases of
//! the stride, and in pairs: each element of a plane is two numbers of 16 bits, which
//! one dot product takes.

use wasm_encoder::Instruction as I;

use super::widen::{Bytes, WRITE_SLACK, Widener};
use crate::emit::code::{Address, Code, Local, at};
use crate::kernels::planes::Axis;

/// Which numbers lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// The same pixel of two neighbouring channels. Where there is none, a zero.
    Channels,
    /// Two pixels of the same channel.
    Rows {
        /// The second is so many rows below the first.
        below: usize,
    },
}

/// Planes of pairs, one for each pair of channels, or channel, and phase; channels
/// outermost. Padding is the operand's zero point, which is 0 once it is subtracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    /// The number of groups, of all images together.
    pub groups: usize,
    /// The channels of one.
    pub channels: usize,
    /// Rows.
    pub y: Axis,
    /// Columns.
    pub x: Axis,
    /// The phases that there are planes of, row and column.
    pub phases: Vec<(usize, usize)>,
    /// What a pair is.
    pub pairing: Pairing,
}

impl Planes {
    /// The planes of one group and phase.
    pub fn pairs(&self) -> usize {
        match self.pairing {
            Pairing::Channels => self.channels.div_ceil(2),
            Pairing::Rows { .. } => self.channels,
        }
    }

    /// The elements of one plane.
    pub fn plane_elements(&self) -> usize {
        self.y.phase_size * self.x.phase_size
    }

    /// From the planes of one pair to those of the next, in elements.
    pub fn pair_elements(&self) -> usize {
        self.plane_elements() * self.phases.len()
    }

    /// The bytes that their making writes.
    pub fn size_bytes(&self) -> usize {
        4 * self.groups * self.pairs() * self.pair_elements() + WRITE_SLACK
    }

    /// Emits the making of the planes at the address `to` from dense images at `image`,
    /// which moves past them; `inputs` are the kernel's, and `zeros` its blob of
    /// [`Bytes::zeros`].
    pub fn emit(
        &self,
        code: &mut Code,
        bytes: Bytes,
        inputs: &[Address],
        zeros: Address,
        image: Local,
        to: Address,
    ) {
        let cursor = Cursor {
            image,
            first: code.i32_local(),
            second: code.i32_local(),
            to: code.i32_local(),
        };
        let widener = bytes.start(code, inputs, zeros);
        code.point(cursor.to, to);
        let image_bytes = self.y.size * self.x.size;
        match self.pairing {
            Pairing::Rows { below } => code.repeat(self.groups * self.channels, |code| {
                self.emit_pair(code, widener, cursor, Second::Row { below });
                code.advance(cursor.image, image_bytes as i64);
            }),
            Pairing::Channels => code.repeat(self.groups, |code| {
                code.repeat(self.channels / 2, |code| {
                    self.emit_pair(code, widener, cursor, Second::Channel);
                    code.advance(cursor.image, 2 * image_bytes as i64);
                });
                if !self.channels.is_multiple_of(2) {
                    self.emit_pair(code, widener, cursor, Second::None);
                    code.advance(cursor.image, image_bytes as i64);
                }
            }),
        }
        widener.release(code);
        code.release([cursor.first, cursor.second, cursor.to]);
    }

    /// Emits the planes of one pair, of all phases.
    fn emit_pair(&self, code: &mut Code, widener: Widener, cursor: Cursor, second: Second) {
        for &(phase_y, phase_x) in &self.phases {
            for (rows, count) in self.segments(phase_y, second) {
                self.emit_rows(code, widener, cursor, rows, count, phase_x);
            }
        }
    }

    /// The rows of a plane, as runs of which each row comes from the image in the same
    /// way: where the first comes from, and their number.
    fn segments(&self, phase: usize, second: Second) -> Vec<(Rows, usize)> {
        let in_image = |row: usize| {
            let row = row.checked_sub(self.y.before)?;
            (row < self.y.size).then_some(row)
        };
        let mut segments: Vec<(Rows, usize)> = Vec::new();
        for row in 0..self.y.phase_size {
            let padded = row * self.y.stride + phase;
            let first = in_image(padded);
            let second = match second {
                Second::None => None,
                Second::Channel => first.map(|row| row + self.y.size),
                Second::Row { below } => in_image(padded + below),
            };
            let rows = Rows { first, second };
            match segments.last_mut() {
                Some((before, count)) if before.is_like(&rows) => *count += 1,
                _ => segments.push((rows, 1)),
            }
        }
        segments
    }

    /// Emits `count` rows, at `to`, which moves past them.
    fn emit_rows(
        &self,
        code: &mut Code,
        widener: Widener,
        cursor: Cursor,
        rows: Rows,
        count: usize,
        phase_x: usize,
    ) {
        let width = self.x.phase_size;
        let (left, right) = self.x.valid(phase_x);
        if rows == (Rows { first: None, second: None }) || left == right {
            return fill(code, cursor.to, count * width);
        }
        let column = left * self.x.stride + phase_x - self.x.before;
        let point = |code: &mut Code, pointer: Local, row: Option<usize>| {
            row.map(|row| {
                code.get(cursor.image).i32((row * self.x.size + column) as u32);
                code.op(I::I32Add).set(pointer);
                pointer
            })
        };
        let first = point(code, cursor.first, rows.first);
        let second = point(code, cursor.second, rows.second);
        let strides = (self.y.stride, self.x.stride);
        if strides == (1, 1) && (left, right) == (0, width) && width == self.x.size {
            return widener.emit_pairs(code, first, second, cursor.to, count * width, 1);
        }
        code.repeat(count, |code| {
            fill(code, cursor.to, left);
            widener.emit_pairs(code, first, second, cursor.to, right - left, self.x.stride);
            fill(code, cursor.to, width - right);
            let passed = ((right - left) * self.x.stride) as i64;
            for pointer in first.into_iter().chain(second) {
                code.advance(pointer, (self.y.stride * self.x.size) as i64 - passed);
            }
        });
    }
}

/// What the second number of a pair is.
#[derive(Clone, Copy, Debug)]
enum Second {
    None,
    Channel,
    Row { below: usize },
}

/// Where the numbers of a row of pairs come from: rows of the image, of which the next
/// channel's follow; `None` for zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    first: Option<usize>,
    second: Option<usize>,
}

impl Rows {
    fn is_like(&self, other: &Self) -> bool {
        self.first.is_some() == other.first.is_some()
            && self.second.is_some() == other.second.is_some()
    }
}

#[derive(Clone, Copy)]
struct Cursor {
    /// The first channel of the pair.
    image: Local,
    first: Local,
    second: Local,
    to: Local,
}

/// Emits `count` zeros of 32 bits at `to`, which moves past them. Up to 12 bytes more
/// are overwritten.
fn fill(code: &mut Code, to: Local, count: usize) {
    let vectors = count.div_ceil(4);
    let store = |code: &mut Code, offset: usize| {
        code.get(to).splat_bits(0).op(I::V128Store(at(offset as u64, 0)));
    };
    if vectors > 4 {
        code.repeat(vectors, |code| {
            store(code, 0);
            code.advance(to, 16);
        });
        code.advance(to, 4 * count as i64 - 16 * vectors as i64);
    } else {
        (0..vectors).for_each(|v| store(code, 16 * v));
        code.advance(to, 4 * count as i64);
    }
}
