//! The `pool` kernel: the maximum or the mean over a window, 1-D and 2-D, over
//! NCHW, four pixels to a vector.

use std::any::Any;

use wasm_encoder::Instruction as I;

use super::conv::Window;
use super::planes::{Planes, load_strided};
use super::tile::{self, Vector, Walker};
use crate::emit::code::{Code, Local};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

/// Vectors of a tile.
const VECTORS: usize = 4;

/// Taps that are emitted one after the other; more are a loop.
const UNROLLED_TAPS: usize = 32;

/// What becomes of the pixels in a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Pooling {
    /// Their maximum. A NaN loses against any number.
    Max,
    /// Their sum, divided by the same number everywhere.
    Sum {
        /// 1 for a plain sum.
        divisor: f32,
    },
    /// Their sum, divided by a number for each pixel of the output, which are
    /// given as a plane.
    Mean {
        /// `[y.output][x.output]`
        divisors: Vec<f32>,
    },
}

/// Pools each channel of `f32` images.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Channels, of all images together.
    pub channels: usize,
    /// Rows.
    pub y: Window,
    /// Columns.
    pub x: Window,
    /// What is done.
    pub pooling: Pooling,
    /// What is done to each element before it is stored.
    pub then: Expr,
}

impl Pool {
    fn planes(&self) -> Option<Planes> {
        (self.y.is_padded() || self.x.is_padded()).then(|| Planes {
            // Of one channel at a time.
            channels: 1,
            y: self.y.axis(1),
            x: self.x.axis(1),
            phases: vec![(0, 0)],
            fill: self.neutral().to_bits(),
        })
    }

    /// What padding is, and an empty window gives.
    fn neutral(&self) -> f32 {
        match self.pooling {
            Pooling::Max => f32::NEG_INFINITY,
            Pooling::Sum { .. } | Pooling::Mean { .. } => 0.0,
        }
    }

    fn accumulate(&self) -> I<'static> {
        match self.pooling {
            Pooling::Max => I::F32x4PMax,
            Pooling::Sum { .. } | Pooling::Mean { .. } => I::F32x4Add,
        }
    }
}

impl Kernel for Pool {
    fn describe(&self) -> String {
        let what = match self.pooling {
            Pooling::Max => "max",
            Pooling::Sum { .. } | Pooling::Mean { .. } => "mean",
        };
        format!("pool {what} 1x{}", 4 * VECTORS)
    }

    /// The divisors, where they differ.
    fn weights(&self) -> Vec<Vec<u8>> {
        match &self.pooling {
            Pooling::Mean { divisors } => {
                vec![divisors.iter().flat_map(|d| d.to_le_bytes()).collect()]
            }
            Pooling::Max | Pooling::Sum { .. } => Vec::new(),
        }
    }

