//! The `gather` kernel: blocks of elements of any type, each from where an index
//! says, which another tensor holds.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::copy::copy_bytes;
use super::integers;
use crate::emit::code::{Code, at};
use crate::emit::nest;
use crate::schedule::{Kernel, Places};

/// `out[i] = data[base(i) + index(i)]`, in blocks. A negative index counts from
/// the end; an index outside the axis is the nearest one inside.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The shape of the output, in blocks.
    pub shape: Vec<usize>,
    /// The type of the indices, an integer's.
    pub index_dtype: DType,
    /// For each axis of the output, how far it moves in the indices.
    pub index_strides: Vec<usize>,
    /// For each axis of the output, how far it moves in the data, in blocks.
    pub data_strides: Vec<usize>,
    /// The size of the axis that the indices are of.
    pub axis: usize,
    /// How far one index moves in the data, in blocks.
    pub axis_stride: usize,
    /// The size of a block.
    pub block_bytes: usize,
}

impl Kernel for Gather {
    fn describe(&self) -> String {
        "gather".into()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (to, index, data) = (code.i32_local(), code.i32_local(), code.i32_local());
        code.point(to, places.outputs[0]);
        code.point(data, places.inputs[0]);
        code.point(index, places.inputs[1]);
        let out_strides = nest::dense_strides(&self.shape);
        let dims =
            nest::collapse(&self.shape, &[&out_strides, &self.index_strides, &self.data_strides]);
        let sizes = [self.block_bytes, self.index_dtype.size_bytes(), self.block_bytes];
        let (at_index, from) = (code.local(ValType::I64), code.i32_local());
        nest::emit_loops(code, &dims, &[to, index, data], &sizes, &mut |code| {
            code.get(index);
            integers::load(code, self.index_dtype);
            code.set(at_index);
            self.emit_inside(code, at_index);
            code.get(at_index).op(I::I32WrapI64);
            code.i32((self.axis_stride * self.block_bytes) as u32).op(I::I32Mul);
            code.get(data).op(I::I32Add).set(from);
            match self.block_bytes {
                4 => {
                    code.get(to).get(from).op(I::I32Load(at(0, 0))).op(I::I32Store(at(0, 0)));
                }
                bytes => copy_bytes(code, from, to, bytes),
            }
        });
        code.release([to, index, data, from, at_index]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Gather {
    /// Replaces an index by one from 0 to below the axis' size.
    fn emit_inside(&self, code: &mut Code, index: crate::emit::code::Local) {
        let size = self.axis as i64;
        let zero = I::I64Const(0);
        code.get(index).op(I::I64Const(size)).op(I::I64Const(0));
        code.get(index).op(zero.clone()).op(I::I64LtS).op(I::Select).op(I::I64Add).set(index);
        code.get(index).op(zero.clone()).get(index).op(zero).op(I::I64GtS).op(I::Select).set(index);
        code.get(index).op(I::I64Const(size - 1));
        code.get(index).op(I::I64Const(size - 1)).op(I::I64LtS).op(I::Select).set(index);
    }
}
