//! The `map` kernel: an element-wise expression over strided operands, which
//! also broadcasts and casts.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local, at};
use crate::emit::half;
use crate::emit::nest::{self, Dim};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

/// Vectors that one iteration of the inner loop works on, by the length of the code.
/// From one iteration to the next, the engine keeps the constants in memory.
const UNROLL: [usize; 4] = [4, 8, 2, 2];

/// One operand: the element for the index `i` of the output is at
/// `first + sum(i[axis] * strides[axis])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The type of its elements: for a map, one of [`Map::handles`].
    pub dtype: DType,
    /// Where it begins in its value, in elements.
    pub first: usize,
    /// For each axis of the output, in elements.
    pub strides: Vec<usize>,
}

impl Operand {
    /// An operand from the first element of its value on.
    pub fn new(dtype: DType, strides: Vec<usize>) -> Self {
        Self { dtype, first: 0, strides }
    }

    /// The bytes of its value before its first element.
    pub fn skipped_bytes(&self) -> usize {
        self.first * self.dtype.size_bytes()
    }

    /// Whether an output of this type and shape may lie where this operand does:
    /// each of its elements is read for just the one in the same place.
    pub fn may_be_overwritten(&self, output: DType, shape: &[usize]) -> bool {
        self.dtype.size_bytes() == output.size_bytes()
            && self.first == 0
            && nest::is_dense(&self.strides, shape)
    }
}

/// The loops over an output and its operands, with a pointer to each: the
/// output's comes first.
pub struct Walk {
    /// The loops, outermost first.
    pub dims: Vec<Dim>,
    /// The addresses, in locals of type `i32`.
    pub pointers: Vec<Local>,
    /// The sizes of their elements in bytes.
    pub sizes: Vec<usize>,
}

impl Walk {
    /// The loops over a dense output of this shape, with code that sets the
    /// pointers to their first elements.
    pub fn start(
        code: &mut Code,
        places: &Places,
        shape: &[usize],
        output: DType,
        operands: &[Operand],
    ) -> Self {
        let out_strides = nest::dense_strides(shape);
        let mut strides: Vec<&[usize]> = vec![&out_strides];
        strides.extend(operands.iter().map(|o| o.strides.as_slice()));
        let mut sizes = vec![output.size_bytes()];
        sizes.extend(operands.iter().map(|o| o.dtype.size_bytes()));
        let dims = nest::collapse(shape, &strides);
        let addresses = std::iter::once(places.outputs[0]).chain(places.inputs.iter().copied());
        let pointers = addresses
            .map(|address| {
                let pointer = code.i32_local();
                code.point(pointer, address);
                pointer
            })
            .collect();
        Self { dims, pointers, sizes }
    }
}

/// `out[i] = expr(operand_0[i], operand_1[i], ...)`.
#[derive(Clone, Debug)]
pub struct Map {
    /// The shape of the output.
    pub shape: Vec<usize>,
    /// What is read.
    pub operands: Vec<Operand>,
    /// What is done, in `f32`.
    pub expr: Expr,
    /// The type of the output, one of [`Map::handles`]; BOOL where `expr` gives 0
    /// and 1 only. Integers are reached by truncation and saturation, FP16 by
    /// rounding.
    pub output: DType,
}

impl Map {
    /// The types that can be read and written.
    pub fn handles(dtype: DType) -> bool {
        use DType::*;
        matches!(dtype, F32 | F16 | I32 | U32 | I16 | U16 | I8 | U8 | Bool)
    }
}

impl Kernel for Map {
    fn describe(&self) -> String {
        format!("map {} op", self.expr.nodes().len() - self.operands.len())
    }

    fn overwrites(&self, input: usize) -> bool {
        self.operands[input].may_be_overwritten(self.output, &self.shape)
    }

