//! The `dft` kernel: the discrete Fourier transform of frames along one axis, by its
//! definition: one sum for each frequency, in `f64`, with a table of the roots of
//! unity.

use std::any::Any;
use std::f64::consts::TAU;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use crate::emit::code::{Code, Local, at};
use crate::schedule::{Kernel, Places};

/// `out[o][f][k][i] = sum over j of w[j] * in[o][f * hop + j][i] * e^(-2 pi j k / n)`
/// of complex numbers, whose parts lie next to each other.
#[derive(Clone, Debug)]
pub struct Dft {
    /// FP32 or FP64.
    pub dtype: DType,
    /// The product of the dimensions before the axis.
    pub outer: usize,
    /// The size of the axis.
    pub axis: usize,
    /// The product of the dimensions after the axis, without that of the parts.
    pub inner: usize,
    /// The number of frames.
    pub frames: usize,
    /// From the start of one frame to that of the next.
    pub hop: usize,
    /// The size of a frame, n.
    pub size: usize,
    /// With `e^(+2 pi j k / n)`.
    pub inverse: bool,
    /// The factors w, if they are not all 1.
    pub window: Option<Vec<f64>>,
}

impl Kernel for Dft {
    fn describe(&self) -> String {
        format!("dft of {}", self.size)
    }

    fn macs(&self) -> u64 {
        4 * (self.outer * self.inner * self.frames * self.size * self.size) as u64
    }

    fn weights(&self) -> Vec<Vec<u8>> {
        let sign = if self.inverse { 1.0 } else { -1.0 };
        let roots = (0..self.size).flat_map(|j| {
            let angle = sign * TAU * j as f64 / self.size as f64;
            [angle.cos(), angle.sin()]
        });
        let bytes = |numbers: &mut dyn Iterator<Item = f64>| {
            numbers.flat_map(f64::to_le_bytes).collect::<Vec<u8>>()
        };
        let mut blobs = vec![bytes(&mut roots.into_iter())];
        blobs.extend(self.window.iter().map(|window| bytes(&mut window.iter().copied())));
        blobs
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let number = self.dtype.size_bytes();
        let (point, parts) = (2 * number * self.inner, 2 * number);
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        code.repeat(self.outer, |code| {
            code.repeat(self.frames, |code| {
                code.repeat(self.inner, |code| {
                    self.emit_frame(code, from, to, places);
                    code.advance(from, parts as i64);
                    code.advance(to, parts as i64);
                });
                code.advance(from, (self.hop * point) as i64 - point as i64);
                code.advance(to, ((self.size - 1) * point) as i64);
            });
            let moved = self.frames * self.hop * point;
            code.advance(from, (self.axis * point) as i64 - moved as i64);
        });
        code.release([from, to]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Dft {
    /// Emits all frequencies of one frame. Leaves the pointers as they were.
    fn emit_frame(&self, code: &mut Code, from: Local, to: Local, places: &Places) {
        let point = (2 * self.dtype.size_bytes() * self.inner) as i64;
        let [input, output, root, step, window] = std::array::from_fn(|_| code.i32_local());
        let [re, im, x, y, c, s] = std::array::from_fn(|_| code.local(ValType::F64));
        let end = 16 * self.size as u32;
        code.copy(output, to);
        // Frequency k moves by k roots, of which there are n.
        code.i32(0).set(step);
        code.repeat(self.size, |code| {
            code.op(I::F64Const(0.0.into())).tee(re).set(im);
            code.copy(input, from);
            code.i32(0).set(root);
            if let Some(&factors) = places.weights.get(1) {
                code.point(window, factors);
            }
            code.repeat(self.size, |code| {
                for (part, value) in [(0, x), (1, y)] {
                    self.load(code, input, part);
                    if self.window.is_some() {
                        code.get(window).op(I::F64Load(at(0, 0))).op(I::F64Mul);
                    }
                    code.set(value);
                }
                for (part, value) in [(0, c), (8, s)] {
                    code.get(root).address(places.weights[0]).op(I::I32Add);
                    code.op(I::F64Load(at(part, 0))).set(value);
                }
                code.get(re).get(x).get(c).op(I::F64Mul).op(I::F64Add);
                code.get(y).get(s).op(I::F64Mul).op(I::F64Sub).set(re);
                code.get(im).get(x).get(s).op(I::F64Mul).op(I::F64Add);
                code.get(y).get(c).op(I::F64Mul).op(I::F64Add).set(im);
                code.advance(input, point);
                if self.window.is_some() {
                    code.advance(window, 8);
                }
                code.get(root).get(step).op(I::I32Add).set(root);
                wrap(code, root, end);
            });
            for (part, value) in [(0, re), (1, im)] {
                self.store(code, output, part, value);
            }
            code.advance(output, point);
            code.advance(step, 16);
        });
        code.release([input, output, root, step, window, re, im, x, y, c, s]);
    }

    fn load(&self, code: &mut Code, address: Local, part: u64) {
        code.get(address);
        match self.dtype {
            DType::F64 => code.op(I::F64Load(at(8 * part, 0))),
            _ => code.op(I::F32Load(at(4 * part, 0))).op(I::F64PromoteF32),
        };
    }

    fn store(&self, code: &mut Code, address: Local, part: u64, value: Local) {
        code.get(address).get(value);
        match self.dtype {
            DType::F64 => code.op(I::F64Store(at(8 * part, 0))),
            _ => code.op(I::F32DemoteF64).op(I::F32Store(at(4 * part, 0))),
        };
    }
}

/// `value -= end` where it is not below.
fn wrap(code: &mut Code, value: Local, end: u32) {
    code.get(value).i32(end).op(I::I32Sub).get(value);
    code.get(value).i32(end).op(I::I32GeU).op(I::Select).set(value);
}
