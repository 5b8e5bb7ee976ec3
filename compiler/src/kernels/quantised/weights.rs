//! Constant weights without their zero points: in 8 bits where they fit, in 16
//! where not.

use wasm_encoder::Instruction as I;

use super::widen::{Bytes, Zero};
use crate::emit::code::{Address, Code, Local, at};

/// How weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte each, widened when loaded.
    Narrow,
    /// Two bytes each.
    Wide,
}

impl Width {
    /// The width that these weights want.
    pub fn of(weights: &[i16]) -> Self {
        match weights.iter().all(|&weight| i8::try_from(weight).is_ok()) {
            true => Self::Narrow,
            false => Self::Wide,
        }
    }

    /// The bytes of one weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::Narrow => 1,
            Self::Wide => 2,
        }
    }

    /// Appends a weight.
    pub fn push(self, to: &mut Vec<u8>, weight: i16) {
        match self {
            Self::Narrow => to.push(weight as i8 as u8),
            Self::Wide => to.extend_from_slice(&weight.to_le_bytes()),
        }
    }

    /// Pushes eight neighbouring weights, as `i16`, from `address + offset` on.
    pub fn load(self, code: &mut Code, address: Local, offset: u64) {
        match self {
            Self::Narrow => code.get(address).op(I::V128Load8x8S(at(offset, 0))),
            Self::Wide => code.load(address, offset),
        };
    }
}

/// Emits the widening of `count` narrow weights. Both pointers move past them. Up to
/// [`super::widen::WRITE_SLACK`] bytes past the end are overwritten.
pub fn emit_widening(code: &mut Code, from: Local, to: Local, count: usize) {
    let bytes = Bytes { signed: true, zero: Zero::Known(0) };
    let widener = bytes.start(code, &[], Address::fixed(0));
    widener.emit_row(code, from, to, count);
    widener.release(code);
}
