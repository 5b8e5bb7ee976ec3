//! A builder of one WebAssembly function whose fuel can be counted statically.
//!
//! Control flow is structured and every loop runs a constant number of times, so
//! the only ways to make a loop or a branch are [`Code::repeat`] and
//! [`Code::guarded`], and both leave a [`Note`] for the cost model. Addresses are
//! held in `i32` locals and kept absolute, and the offsets of memory accesses
//! small, as an engine elides bounds checks only below its guard region.

use wasm_encoder::{BlockType, Function, Ieee32, Instruction, MemArg, ValType};

/// A local variable of the function under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub u32);

/// Whose cost the code inside a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Taken only where a call ends in an error.
    Error,
    /// Taken only where a call begins with this stage.
    Enter(u32),
    /// Taken only where this stage is in the range of the call.
    Stage(u32),
    /// Taken only where a call ends with this stage.
    Leave(u32),
}

/// What the cost model must know of a `loop` or an `if`, in the order in which
/// they stand in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A loop whose body runs this often.
    Loop {
        /// At least 2.
        trips: u64,
    },
    /// A branch.
    If {
        /// Whose cost its body is.
        guard: Guard,
    },
}

/// A function under construction.
pub struct Code {
    params: u32,
    locals: Vec<ValType>,
    free: Vec<Local>,
    instructions: Vec<Instruction<'static>>,
    notes: Vec<Note>,
}

/// A finished function.
pub struct FinishedCode {
    /// Its locals and instructions, encoded.
    pub function: Function,
    /// One note for each `loop` and `if`, in order.
    pub notes: Vec<Note>,
}

impl Code {
    /// A function with this many `i32` parameters, which are its first locals.
    pub fn new(params: u32) -> Self {
        Self { params, locals: Vec::new(), free: Vec::new(), instructions: vec![], notes: vec![] }
    }

    /// The encoded function.
    pub fn finish(mut self) -> FinishedCode {
        self.instructions.push(Instruction::End);
        let mut function = Function::new_with_locals_types(self.locals.iter().copied());
        for instruction in &self.instructions {
            function.instruction(instruction);
        }
        FinishedCode { function, notes: self.notes }
    }

    /// Appends an instruction. Not for control flow.
    pub fn op(&mut self, instruction: Instruction<'static>) -> &mut Self {
        self.instructions.push(instruction);
        self
    }

    fn type_of(&self, local: Local) -> ValType {
        match local.0.checked_sub(self.params) {
            Some(index) => self.locals[index as usize],
            None => ValType::I32,
        }
    }

    /// A local of type `ty`, with unknown contents. Give it back with
    /// [`Code::release`] for others to use.
    pub fn local(&mut self, ty: ValType) -> Local {
        if let Some(at) = self.free.iter().rposition(|&l| self.type_of(l) == ty) {
            return self.free.swap_remove(at);
        }
        self.locals.push(ty);
        Local(self.params + self.locals.len() as u32 - 1)
    }

    /// A local for an address or a counter.
    pub fn i32_local(&mut self) -> Local {
        self.local(ValType::I32)
    }

    /// A local for four `f32` or other 128 bits.
    pub fn v128_local(&mut self) -> Local {
        self.local(ValType::V128)
    }

    /// Several locals of type `v128`.
    pub fn v128_locals(&mut self, count: usize) -> Vec<Local> {
        (0..count).map(|_| self.v128_local()).collect()
    }

    /// Gives locals back.
    pub fn release(&mut self, locals: impl IntoIterator<Item = Local>) {
        self.free.extend(locals);
    }

    /// Pushes a local.
    pub fn get(&mut self, local: Local) -> &mut Self {
        self.op(Instruction::LocalGet(local.0))
    }

    /// Pops into a local.
    pub fn set(&mut self, local: Local) -> &mut Self {
        self.op(Instruction::LocalSet(local.0))
    }

