//! The `scatter` kernel: a copy of a tensor, in which blocks of elements are
//! replaced by, or combined with, updates where indices say, one after the other.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::copy::copy_bytes;
use super::indices::{self, Component};
use super::integers;
use crate::emit::code::{Code, Local, at};
use crate::emit::nest;
use crate::schedule::{Kernel, Places};

/// What becomes of an element and its update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The update.
    Replace,
    /// The sum.
    Add,
    /// The product.
    Multiply,
    /// The smaller one; NaN if either is.
    Min,
    /// The larger one; NaN if either is.
    Max,
}

/// `out = data`, then `out[base(i) + indices(i)] = combine(.., updates[i])` for each
/// `i` in order. Inputs are the data, the indices and the updates.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// The type of the elements.
    pub dtype: DType,
    /// The size of the data.
    pub data_bytes: usize,
    /// The shape of the updates, in blocks.
    pub shape: Vec<usize>,
    /// The elements of a block.
    pub block: usize,
    /// The type of the indices, an integer's.
    pub index_dtype: DType,
    /// The indices that name a place.
    pub components: Vec<Component>,
    /// For each axis of the updates, how far it moves in the indices, in elements.
    pub index_strides: Vec<usize>,
    /// For each axis of the updates, how far it moves in the data, in elements.
    pub data_strides: Vec<usize>,
    /// What becomes of an element.
    pub combine: Combine,
}

impl Kernel for Scatter {
    fn describe(&self) -> String {
        format!("scatter {:?}", self.combine).to_lowercase()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let [out, update, index, to] = std::array::from_fn(|_| code.i32_local());
        code.point(out, places.outputs[0]);
        code.point(update, places.inputs[0]);
        copy_bytes(code, update, out, self.data_bytes);
        code.point(update, places.inputs[2]);
        code.point(index, places.inputs[1]);
        let updates = nest::dense_strides(&self.shape);
        let strides = [&updates[..], &self.index_strides, &self.data_strides];
        let size = self.dtype.size_bytes();
        let sizes = [size * self.block, self.index_dtype.size_bytes(), size];
        let dims = nest::collapse(&self.shape, &strides);
        nest::emit_loops(code, &dims, &[update, index, out], &sizes, &mut |code| {
            indices::emit_address(code, to, out, index, self.index_dtype, &self.components);
            self.emit_block(code, update, to);
        });
        code.release([out, update, index, to]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Scatter {
    fn emit_block(&self, code: &mut Code, update: Local, to: Local) {
        let size = self.dtype.size_bytes();
        if self.combine == Combine::Replace {
            copy_bytes(code, update, to, self.block * size);
            return;
        }
        let from = code.i32_local();
        code.copy(from, update);
        code.repeat(self.block, |code| {
            self.emit_element(code, from, to);
            code.advance(from, size as i64);
            code.advance(to, size as i64);
        });
        code.release([from]);
    }

    fn emit_element(&self, code: &mut Code, from: Local, to: Local) {
        let memarg = at(0, 0);
        code.get(to);
        match self.dtype {
            DType::F32 => {
                code.get(to).op(I::F32Load(memarg)).get(from).op(I::F32Load(memarg));
                code.op(match self.combine {
                    Combine::Multiply => I::F32Mul,
                    Combine::Min => I::F32Min,
                    Combine::Max => I::F32Max,
                    Combine::Add | Combine::Replace => I::F32Add,
                });
                code.op(I::F32Store(memarg));
            }
            DType::F64 => {
                code.get(to).op(I::F64Load(memarg)).get(from).op(I::F64Load(memarg));
                code.op(match self.combine {
                    Combine::Multiply => I::F64Mul,
                    Combine::Min => I::F64Min,
                    Combine::Max => I::F64Max,
                    Combine::Add | Combine::Replace => I::F64Add,
                });
                code.op(I::F64Store(memarg));
            }
            dtype => self.emit_integer(code, from, to, dtype),
        }
    }

    /// Stores at the address on the stack.
    fn emit_integer(&self, code: &mut Code, from: Local, to: Local, dtype: DType) {
        let (old, new) = (code.local(ValType::I64), code.local(ValType::I64));
        for (value, address) in [(old, to), (new, from)] {
            code.get(address);
            integers::load(code, dtype);
            code.set(value);
        }
        let unsigned = dtype == DType::U64;
        code.get(old).get(new);
        match self.combine {
            Combine::Add | Combine::Replace => code.op(I::I64Add),
            Combine::Multiply => code.op(I::I64Mul),
            Combine::Min => {
                let less = if unsigned { I::I64LtU } else { I::I64LtS };
                code.get(old).get(new).op(less).op(I::Select)
            }
            Combine::Max => {
                let greater = if unsigned { I::I64GtU } else { I::I64GtS };
                code.get(old).get(new).op(greater).op(I::Select)
            }
        };
        integers::store(code, dtype);
        code.release([old, new]);
    }
}
