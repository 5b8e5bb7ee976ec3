//! The `grid sample` kernel: pixels of images, or of volumes, at coordinates that
//! another tensor holds (ONNX `GridSample`).

use std::any::Any;

use wasm_encoder::{Instruction as I, ValType};

use crate::emit::code::{Code, Local, at};
use crate::emit::nest::dense_strides;
use crate::schedule::{Kernel, Places};

/// How a value between pixels is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// The nearest one.
    Nearest,
    /// Weighted by their distance along each axis.
    Linear,
    /// By the cubic polynomial of four along each axis.
    Cubic,
}

/// What lies outside of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest pixel.
    Border,
    /// The image, mirrored.
    Reflection,
}

/// `out[b][c][o] = in[b][c] at grid[b][o]`, in FP32.
#[derive(Clone, Debug)]
pub struct GridSample {
    /// The number of images.
    pub batch: usize,
    /// Their channels.
    pub channels: usize,
    /// The sizes of an image, outermost first.
    pub sizes: Vec<usize>,
    /// The number of coordinates for each image.
    pub points: usize,
    /// How a value between pixels is made.
    pub between: Between,
    /// What lies outside.
    pub outside: Outside,
    /// Whether -1 and 1 are the centers of the outermost pixels, and not their edges.
    pub align_corners: bool,
}

/// A pixel along one axis: its index, its weight, and whether it is inside.
struct Tap {
    index: Local,
    weight: Local,
    is_inside: Local,
}

/// A pixel: its offset in bytes, its weight, and whether it is inside.
struct Pixel {
    offset: Local,
    weight: Local,
    is_inside: Local,
}

