//! The `non zero` kernel: the coordinates of the elements that are not 0, in order,
//! with -1 after the last one.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::keys;
use crate::emit::code::{Code, Local, at};
use crate::schedule::{Kernel, Places};

/// `out[axis][i]` is the coordinate along an axis of the `i`-th such element, as I64.
#[derive(Clone, Debug)]
pub struct NonZero {
    /// The type of the elements.
    pub dtype: DType,
    /// The shape of the input.
    pub shape: Vec<usize>,
}

impl Kernel for NonZero {
    fn describe(&self) -> String {
        "non zero".into()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let elements: usize = self.shape.iter().product();
        let (from, to) = (code.i32_local(), code.i32_local());
        code.point(to, places.outputs[0]);
        code.repeat(elements * self.shape.len(), |code| {
            code.get(to).op(I::I64Const(-1)).op(I::I64Store(at(0, 0)));
            code.advance(to, 8);
        });
        code.point(from, places.inputs[0]);
        code.point(to, places.outputs[0]);
        let coordinates: Vec<Local> = self.shape.iter().map(|_| code.local(ValType::I64)).collect();
        self.emit_axes(code, [from, to], &coordinates, 0);
        code.release([from, to]);
        code.release(coordinates);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl NonZero {
    /// Emits loops over the axes from one on.
    fn emit_axes(&self, code: &mut Code, places: [Local; 2], coordinates: &[Local], axis: usize) {
        let Some(&size) = self.shape.get(axis) else {
            return self.emit_element(code, places, coordinates);
        };
        let coordinate = coordinates[axis];
        code.op(I::I64Const(0)).set(coordinate);
        code.repeat(size, |code| {
            self.emit_axes(code, places, coordinates, axis + 1);
            code.get(coordinate).op(I::I64Const(1)).op(I::I64Add).set(coordinate);
        });
    }

    /// Writes the coordinates, or -1, to the next column, which is kept only if the
    /// element is not 0.
    fn emit_element(&self, code: &mut Code, [from, to]: [Local; 2], coordinates: &[Local]) {
        let column = 8 * self.shape.iter().product::<usize>() as u32;
        let is_set = code.i32_local();
        code.get(from);
        keys::load(code, self.dtype);
        code.op(I::I64Const(zero_key(self.dtype))).op(I::I64Ne).set(is_set);
        for (axis, &coordinate) in coordinates.iter().enumerate() {
            code.get(to).i32(column * axis as u32).op(I::I32Add);
            code.get(coordinate).op(I::I64Const(-1)).get(is_set).op(I::Select);
            code.op(I::I64Store(at(0, 0)));
        }
        code.get(to).get(is_set).i32(3).op(I::I32Shl).op(I::I32Add).set(to);
        code.advance(from, self.dtype.size_bytes() as i64);
        code.release([is_set]);
    }
}

/// The key of 0.
fn zero_key(dtype: DType) -> i64 {
    match dtype {
        DType::U64 => i64::MIN,
        DType::U32 => -(1 << 31),
        _ => 0,
    }
}
