//! The `copy` kernel: elements of any type moved from strided sources to a
//! strided destination. Transposition, slicing, concatenation, padding and
//! broadcasting are all this.

use std::any::Any;

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local, at};
use crate::emit::nest::{self, Dim};
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
        if self.parts.is_empty() && self.fill.is_none() {
            return format!("{} in place", self.what);
        }
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
    if size == 4
        && let Some(transposed) = Transposed::take(&mut dims)
    {
        let moved = nest::emit_loops(code, &dims, &[from, to], &[4, 4], &mut |code| {
            transposed.emit(code, from, to);
        });
        return [moved[0], moved[1]];
    }
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

/// The size of a block that is transposed in registers.
const BLOCK: usize = 4;

/// Rows whose elements alternate in the output.
const PAIR: usize = 2;

/// The most bytes from the first to the last row of a block: an offset in the code.
const MOST_OFFSET: usize = 1 << 20;

/// Two axes of elements of four bytes, one of which has neighbours in the input, the
/// other in the output.
struct Transposed {
    /// Neighbours in the input.
    across: Dim,
    /// Neighbours in the output.
    along: Dim,
}

impl Transposed {
    /// Takes the two axes out of a nest, whose strides are those of the input and of
    /// the output.
    fn take(dims: &mut Vec<Dim>) -> Option<Self> {
        let with_neighbours = |operand: usize| {
            let fits = |dim: &Dim| {
                let far = dim.strides[1 - operand];
                let is_near = far * 4 * (BLOCK - 1) <= MOST_OFFSET;
                let is_pair = operand == 1 && dim.size == PAIR;
                dim.strides[operand] == 1 && far > 1 && is_near && (dim.size >= BLOCK || is_pair)
            };
            dims.iter().position(fits)
        };
        let (across, along) = (with_neighbours(0)?, with_neighbours(1)?);
        if dims[along].size == PAIR && dims[across].strides[1] != PAIR {
            return None;
        }
        let transposed = Self { across: dims[across].clone(), along: dims[along].clone() };
        dims.remove(across.max(along));
        dims.remove(across.min(along));
        Some(transposed)
    }

    /// Emits all blocks. Leaves both pointers as they were.
    fn emit(&self, code: &mut Code, from: Local, to: Local) {
        let (row, column) = (4 * self.along.strides[0], 4 * self.across.strides[1]);
        if self.along.size == PAIR {
            emit_blocks(code, self.across.size, [(from, 4), (to, column)], &mut |code| {
                emit_pairs(code, (from, row), to);
            });
            return;
        }
        emit_blocks(code, self.along.size, [(from, row), (to, 4)], &mut |code| {
            emit_blocks(code, self.across.size, [(from, 4), (to, column)], &mut |code| {
                emit_block(code, (from, row), (to, column));
            });
        });
    }
}

/// Emits `body` for each block of an axis whose elements are so many bytes apart. The
/// last block overlaps the one before it where the size is no multiple of a block's.
fn emit_blocks(
    code: &mut Code,
    size: usize,
    pointers: [(Local, usize); 2],
    body: &mut dyn FnMut(&mut Code),
) {
    let (whole, rest) = (size / BLOCK, size % BLOCK);
    let advance = |code: &mut Code, elements: i64| {
        for (pointer, bytes) in pointers {
            code.advance(pointer, elements * bytes as i64);
        }
    };
    code.repeat(whole, |code| {
        body(code);
        advance(code, BLOCK as i64);
    });
    let mut passed = (whole * BLOCK) as i64;
    if rest > 0 {
        advance(code, rest as i64 - BLOCK as i64);
        body(code);
        passed += rest as i64 - BLOCK as i64;
    }
    advance(code, -passed);
}

/// Which words of two vectors, of which the second one's count from 4 on.
const fn words(words: [u8; 4]) -> I<'static> {
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < 16 {
        bytes[at] = 4 * words[at / 4] + (at % 4) as u8;
        at += 1;
    }
    I::I8x16Shuffle(bytes)
}

const LOW: I = words([0, 4, 1, 5]);
const HIGH: I = words([2, 6, 3, 7]);
const LOW_HALVES: I = words([0, 1, 4, 5]);
const HIGH_HALVES: I = words([2, 3, 6, 7]);

/// Emits the elements of two rows of a block, which are so many bytes apart, by turns.
fn emit_pairs(code: &mut Code, (from, row): (Local, usize), to: Local) {
    let rows = code.load_each(from, [0, row]);
    for (at, interleave) in [LOW, HIGH].into_iter().enumerate() {
        code.get(rows[0]).get(rows[1]).op(interleave);
        code.store_popped(to, 16 * at);
    }
    code.release(rows);
}

/// Emits the transposition of one block, whose rows are so many bytes apart.
fn emit_block(code: &mut Code, (from, row): (Local, usize), (to, column): (Local, usize)) {
    let rows: [Local; BLOCK] = std::array::from_fn(|_| code.v128_local());
    for (i, &local) in rows.iter().enumerate() {
        code.load(from, (i * row) as u64).set(local);
    }
    let pairs: [Local; BLOCK] = std::array::from_fn(|_| code.v128_local());
    for (at, interleave) in [LOW, HIGH].into_iter().enumerate() {
        code.get(rows[0]).get(rows[1]).op(interleave.clone()).set(pairs[2 * at]);
        code.get(rows[2]).get(rows[3]).op(interleave).set(pairs[2 * at + 1]);
    }
    for (i, &local) in rows.iter().enumerate() {
        let halves = if i % 2 == 0 { LOW_HALVES } else { HIGH_HALVES };
        code.get(pairs[i / 2 * 2]).get(pairs[i / 2 * 2 + 1]).op(halves).set(local);
        code.store_lanes(to, (i * column) as u64, local, 4);
    }
    code.release(rows.into_iter().chain(pairs));
}

/// Emits a copy of a constant number of bytes, exactly. Leaves both pointers as
/// they were.
pub fn copy_bytes(code: &mut Code, from: Local, to: Local, bytes: usize) {
    const AT_ONCE: usize = 64;
    let blocks = bytes / AT_ONCE;
    let vector = |code: &mut Code, offset: usize| {
        let memarg = at(offset as u64, 0);
        code.get(to).get(from).op(I::V128Load(memarg)).op(I::V128Store(memarg));
    };
    let mut done = 0;
    if blocks > 1 {
        code.repeat(blocks, |code| {
            (0..AT_ONCE).step_by(16).for_each(|offset| vector(code, offset));
            code.advance(from, AT_ONCE as i64);
            code.advance(to, AT_ONCE as i64);
        });
        done = blocks * AT_ONCE;
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
