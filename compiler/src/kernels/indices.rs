//! Indices that are computed: where in a tensor they point, without a branch.

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::integers;
use crate::emit::code::{Code, Local};

/// One index of several that together name a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// The size of the axis that it is of.
    pub axis: usize,
    /// How far one index moves, in bytes.
    pub step_bytes: usize,
}

/// Emits `to = base + sum(index * step)` of indices that lie next to each other
/// from `indices` on. One below 0 counts from the end; one outside its axis is the
/// nearest one inside.
pub fn emit_address(
    code: &mut Code,
    to: Local,
    base: Local,
    indices: Local,
    dtype: DType,
    components: &[Component],
) {
    let index = code.local(ValType::I64);
    code.copy(to, base);
    for (number, component) in components.iter().enumerate() {
        code.get(indices).i32((number * dtype.size_bytes()) as u32).op(I::I32Add);
        integers::load(code, dtype);
        code.set(index);
        emit_inside(code, index, component.axis);
        code.get(index).op(I::I32WrapI64).i32(component.step_bytes as u32).op(I::I32Mul);
        code.get(to).op(I::I32Add).set(to);
    }
    code.release([index]);
}

/// Replaces an index by one from 0 to below the axis' size.
fn emit_inside(code: &mut Code, index: Local, axis: usize) {
    let size = axis as i64;
    let zero = I::I64Const(0);
    code.get(index).op(I::I64Const(size)).op(I::I64Const(0));
    code.get(index).op(zero.clone()).op(I::I64LtS).op(I::Select).op(I::I64Add).set(index);
    code.get(index).op(zero.clone()).get(index).op(zero).op(I::I64GtS).op(I::Select).set(index);
    code.get(index).op(I::I64Const(size - 1));
    code.get(index).op(I::I64Const(size - 1)).op(I::I64LtS).op(I::Select).set(index);
}
