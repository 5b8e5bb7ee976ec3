//! The `copy` kernel: elements of any type moved from strided sources to a
//! strided destination. Transposition, slicing, concatenation, padding and
//! broadcasting are all this.

use std::any::Any;

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local, at};
use crate::emit::nest;
use crate::schedule::{Kernel, Places};

/// A block of elements that is copied from one input to the output. Offsets and
/// strides are in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which input.
    pub input: usize,
    /// The size of the block.
    pub shape: Vec<usize>,
    /// Where it begins in the input.
    pub from: usize,
    /// How it lies in the input.
    pub from_strides: Vec<usize>,
    /// Where it begins in the output.
    pub to: usize,
    /// How it lies in the output.
    pub to_strides: Vec<usize>,
}

/// Copies blocks, over an output that may be filled first.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What it does, for people: `transpose`.
    pub what: &'static str,
    /// The size of an element in bytes: 1, 2, 4 or 8.
    pub element_bytes: usize,
    /// The size of the output in bytes, and 16 bytes that are repeated over it
    /// before anything is copied.
    pub fill: Option<(usize, [u8; 16])>,
    /// What is copied.
    pub parts: Vec<Part>,
}

impl Kernel for Copy {
    fn describe(&self) -> String {
        format!("copy {}", self.what)
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let (from, to) = (code.i32_local(), code.i32_local());
        if let Some((bytes, pattern)) = self.fill {
            code.point(to, places.outputs[0]);
            code.repeat(bytes.div_ceil(16), |code| {
                code.get(to).op(I::V128Const(i128::from_le_bytes(pattern)));
                code.op(I::V128Store(at(0, 0)));
                code.advance(to, 16);
            });
        }
        for part in &self.parts {
            code.point(
                from,
                places.inputs[part.input].plus((part.from * self.element_bytes) as u32),
            );
            code.point(to, places.outputs[0].plus((part.to * self.element_bytes) as u32));
            emit_part(code, self.element_bytes, part, from, to);
        }
        code.release([from, to]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Emits a copy of a block of elements of so many bytes, from one pointer to another.
/// Returns how far it moved these, in bytes.
pub fn emit_part(code: &mut Code, size: usize, part: &Part, from: Local, to: Local) -> [i64; 2] {
    let mut dims = nest::collapse(&part.shape, &[&part.from_strides, &part.to_strides]);
    let inner = dims.last().expect("a nest has at least one dimension").clone();
    let contiguous = inner.strides == [1, 1];
    if contiguous {
        dims.pop();
    }
    let moved = nest::emit_loops(code, &dims, &[from, to], &[size, size], &mut |code| {
        if contiguous {
            copy_bytes(code, from, to, inner.size * size);
        } else {
            code.get(to).get(from);
            match size {
                1 => code.op(I::I32Load8U(at(0, 0))).op(I::I32Store8(at(0, 0))),
                2 => code.op(I::I32Load16U(at(0, 0))).op(I::I32Store16(at(0, 0))),
                4 => code.op(I::I32Load(at(0, 0))).op(I::I32Store(at(0, 0))),
                8 => code.op(I::I64Load(at(0, 0))).op(I::I64Store(at(0, 0))),
                _ => unreachable!("elements of {size} bytes"),
            };
        }
    });
    [moved[0], moved[1]]
}

/// Emits a copy of a constant number of bytes, exactly. Leaves both pointers as
/// they were.
pub fn copy_bytes(code: &mut Code, from: Local, to: Local, bytes: usize) {
    const BLOCK: usize = 64;
    let blocks = bytes / BLOCK;
    let vector = |code: &mut Code, offset: usize| {
        let memarg = at(offset as u64, 0);
        code.get(to).get(from).op(I::V128Load(memarg)).op(I::V128Store(memarg));
    };
    let mut done = 0;
    if blocks > 1 {
        code.repeat(blocks, |code| {
            (0..BLOCK).step_by(16).for_each(|offset| vector(code, offset));
            code.advance(from, BLOCK as i64);
            code.advance(to, BLOCK as i64);
        });
        done = blocks * BLOCK;
    }
    let moved = done;
    let offset_of = |done: usize| (done - moved) as u64;
    while bytes - done >= 16 {
        vector(code, done - moved);
        done += 16;
    }
    for size in [8, 4, 2, 1] {
        while bytes - done >= size {
            let memarg = at(offset_of(done), 0);
            code.get(to).get(from);
            match size {
                8 => code.op(I::I64Load(memarg)).op(I::I64Store(memarg)),
                4 => code.op(I::I32Load(memarg)).op(I::I32Store(memarg)),
                2 => code.op(I::I32Load16U(memarg)).op(I::I32Store16(memarg)),
                _ => code.op(I::I32Load8U(memarg)).op(I::I32Store8(memarg)),
            };
            done += size;
        }
    }
    code.advance(from, -(moved as i64));
    code.advance(to, -(moved as i64));
}