impl Kernel for GridSample {
    fn describe(&self) -> String {
        format!("grid sample {:?}", self.between).to_lowercase()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let image_bytes = 4 * self.sizes.iter().product::<usize>() as i64;
        let [grid, images, out] = std::array::from_fn(|_| code.i32_local());
        code.point(images, places.inputs[0]);
        code.point(grid, places.inputs[1]);
        code.point(out, places.outputs[0]);
        code.repeat(self.batch, |code| {
            code.repeat(self.points, |code| {
                self.emit_point(code, grid, images, out, image_bytes);
                code.advance(grid, 4 * self.sizes.len() as i64);
                code.advance(out, 4);
            });
            code.advance(images, image_bytes * self.channels as i64);
            code.advance(out, 4 * (self.points * (self.channels - 1)) as i64);
        });
        code.release([grid, images, out]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl GridSample {
    /// Emits one point of all channels. Leaves the pointers as they were.
    fn emit_point(&self, code: &mut Code, grid: Local, images: Local, out: Local, bytes: i64) {
        let rank = self.sizes.len();
        let coordinates: Vec<Local> = self.sizes.iter().map(|_| code.local(ValType::F32)).collect();
        let is_beyond = code.i32_local();
        code.assign(is_beyond, 0);
        for (axis, (&size, &coordinate)) in self.sizes.iter().zip(&coordinates).enumerate() {
            // The coordinates are in the opposite order of the axes.
            code.get(grid).op(I::F32Load(at(4 * (rank - 1 - axis) as u64, 0)));
            self.emit_coordinate(code, size);
            let (low, high) = self.edges(size);
            code.tee(coordinate).f32(low).op(I::F32Lt).get(coordinate).f32(high).op(I::F32Gt);
            code.op(I::I32Or).get(is_beyond).op(I::I32Or).set(is_beyond);
        }
        let mut axes = Vec::new();
        for (&size, &coordinate) in self.sizes.iter().zip(&coordinates) {
            // A point that is beyond any edge is moved along all axes.
            code.get(coordinate);
            self.emit_moved(code, size);
            code.get(coordinate).get(is_beyond).op(I::Select).set(coordinate);
            axes.push(self.emit_taps(code, coordinate, size));
        }
        code.release(coordinates.into_iter().chain([is_beyond]));
        let pixels = self.emit_pixels(code, &axes);
        for tap in axes.into_iter().flatten() {
            code.release([tap.index, tap.weight, tap.is_inside]);
        }
        let (image, to, sum) = (code.i32_local(), code.i32_local(), code.local(ValType::F32));
        code.copy(image, images);
        code.copy(to, out);
        code.repeat(self.channels, |code| {
            code.f32(0.0).set(sum);
            for pixel in &pixels {
                code.get(sum);
                code.get(image).get(pixel.offset).op(I::I32Add).op(I::F32Load(at(0, 0)));
                if self.outside == Outside::Zeros {
                    code.f32(0.0).get(pixel.is_inside).op(I::Select);
                }
                code.get(pixel.weight).op(I::F32Mul).op(I::F32Add).set(sum);
            }
            code.get(to).get(sum).op(I::F32Store(at(0, 0)));
            code.advance(image, bytes);
            code.advance(to, 4 * self.points as i64);
        });
        code.release([image, to, sum]);
        for pixel in pixels {
            code.release([pixel.offset, pixel.weight, pixel.is_inside]);
        }
    }

    /// The coordinates of the edges of an image, in pixels.
    fn edges(&self, size: usize) -> (f32, f32) {
        let pixels = size as f32;
        match self.align_corners {
            true => (0.0, pixels - 1.0),
            false => (-0.5, pixels - 0.5),
        }
    }

    /// Replaces a coordinate from -1 to 1 by one in pixels.
    fn emit_coordinate(&self, code: &mut Code, size: usize) {
        let pixels = size as f32;
        code.f32(1.0).op(I::F32Add);
        match self.align_corners {
            true => code.f32(2.0).op(I::F32Div).f32(pixels - 1.0).op(I::F32Mul),
            false => code.f32(pixels).op(I::F32Mul).f32(1.0).op(I::F32Sub).f32(2.0).op(I::F32Div),
        };
        if self.between == Between::Nearest {
            code.op(I::F32Nearest);
        }
    }

    /// Replaces a coordinate by one inside of the image, unless zeros lie outside.
    fn emit_moved(&self, code: &mut Code, size: usize) {
        match self.outside {
            Outside::Zeros => {}
            Outside::Border => {
                code.f32(0.0).op(I::F32Max).f32(size as f32 - 1.0).op(I::F32Min);
            }
            Outside::Reflection => self.emit_reflected(code, size),
        }
    }

    /// Replaces a coordinate by its reflection at the edges of the image.
    fn emit_reflected(&self, code: &mut Code, size: usize) {
        let (low, high) = self.edges(size);
        let range = high - low;
        if range == 0.0 {
            // A single pixel, whatever the coordinate.
            code.f32(0.0).op(I::F32Mul);
            return;
        }
        let [x, over, turns] = std::array::from_fn(|_| code.local(ValType::F32));
        let (is_odd, is_low) = (code.i32_local(), code.i32_local());
        code.tee(x).f32(low).op(I::F32Lt).set(is_low);
        code.f32(low).get(x).op(I::F32Sub).get(x).f32(high).op(I::F32Sub);
        code.get(is_low).op(I::Select).tee(over).f32(range).op(I::F32Div).op(I::F32Trunc);
        code.tee(turns).get(turns).f32(0.5).op(I::F32Mul).op(I::F32Trunc).f32(2.0);
        code.op(I::F32Mul).op(I::F32Ne).set(is_odd);
        code.get(over).get(turns).f32(range).op(I::F32Mul).op(I::F32Sub).set(over);
        // From the low edge up where it left there an even number of turns ago.
        code.f32(low).get(over).op(I::F32Add).f32(high).get(over).op(I::F32Sub);
        code.get(is_low).get(is_odd).op(I::I32Xor).op(I::Select);
        code.get(x);
        code.get(x).f32(high).op(I::F32Gt).get(is_low).op(I::I32Or).op(I::Select);
        code.release([x, over, turns, is_odd, is_low]);
    }

    /// The pixels around a coordinate along one axis.
    fn emit_taps(&self, code: &mut Code, coordinate: Local, size: usize) -> Vec<Tap> {
        let (count, before) = match self.between {
            Between::Nearest => (1, 0),
            Between::Linear => (2, 0),
            Between::Cubic => (4, 1),
        };
        let (whole, rest) = (code.local(ValType::F32), code.local(ValType::F32));
        code.get(coordinate).op(I::F32Floor).tee(whole).get(coordinate).op(I::F32Sub);
        code.op(I::F32Neg).set(rest);
        let taps = (0..count)
            .map(|number| {
                let index = code.i32_local();
                let weight = code.local(ValType::F32);
                let is_inside = code.i32_local();
                self.emit_weight(code, number, rest);
                code.set(weight);
                code.get(whole).f32(number as f32 - before as f32).op(I::F32Add);
                if self.outside == Outside::Reflection {
                    self.emit_reflected(code, size);
                }
                code.op(I::I32TruncSatF32S).tee(index);
                code.i32(size as u32).op(I::I32LtU).set(is_inside);
                // The nearest one inside.
                code.get(index).i32(0).get(index).i32(0).op(I::I32GtS).op(I::Select).set(index);
                code.get(index).i32(size as u32 - 1).get(index).i32(size as u32 - 1);
                code.op(I::I32LtS).op(I::Select).set(index);
                Tap { index, weight, is_inside }
            })
            .collect();
        code.release([whole, rest]);
        taps
    }

    /// Pushes the weight of a tap, with the coordinate `rest` after the one that is
    /// not after it.
    fn emit_weight(&self, code: &mut Code, number: usize, rest: Local) {
        match (self.between, number) {
            (Between::Nearest, _) => drop(code.f32(1.0)),
            (Between::Linear, 0) => drop(code.f32(1.0).get(rest).op(I::F32Sub)),
            (Between::Linear, _) => drop(code.get(rest)),
            (Between::Cubic, 0) => {
                outer_cubic(code, |code| code.get(rest).f32(1.0).op(I::F32Add));
            }
            (Between::Cubic, 1) => inner_cubic(code, |code| code.get(rest)),
            (Between::Cubic, 2) => {
                inner_cubic(code, |code| code.f32(1.0).get(rest).op(I::F32Sub));
            }
            (Between::Cubic, _) => {
                outer_cubic(code, |code| code.f32(2.0).get(rest).op(I::F32Sub));
            }
        }
    }

    /// All combinations of a tap along each axis.
    fn emit_pixels(&self, code: &mut Code, axes: &[Vec<Tap>]) -> Vec<Pixel> {
        let strides = dense_strides(&self.sizes);
        let count = axes.iter().map(Vec::len).product::<usize>();
        (0..count)
            .map(|mut number| {
                let pixel = Pixel {
                    offset: code.i32_local(),
                    weight: code.local(ValType::F32),
                    is_inside: code.i32_local(),
                };
                code.i32(0).set(pixel.offset);
                code.f32(1.0).set(pixel.weight);
                code.i32(1).set(pixel.is_inside);
                for (taps, &stride) in axes.iter().zip(&strides) {
                    let tap = &taps[number % taps.len()];
                    number /= taps.len();
                    code.get(tap.index).i32(4 * stride as u32).op(I::I32Mul);
                    code.get(pixel.offset).op(I::I32Add).set(pixel.offset);
                    code.get(pixel.weight).get(tap.weight).op(I::F32Mul).set(pixel.weight);
                    code.get(pixel.is_inside).get(tap.is_inside).op(I::I32And);
                    code.set(pixel.is_inside);
                }
                pixel
            })
            .collect()
    }
}

/// The factor of the cubic convolution (R. Keys, "Cubic convolution interpolation
/// for digital image processing", 1981).
const A: f32 = -0.75;

/// Pushes its weight for a distance `x` up to 1.
fn inner_cubic(code: &mut Code, x: impl Fn(&mut Code) -> &mut Code) {
    x(code);
    code.f32(A + 2.0).op(I::F32Mul).f32(A + 3.0).op(I::F32Sub);
    x(code);
    code.op(I::F32Mul);
    x(code);
    code.op(I::F32Mul).f32(1.0).op(I::F32Add);
}

/// Pushes its weight for a distance `x` from 1 to 2.
fn outer_cubic(code: &mut Code, x: impl Fn(&mut Code) -> &mut Code) {
    x(code);
    code.f32(A).op(I::F32Mul).f32(5.0 * A).op(I::F32Sub);
    x(code);
    code.op(I::F32Mul).f32(8.0 * A).op(I::F32Add);
    x(code);
    code.op(I::F32Mul).f32(4.0 * A).op(I::F32Sub);
}
