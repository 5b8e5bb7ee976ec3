//! The `windows` kernel: maxima, their indices, and sums over windows of any number
//! of dimensions, one element of the output at a time. It does what the `pool`
//! kernel does not.

use std::any::Any;
use std::ops::Range;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::conv::Window;
use super::integers;
use crate::emit::code::{Code, Local, at};
use crate::emit::nest::dense_strides;
use crate::schedule::{Kernel, Places};

/// What is made of the elements under a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The largest one; NaNs do not count.
    Max {
        /// Whether the second output has its index in its image, as I64.
        indices: bool,
    },
    /// The sum.
    Sum,
    /// The sum, by the number of taps among these pixels of each axis.
    Mean {
        /// From the first pixel of the image on.
        counted: Vec<Range<i64>>,
    },
}

/// `out[image][o..] = over(in[image][o * stride - before + tap * dilation ..])`
#[derive(Clone, Debug)]
pub struct Windows {
    /// The type of the elements: FP32, FP64 or, of maxima, an integer type.
    pub dtype: DType,
    /// Batch times channels.
    pub images: usize,
    /// The window along each axis, outermost first.
    pub axes: Vec<Window>,
    /// What is made of the elements.
    pub over: Over,
}

/// The locals of one element of the output.
struct State {
    /// The address of the image.
    image: Local,
    /// For each axis, the pixel under the first tap, and under the current one.
    origins: Vec<Local>,
    pixels: Vec<Local>,
    /// The result so far, and its index.
    result: Local,
    index: Local,
    /// How many taps count.
    count: Local,
    outputs: [Local; 2],
}

impl Windows {
    fn kind(&self) -> ValType {
        match self.dtype {
            DType::F32 => ValType::F32,
            DType::F64 => ValType::F64,
            _ => ValType::I64,
        }
    }

    fn load(&self, code: &mut Code) {
        match self.dtype {
            DType::F32 => drop(code.op(I::F32Load(at(0, 0)))),
            DType::F64 => drop(code.op(I::F64Load(at(0, 0)))),
            dtype => integers::load(code, dtype),
        }
    }

    fn start(&self, code: &mut Code) {
        let is_max = matches!(self.over, Over::Max { .. });
        match (self.kind(), is_max) {
            (ValType::F32, true) => code.op(I::F32Const(f32::NEG_INFINITY.into())),
            (ValType::F32, false) => code.op(I::F32Const(0.0.into())),
            (ValType::F64, true) => code.op(I::F64Const(f64::NEG_INFINITY.into())),
            (ValType::F64, false) => code.op(I::F64Const(0.0.into())),
            (_, true) => code.op(I::I64Const(match self.dtype {
                DType::U8 | DType::U16 | DType::U32 | DType::Bool => 0,
                DType::I8 => i8::MIN.into(),
                DType::I16 => i16::MIN.into(),
                DType::I32 => i32::MIN.into(),
                _ => i64::MIN,
            })),
            (_, false) => code.op(I::I64Const(0)),
        };
    }
}