    /// Copies the top of the stack into a local.
    pub fn tee(&mut self, local: Local) -> &mut Self {
        self.op(Instruction::LocalTee(local.0))
    }

    /// Pushes a constant.
    pub fn i32(&mut self, value: u32) -> &mut Self {
        self.op(Instruction::I32Const(value as i32))
    }

    /// Pushes four times the same `f32`.
    pub fn splat(&mut self, value: f32) -> &mut Self {
        self.splat_bits(value.to_bits())
    }

    /// Pushes four times the same 32 bits.
    pub fn splat_bits(&mut self, bits: u32) -> &mut Self {
        let lane = u128::from(bits);
        let all = lane | lane << 32 | lane << 64 | lane << 96;
        self.op(Instruction::V128Const(all as i128))
    }

    /// Pushes an `f32`.
    pub fn f32(&mut self, value: f32) -> &mut Self {
        self.op(Instruction::F32Const(Ieee32::new(value.to_bits())))
    }

    /// `local = value`.
    pub fn assign(&mut self, local: Local, value: u32) {
        self.i32(value).set(local);
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Local, from: Local) {
        self.get(from).set(to);
    }

    /// `local += bytes`, modulo 2^32. Emits nothing for 0.
    pub fn advance(&mut self, local: Local, bytes: i64) {
        if bytes != 0 {
            self.get(local).i32(bytes as u32).op(Instruction::I32Add).set(local);
        }
    }

    /// Pushes the 16 bytes at `address + offset`.
    pub fn load(&mut self, address: Local, offset: u64) -> &mut Self {
        self.get(address).op(Instruction::V128Load(at(offset, 0)))
    }

    /// Pushes four times the `f32` at `address + offset`.
    pub fn load_splat(&mut self, address: Local, offset: u64) -> &mut Self {
        self.get(address).op(Instruction::V128Load32Splat(at(offset, 0)))
    }

    /// Stores the first `lanes` (1 to 4) lanes of `value` at `address + offset`.
    pub fn store_lanes(&mut self, address: Local, offset: u64, value: Local, lanes: usize) {
        let memarg = at(offset, 0);
        self.get(address).get(value);
        match lanes {
            4 => self.op(Instruction::V128Store(memarg)),
            1 => self.op(Instruction::V128Store32Lane { memarg, lane: 0 }),
            2 | 3 => self.op(Instruction::V128Store64Lane { memarg, lane: 0 }),
            _ => unreachable!("a vector of f32 has 1 to 4 lanes in use, not {lanes}"),
        };
        if lanes == 3 {
            let memarg = at(offset + 8, 0);
            self.get(address).get(value).op(Instruction::V128Store32Lane { memarg, lane: 2 });
        }
    }

    /// Runs `body` `trips` times: not at all, inline, or as a loop.
    pub fn repeat(&mut self, trips: usize, body: impl FnOnce(&mut Self)) {
        match trips {
            0 => {}
            1 => body(self),
            _ => {
                let counter = self.i32_local();
                self.assign(counter, trips as u32);
                self.notes.push(Note::Loop { trips: trips as u64 });
                self.op(Instruction::Loop(BlockType::Empty));
                body(self);
                self.get(counter).i32(1).op(Instruction::I32Sub).tee(counter);
                self.op(Instruction::BrIf(0)).op(Instruction::End);
                self.release([counter]);
            }
        }
    }

    /// Pops a condition and runs `body` where it is not zero. The body's cost is
    /// counted for `guard` and not for the function itself.
    pub fn guarded(&mut self, guard: Guard, body: impl FnOnce(&mut Self)) {
        self.notes.push(Note::If { guard });
        self.op(Instruction::If(BlockType::Empty));
        body(self);
        self.op(Instruction::End);
    }
}

/// The operand of a memory access. `align` is the exponent of the alignment hint.
pub fn at(offset: u64, align: u32) -> MemArg {
    MemArg { offset, align, memory_index: 0 }
}