    fn scratch_bytes(&self) -> usize {
        self.planes().map_or(0, |planes| planes.size_bytes())
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let planes = self.planes();
        let (height, pitch) = match &planes {
            Some(planes) => (planes.y.phase_size, planes.x.phase_size),
            None => (self.y.input, self.x.input),
        };
        let [image, pixel, output, divisor] = std::array::from_fn(|_| code.i32_local());
        code.point(image, places.inputs[0]);
        code.point(output, places.outputs[0]);
        let row_bytes = 4 * self.x.output as i64;
        let mut walkers = vec![
            Walker {
                pointer: pixel,
                pixel_bytes: 4 * self.x.stride as i64,
                row_bytes: (4 * self.y.stride * pitch) as i64,
            },
            Walker { pointer: output, pixel_bytes: 4, row_bytes },
        ];
        if let Some(&divisors) = places.weights.first() {
            code.point(divisor, divisors);
            walkers.push(Walker { pointer: divisor, pixel_bytes: 4, row_bytes });
        }
        let bands = tile::bands(self.y.output, self.x.output, VECTORS);
        code.repeat(self.channels, |code| {
            match &planes {
                Some(planes) => {
                    planes.emit(code, image, places.scratch);
                    code.point(pixel, places.scratch);
                }
                None => {
                    code.copy(pixel, image);
                    code.advance(image, (4 * height * pitch) as i64);
                }
            }
            tile::emit_tiles(code, &bands, &walkers, &mut |code, vectors| {
                self.emit_tile(code, pitch, vectors, pixel, output, divisor);
            });
            code.advance(output, row_bytes * self.y.output as i64);
        });
        code.release([image, pixel, output, divisor]);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        match then {
            Fusion::Then(expr) => {
                self.then = self.then.followed_by(expr);
                true
            }
            Fusion::PerChannel { .. } => false,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Pool {
    /// Emits the taps of the windows of one tile.
    fn emit_taps(
        &self,
        code: &mut Code,
        pitch: usize,
        vectors: &[Vector],
        pixel: Local,
        sums: &[Local],
    ) {
        // The first `count` taps of one row of the windows, for all vectors.
        let taps = |code: &mut Code, from: Local, row: u64, count: usize| {
            for (&sum, v) in sums.iter().zip(vectors) {
                let first = v.y * self.y.stride * pitch + v.x * self.x.stride;
                let start = row + 4 * first as u64;
                let mut tap = 0;
                while tap < count {
                    let offset = start + 4 * (tap * self.x.dilation) as u64;
                    let pair = self.x.stride == 2 && self.x.dilation == 1 && tap + 1 < count;
                    if pair {
                        self.emit_pair(code, from, offset, sum);
                    } else {
                        code.get(sum);
                        load_strided(code, from, offset, self.x.stride, v.lanes);
                        code.op(self.accumulate()).set(sum);
                    }
                    tap += 1 + usize::from(pair);
                }
                code.fence();
            }
        };
        let (down, right) = (4 * self.y.dilation * pitch, 4 * self.x.dilation);
        if self.y.taps * self.x.taps <= UNROLLED_TAPS {
            for ty in 0..self.y.taps {
                taps(code, pixel, (ty * down) as u64, self.x.taps);
            }
        } else {
            let from = code.i32_local();
            code.copy(from, pixel);
            code.repeat(self.y.taps, |code| {
                code.repeat(self.x.taps, |code| {
                    taps(code, from, 0, 1);
                    code.advance(from, right as i64);
                });
                code.advance(from, down as i64 - (right * self.x.taps) as i64);
            });
            code.release([from]);
        }
    }

    /// Emits two neighbouring taps of stride 2, which read the same pixels.
    fn emit_pair(&self, code: &mut Code, from: Local, offset: u64, sum: Local) {
        let pixels = code.v128_locals(2);
        for (i, &pixels) in pixels.iter().enumerate() {
            code.load(from, offset + 16 * i as u64).set(pixels);
        }
        for phase in 0..2u8 {
            let lanes = std::array::from_fn(|i| (i / 4 * 8 + i % 4) as u8 + 4 * phase);
            code.get(sum).get(pixels[0]).get(pixels[1]).op(I::I8x16Shuffle(lanes));
            code.op(self.accumulate()).set(sum);
        }
        code.release(pixels);
    }

    fn emit_tile(
        &self,
        code: &mut Code,
        pitch: usize,
        vectors: &[Vector],
        pixel: Local,
        output: Local,
        divisor: Local,
    ) {
        let sums = code.v128_locals(vectors.len());
        code.splat(self.neutral());
        for &sum in &sums {
            code.tee(sum);
        }
        code.op(I::Drop);

        code.fenced(&sums, output, |code| self.emit_taps(code, pitch, vectors, pixel, &sums));

        for (&sum, v) in sums.iter().zip(vectors) {
            let offset = 4 * (v.y * self.x.output + v.x) as u64;
            match &self.pooling {
                Pooling::Sum { divisor } if *divisor != 1.0 => {
                    code.get(sum).splat(*divisor).op(I::F32x4Div).set(sum);
                }
                Pooling::Mean { .. } => {
                    code.get(sum).load(divisor, offset).op(I::F32x4Div).set(sum);
                }
                Pooling::Max | Pooling::Sum { .. } => {}
            }
            self.then.apply(code, sum);
            code.store_lanes(output, offset, sum, v.lanes);
        }
        code.release(sums);
    }
}