impl Kernel for Windows {
    fn describe(&self) -> String {
        let over = match self.over {
            Over::Max { .. } => "max",
            Over::Sum => "sum",
            Over::Mean { .. } => "mean",
        };
        format!("windows {}-D {over}", self.axes.len())
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let locals = |code: &mut Code| (0..self.axes.len()).map(|_| code.i32_local()).collect();
        let state = State {
            image: code.i32_local(),
            origins: locals(code),
            pixels: locals(code),
            result: code.local(self.kind()),
            index: code.i32_local(),
            count: code.i32_local(),
            outputs: [code.i32_local(), code.i32_local()],
        };
        code.point(state.image, places.inputs[0]);
        for (slot, &output) in places.outputs.iter().enumerate() {
            code.point(state.outputs[slot], output);
        }
        let pixels: usize = self.axes.iter().map(|axis| axis.input).product();
        code.repeat(self.images, |code| {
            self.emit_outputs(code, &state, 0);
            code.advance(state.image, (pixels * self.dtype.size_bytes()) as i64);
        });
        code.release([state.image, state.result, state.index, state.count]);
        code.release(state.origins.into_iter().chain(state.pixels).chain(state.outputs));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Windows {
    /// Emits loops over the output from an axis on.
    fn emit_outputs(&self, code: &mut Code, state: &State, axis: usize) {
        let Some(window) = self.axes.get(axis) else { return self.emit_element(code, state) };
        code.assign(state.origins[axis], (window.before as u32).wrapping_neg());
        code.repeat(window.output, |code| {
            self.emit_outputs(code, state, axis + 1);
            code.advance(state.origins[axis], window.stride as i64);
        });
    }

    fn emit_element(&self, code: &mut Code, state: &State) {
        self.start(code);
        code.set(state.result);
        code.i32(0).tee(state.index).set(state.count);
        self.emit_taps(code, state, 0);
        code.get(state.outputs[0]).get(state.result);
        match self.kind() {
            ValType::F32 => {
                if matches!(self.over, Over::Mean { .. }) {
                    code.get(state.count).op(I::F32ConvertI32S).op(I::F32Div);
                }
                code.op(I::F32Store(at(0, 0)));
            }
            ValType::F64 => {
                if matches!(self.over, Over::Mean { .. }) {
                    code.get(state.count).op(I::F64ConvertI32S).op(I::F64Div);
                }
                code.op(I::F64Store(at(0, 0)));
            }
            _ => integers::store(code, self.dtype),
        }
        code.advance(state.outputs[0], self.dtype.size_bytes() as i64);
        if matches!(self.over, Over::Max { indices: true }) {
            code.get(state.outputs[1]).get(state.index);
            code.op(I::I64ExtendI32U).op(I::I64Store(at(0, 0)));
            code.advance(state.outputs[1], 8);
        }
    }

    /// Emits loops over the taps from an axis on.
    fn emit_taps(&self, code: &mut Code, state: &State, axis: usize) {
        let Some(window) = self.axes.get(axis) else { return self.emit_tap(code, state) };
        code.copy(state.pixels[axis], state.origins[axis]);
        code.repeat(window.taps, |code| {
            self.emit_taps(code, state, axis + 1);
            code.advance(state.pixels[axis], window.dilation as i64);
        });
    }

    fn emit_tap(&self, code: &mut Code, state: &State) {
        let sizes: Vec<usize> = self.axes.iter().map(|axis| axis.input).collect();
        let strides = dense_strides(&sizes);
        let [offset, is_inside, inside] = std::array::from_fn(|_| code.i32_local());
        let value = code.local(self.kind());
        code.i32(0).set(offset);
        code.i32(1).set(is_inside);
        for ((&pixel, &size), &stride) in state.pixels.iter().zip(&sizes).zip(&strides) {
            // Where it is outside, the first pixel is read and does not count.
            code.get(pixel).i32(size as u32).op(I::I32LtU).tee(inside);
            code.get(is_inside).op(I::I32And).set(is_inside);
            code.get(pixel).i32(0).get(inside).op(I::Select);
            code.i32(stride as u32).op(I::I32Mul).get(offset).op(I::I32Add).set(offset);
        }
        code.get(offset).i32(self.dtype.size_bytes() as u32).op(I::I32Mul);
        code.get(state.image).op(I::I32Add);
        self.load(code);
        code.set(value);
        let kind = self.kind();
        if let Over::Max { indices } = &self.over {
            let is_better = inside;
            code.get(value).get(state.result);
            code.op(match (kind, self.dtype) {
                (ValType::F32, _) => I::F32Gt,
                (ValType::F64, _) => I::F64Gt,
                (_, DType::U64) => I::I64GtU,
                _ => I::I64GtS,
            });
            code.get(is_inside).op(I::I32And).set(is_better);
            code.get(value).get(state.result).get(is_better).op(I::Select).set(state.result);
            if *indices {
                code.get(offset).get(state.index).get(is_better).op(I::Select).set(state.index);
            }
        } else {
            let (zero, add) = match kind {
                ValType::F32 => (I::F32Const(0.0.into()), I::F32Add),
                ValType::F64 => (I::F64Const(0.0.into()), I::F64Add),
                _ => (I::I64Const(0), I::I64Add),
            };
            code.get(state.result).get(value).op(zero).get(is_inside).op(I::Select);
            code.op(add).set(state.result);
        }
        if let Over::Mean { counted } = &self.over {
            code.get(state.count);
            code.i32(1);
            for (&pixel, range) in state.pixels.iter().zip(counted) {
                code.get(pixel).i32(range.start as u32).op(I::I32Sub);
                code.i32((range.end - range.start) as u32).op(I::I32LtU).op(I::I32And);
            }
            code.op(I::I32Add).set(state.count);
        }
        code.release([offset, is_inside, inside, value]);
    }
}
