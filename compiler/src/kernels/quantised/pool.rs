//! The `pool` kernel of 8-bit integers: the maximum over a window, 1-D and 2-D, over
//! NCHW. The maximum of the window's rows comes first, 16 pixels to a vector, and of its
//! columns then.

use std::any::Any;

use wasm_encoder::Instruction as I;

use super::outcome::store_bytes;
use crate::emit::code::{Address, Code, Local, at};
use crate::kernels::conv::Window;
use crate::kernels::copy::copy_bytes;
use crate::schedule::{Kernel, Places};

/// Pixels of a vector.
const LANES: usize = 16;

/// Bytes that are read and written past the end of a row or a plane, at most.
const SLACK: usize = 4 * LANES;

/// The maximum over a window of each channel of 8-bit images.
#[derive(Clone, Debug)]
pub struct MaxPool {
    /// Channels, of all images together.
    pub channels: usize,
    /// Rows.
    pub y: Window,
    /// Columns.
    pub x: Window,
    /// Whether pixels are I8, and not U8.
    pub signed: bool,
}

impl MaxPool {
    fn is_padded(&self) -> bool {
        self.y.is_padded() || self.x.is_padded()
    }

    /// The rows and columns that the windows reach.
    fn reached(&self) -> (usize, usize) {
        match self.is_padded() {
            true => {
                let size = |w: &Window| w.reach().max(w.before + w.input);
                (size(&self.y), size(&self.x))
            }
            false => (self.y.input, self.x.input),
        }
    }

    /// The bytes of a row of maxima.
    fn row_bytes(&self) -> usize {
        (self.reached().1 + SLACK).next_multiple_of(LANES)
    }

    /// Pushes 16 times the smallest number.
    fn least(&self, code: &mut Code) {
        code.splat_bits(if self.signed { 0x8080_8080 } else { 0 });
    }

    fn max(&self) -> I<'static> {
        if self.signed { I::I8x16MaxS } else { I::I8x16MaxU }
    }
}

impl Kernel for MaxPool {
    fn describe(&self) -> String {
        "pool max i8 1x16".into()
    }

    /// A row of maxima, and one channel with its padding.
    fn scratch_bytes(&self) -> usize {
        let (height, width) = self.reached();
        self.row_bytes() + if self.is_padded() { height * width + SLACK } else { 0 }
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let [image, output, plane] = std::array::from_fn(|_| code.i32_local());
        code.point(image, places.inputs[0]);
        code.point(output, places.outputs[0]);
        code.repeat(self.channels, |code| {
            match self.is_padded() {
                true => self.emit_padding(code, image, plane, places.scratch),
                false => code.copy(plane, image),
            }
            let pitch = self.reached().1;
            code.repeat(self.y.output, |code| {
                self.emit_rows_maximum(code, plane, places.scratch);
                self.emit_columns_maximum(code, output, places.scratch);
                code.advance(plane, (self.y.stride * pitch) as i64);
            });
            code.advance(image, (self.y.input * self.x.input) as i64);
        });
        code.release([image, output, plane]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MaxPool {
    /// Emits one channel with its padding, and has `plane` point to it.
    fn emit_padding(&self, code: &mut Code, image: Local, plane: Local, scratch: Address) {
        let (height, width) = self.reached();
        let first = scratch.plus(self.row_bytes() as u32);
        code.point(plane, first);
        code.repeat((height * width).div_ceil(LANES), |code| {
            code.get(plane);
            self.least(code);
            code.op(I::V128Store(at(0, 0)));
            code.advance(plane, LANES as i64);
        });
        let from = code.i32_local();
        code.copy(from, image);
        code.point(plane, first.plus((self.y.before * width + self.x.before) as u32));
        code.repeat(self.y.input, |code| {
            copy_bytes(code, from, plane, self.x.input);
            code.advance(from, self.x.input as i64);
            code.advance(plane, width as i64);
        });
        code.release([from]);
        code.point(plane, first);
    }

    /// Emits the maximum of the window's rows, for each column.
    fn emit_rows_maximum(&self, code: &mut Code, plane: Local, row: Address) {
        let (from, to) = (code.i32_local(), code.i32_local());
        let pitch = self.reached().1;
        code.copy(from, plane);
        code.point(to, row);
        code.repeat(pitch.div_ceil(LANES), |code| {
            code.get(to).load(from, 0);
            for tap in 1..self.y.taps {
                code.load(from, (tap * self.y.dilation * pitch) as u64).op(self.max());
            }
            code.op(I::V128Store(at(0, 0)));
            code.advance(from, LANES as i64);
            code.advance(to, LANES as i64);
        });
        code.release([from, to]);
    }

    /// Emits the maximum of the window's columns in a row of maxima. `output` moves past
    /// the row of the result.
    fn emit_columns_maximum(&self, code: &mut Code, output: Local, row: Address) {
        let from = code.i32_local();
        code.point(from, row);
        let value = code.v128_local();
        let vector = |code: &mut Code, lanes: usize| {
            for tap in 0..self.x.taps {
                let offset = (tap * self.x.dilation) as u64;
                load_strided(code, from, offset, self.x.stride, lanes);
                if tap > 0 {
                    code.op(self.max());
                }
            }
            code.set(value);
            store_bytes(code, output, 0, value, 0, lanes);
            code.advance(from, (lanes * self.x.stride) as i64);
            code.advance(output, lanes as i64);
        };
        code.repeat(self.x.output / LANES, |code| vector(code, LANES));
        if !self.x.output.is_multiple_of(LANES) {
            vector(code, self.x.output % LANES);
        }
        code.release([from, value]);
    }
}

/// Pushes 16 bytes that lie `stride` apart, from `address + offset` on. Past the first
/// `lanes` they are arbitrary.
fn load_strided(code: &mut Code, address: Local, offset: u64, stride: usize, lanes: usize) {
    match stride {
        1 => {
            code.load(address, offset);
        }
        2 => {
            code.load(address, offset).load(address, offset + LANES as u64);
            code.op(I::I8x16Shuffle(std::array::from_fn(|i| 2 * i as u8)));
        }
        _ => {
            code.splat_bits(0);
            let vector = code.v128_local();
            for lane in 0..lanes {
                let memarg = at(offset + (lane * stride) as u64, 0);
                code.set(vector).get(address).get(vector);
                code.op(I::V128Load8Lane { memarg, lane: lane as u8 });
            }
            code.release([vector]);
        }
    }
}
