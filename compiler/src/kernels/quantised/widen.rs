//! 8-bit operands made ready for products: widened to 16 bits, with their zero
//! point subtracted.

use wasm_encoder::Instruction as I;

use crate::emit::code::{Address, Code, Local, at};

/// Elements that are widened at a time.
pub const LANES: usize = 8;

/// Bytes that the last store of a row may go beyond its end.
pub const WRITE_SLACK: usize = 32;

/// The zero point of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// Known when compiling.
    Known(i32),
    /// The input of the kernel with this index, of the operand's type.
    Input(usize),
}

/// The operands of a product, as they are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Whether they are I8, and not U8.
    pub signed: bool,
    /// Their zero point.
    pub zero: Zero,
}

/// The zero point in all eight lanes of a local, unless it is 0.
#[derive(Clone, Copy, Debug)]
pub struct Widener {
    signed: bool,
    zero: Option<Local>,
}

impl Bytes {
    /// A vector of the zero point, or an empty blob where it is 0 or computed: kernels that
    /// differ in it only share their code.
    pub fn zeros(&self) -> Vec<u8> {
        match self.zero {
            Zero::Known(zero) if zero != 0 => (zero as i16).to_le_bytes().repeat(LANES),
            _ => Vec::new(),
        }
    }

    /// Emits what the widening of a row needs, with the blob of [`Bytes::zeros`]. Give it
    /// back with [`Widener::release`].
    pub fn start(&self, code: &mut Code, inputs: &[Address], zeros: Address) -> Widener {
        let zero = match self.zero {
            Zero::Known(0) => None,
            Zero::Known(_) => {
                code.address(zeros).op(I::V128Load(at(0, 0)));
                Some(())
            }
            Zero::Input(input) => {
                code.address(inputs[input]);
                code.op(match self.signed {
                    true => I::I32Load8S(at(0, 0)),
                    false => I::I32Load8U(at(0, 0)),
                });
                code.op(I::I16x8Splat);
                Some(())
            }
        };
        let zero = zero.map(|()| {
            let local = code.v128_local();
            code.set(local);
            local
        });
        Widener { signed: self.signed, zero }
    }
}

impl Widener {
    /// Gives its locals back.
    pub fn release(self, code: &mut Code) {
        code.release(self.zero);
    }

    /// Pushes eight neighbours from `address + offset` on, widened.
    pub fn load(&self, code: &mut Code, address: Local, offset: u64) {
        code.get(address);
        code.op(match self.signed {
            true => I::V128Load8x8S(at(offset, 0)),
            false => I::V128Load8x8U(at(offset, 0)),
        });
        self.subtract(code);
    }

    fn subtract(&self, code: &mut Code) {
        if let Some(zero) = self.zero {
            code.get(zero).op(I::I16x8Sub);
        }
    }

    /// Emits the widening of a row of `count` neighbours, and a 0 after them if
    /// their number is odd. Both pointers move past the row. Up to [`WRITE_SLACK`]
    /// bytes past the row's end are overwritten.
    pub fn emit_row(&self, code: &mut Code, from: Local, to: Local, count: usize) {
        const UNROLL: usize = 4;
        let vectors = count.div_ceil(LANES);
        let emit = |code: &mut Code, vectors: usize| {
            for v in 0..vectors {
                code.get(to);
                self.load(code, from, (LANES * v) as u64);
                code.op(I::V128Store(at((2 * LANES * v) as u64, 0)));
            }
            code.advance(from, (LANES * vectors) as i64);
            code.advance(to, (2 * LANES * vectors) as i64);
        };
        code.repeat(vectors / UNROLL, |code| emit(code, UNROLL));
        emit(code, vectors % UNROLL);
        let beyond = (LANES * vectors - count) as i64;
        code.advance(from, -beyond);
        code.advance(to, -2 * beyond);
        if !count.is_multiple_of(2) {
            code.get(to).i32(0).op(I::I32Store16(at(0, 0)));
            code.advance(to, 2);
        }
    }

    /// Emits two rows of `count` neighbours, widened and interleaved: the first of
    /// each, the second of each, and so on. Without a second row, there are zeros
    /// in its place. The pointers move past the rows. Up to [`WRITE_SLACK`] bytes
    /// past the end are overwritten.
    pub fn emit_pairs(
        &self,
        code: &mut Code,
        first: Option<Local>,
        second: Option<Local>,
        to: Local,
        count: usize,
        stride: usize,
    ) {
        const UNROLL: usize = 2;
        let rows = [code.v128_local(), code.v128_local()];
        let sources = [first, second];
        let emit = |code: &mut Code, vector: usize, lanes: usize| {
            for (row, source) in rows.iter().zip(sources) {
                match source {
                    Some(from) => {
                        let offset = (LANES * vector * stride) as u64;
                        self.load_strided(code, from, offset, stride, lanes);
                    }
                    None => {
                        code.splat_bits(0);
                    }
                }
                code.set(*row);
            }
            for half in 0..2 {
                // Of each row in turn, two bytes.
                let bytes =
                    std::array::from_fn(|i| (8 * half + i / 4 * 2 + i % 2 + i / 2 % 2 * 16) as u8);
                code.get(to).get(rows[0]).get(rows[1]).op(I::I8x16Shuffle(bytes));
                code.op(I::V128Store(at((4 * LANES * vector + 16 * half) as u64, 0)));
            }
        };
        let advance = |code: &mut Code, count: usize| {
            for from in sources.into_iter().flatten() {
                code.advance(from, (count * stride) as i64);
            }
            code.advance(to, 4 * count as i64);
        };
        code.repeat(count / (UNROLL * LANES), |code| {
            (0..UNROLL).for_each(|vector| emit(code, vector, LANES));
            advance(code, UNROLL * LANES);
        });
        let rest = count % (UNROLL * LANES);
        for (vector, first) in (0..rest).step_by(LANES).enumerate() {
            emit(code, vector, (rest - first).min(LANES));
        }
        advance(code, rest);
        code.release(rows);
    }

    /// Pushes eight elements that lie `stride` apart, widened. Past the first `lanes`
    /// they are arbitrary.
    fn load_strided(
        &self,
        code: &mut Code,
        address: Local,
        offset: u64,
        stride: usize,
        lanes: usize,
    ) {
        const LOW_BYTES: [u8; 16] =
            [255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0];
        match stride {
            1 => self.load(code, address, offset),
            2 => {
                // The even ones of 16.
                code.load(address, offset);
                match self.signed {
                    true => code.i32(8).op(I::I16x8Shl).i32(8).op(I::I16x8ShrS),
                    false => code.op(I::V128Const(i128::from_le_bytes(LOW_BYTES))).op(I::V128And),
                };
                self.subtract(code);
            }
            _ => {
                let element = |lane: usize| {
                    let memarg = at(offset + (lane * stride) as u64, 0);
                    if self.signed { I::I32Load8S(memarg) } else { I::I32Load8U(memarg) }
                };
                code.get(address).op(element(0)).op(I::I16x8Splat);
                for lane in 1..lanes {
                    code.get(address).op(element(lane)).op(I::I16x8ReplaceLane(lane as u8));
                }
                self.subtract(code);
            }
        }
    }
}