    fn skipped_bytes(&self, input: usize) -> usize {
        self.operands[input].skipped_bytes()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Walk { mut dims, pointers, sizes } =
            Walk::start(code, places, &self.shape, self.output, &self.operands);
        let inner = dims.pop().expect("a nest has at least one dimension");
        let flat = dims.is_empty();
        nest::emit_loops(code, &dims, &pointers, &sizes, &mut |code| {
            self.emit_row(code, &inner, &pointers, flat);
        });
        code.release(pointers);
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        match then {
            Fusion::Then(expr) if self.output == DType::F32 => {
                self.expr = self.expr.followed_by(expr);
                true
            }
            _ => false,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Map {
    /// Emits the innermost dimension. Leaves the pointers as they were.
    fn emit_row(&self, code: &mut Code, inner: &Dim, pointers: &[Local], flat: bool) {
        // A row that is the whole tensor may be written up to the next 16 bytes.
        let (vectors, tail) = match flat {
            true => (inner.size.div_ceil(4), 0),
            false => (inner.size / 4, inner.size % 4),
        };
        let unroll = UNROLL.get(self.expr.length()).copied().unwrap_or(1);
        let (blocks, single) = (vectors / unroll, vectors % unroll);
        let mut moved = vec![0i64; pointers.len()];
        if blocks == 1 {
            (0..unroll).for_each(|v| self.emit_vector(code, inner, pointers, v, 4));
        } else {
            code.repeat(blocks, |code| {
                (0..unroll).for_each(|v| self.emit_vector(code, inner, pointers, v, 4));
                for (i, &pointer) in pointers.iter().enumerate() {
                    code.advance(pointer, self.step_bytes(inner, i) * 4 * unroll as i64);
                }
            });
            for (i, moved) in moved.iter_mut().enumerate() {
                *moved = self.step_bytes(inner, i) * (4 * unroll * blocks) as i64;
            }
        }
        let first = if blocks == 1 { unroll } else { 0 };
        (0..single).for_each(|v| self.emit_vector(code, inner, pointers, first + v, 4));
        if tail > 0 {
            self.emit_vector(code, inner, pointers, first + single, tail);
        }
        for (&pointer, moved) in pointers.iter().zip(moved) {
            code.advance(pointer, -moved);
        }
    }

    /// Bytes from one element of the innermost dimension to the next. Pointer 0
    /// is the output's.
    fn step_bytes(&self, inner: &Dim, pointer: usize) -> i64 {
        let size = match pointer {
            0 => self.output.size_bytes(),
            _ => self.operands[pointer - 1].dtype.size_bytes(),
        };
        (inner.strides[pointer] * size) as i64
    }

    /// Emits the vector with this number, of which `lanes` lanes are stored.
    fn emit_vector(
        &self,
        code: &mut Code,
        inner: &Dim,
        pointers: &[Local],
        number: usize,
        lanes: usize,
    ) {
        self.expr.emit(code, |code, operand| {
            let stride = inner.strides[operand + 1];
            let dtype = self.operands[operand].dtype;
            let offset = (4 * number * stride * dtype.size_bytes()) as u64;
            load_as_f32(code, pointers[operand + 1], offset, dtype, stride, lanes);
        });
        let offset = (4 * number * self.output.size_bytes()) as u64;
        store_as(code, pointers[0], offset, self.output, lanes);
    }
}

/// Pushes four elements as `f32`, `stride` elements apart, from `address +
/// offset` on. Past the first `lanes` the value is arbitrary.
fn load_as_f32(
    code: &mut Code,
    address: Local,
    offset: u64,
    dtype: DType,
    stride: usize,
    lanes: usize,
) {
    match (dtype, stride) {
        (DType::F32 | DType::I32 | DType::U32, 1) => {
            code.load(address, offset);
        }
        (DType::F32 | DType::I32 | DType::U32, 0) => {
            code.load_splat(address, offset);
        }
        (DType::F32 | DType::I32 | DType::U32, _) => {
            code.get(address).op(I::V128Load32Zero(at(offset, 0)));
            for lane in 1..lanes {
                let memarg = at(offset + (4 * stride * lane) as u64, 0);
                let vector = code.v128_local();
                code.set(vector).get(address).get(vector);
                code.op(I::V128Load32Lane { memarg, lane: lane as u8 });
                code.release([vector]);
            }
        }
        (DType::F16 | DType::U16, 1) => {
            code.get(address).op(I::V128Load64Zero(at(offset, 0))).op(I::I32x4ExtendLowI16x8U);
        }
        (DType::I16, 1) => {
            code.get(address).op(I::V128Load64Zero(at(offset, 0))).op(I::I32x4ExtendLowI16x8S);
        }
        (DType::U8 | DType::Bool, 1) => {
            code.get(address).op(I::V128Load32Zero(at(offset, 0)));
            code.op(I::I16x8ExtendLowI8x16U).op(I::I32x4ExtendLowI16x8U);
        }
        (DType::I8, 1) => {
            code.get(address).op(I::V128Load32Zero(at(offset, 0)));
            code.op(I::I16x8ExtendLowI8x16S).op(I::I32x4ExtendLowI16x8S);
        }
        (DType::U8 | DType::I8 | DType::Bool | DType::F16 | DType::U16 | DType::I16, _) => {
            let load = |offset: u64| match dtype {
                DType::I8 => I::I32Load8S(at(offset, 0)),
                DType::I16 => I::I32Load16S(at(offset, 0)),
                DType::F16 | DType::U16 => I::I32Load16U(at(offset, 0)),
                _ => I::I32Load8U(at(offset, 0)),
            };
            code.get(address).op(load(offset)).op(I::I32x4Splat);
            for lane in (1..lanes).filter(|_| stride > 0) {
                let element = (stride * lane * dtype.size_bytes()) as u64;
                code.get(address).op(load(offset + element));
                code.op(I::I32x4ReplaceLane(lane as u8));
            }
        }
        _ => unreachable!("a map does not read {dtype}: see Map::handles"),
    }
    match dtype {
        DType::F32 => {}
        DType::F16 => half::widen(code),
        DType::U32 => drop(code.op(I::F32x4ConvertI32x4U)),
        _ => drop(code.op(I::F32x4ConvertI32x4S)),
    }
}

/// Pops four `f32` and stores the first `lanes` of them as `dtype`.
fn store_as(code: &mut Code, address: Local, offset: u64, dtype: DType, lanes: usize) {
    let value = code.v128_local();
    match dtype {
        DType::F32 => {}
        DType::F16 => half::narrow(code),
        DType::U32 => drop(code.op(I::I32x4TruncSatF32x4U)),
        _ => drop(code.op(I::I32x4TruncSatF32x4S)),
    }
    match dtype {
        DType::F32 | DType::I32 | DType::U32 => {
            code.set(value);
            code.store_lanes(address, offset, value, lanes);
        }
        DType::F16 | DType::U16 | DType::I16 => {
            code.tee(value).get(value);
            code.op(if dtype == DType::I16 { I::I16x8NarrowI32x4S } else { I::I16x8NarrowI32x4U });
            code.set(value);
            if lanes == 4 {
                let memarg = at(offset, 0);
                code.get(address).get(value).op(I::V128Store64Lane { memarg, lane: 0 });
            } else {
                for lane in 0..lanes {
                    let memarg = at(offset + 2 * lane as u64, 0);
                    code.get(address).get(value);
                    code.op(I::V128Store16Lane { memarg, lane: lane as u8 });
                }
            }
        }
        DType::U8 | DType::I8 | DType::Bool => {
            code.tee(value).get(value).op(I::I16x8NarrowI32x4S).tee(value).get(value);
            code.op(if dtype == DType::I8 { I::I8x16NarrowI16x8S } else { I::I8x16NarrowI16x8U });
            code.set(value);
            if lanes == 4 {
                let memarg = at(offset, 0);
                code.get(address).get(value).op(I::V128Store32Lane { memarg, lane: 0 });
            } else {
                for lane in 0..lanes {
                    let memarg = at(offset + lane as u64, 0);
                    code.get(address).get(value);
                    code.op(I::V128Store8Lane { memarg, lane: lane as u8 });
                }
            }
        }
        _ => unreachable!("a map does not write {dtype}: see Map::handles"),
    }
    code.release([value]);
}
