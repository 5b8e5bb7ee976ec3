//! A builder of one WebAssembly function whose fuel can be counted statically.
//!
//! Control flow is structured and every loop runs a constant number of times, so
//! the only ways to make a loop or a branch are [`Code::repeat`], [`Code::guarded`],
//! [`Code::jointed`] and [`Code::fenced`], which leave a [`Note`] for the cost model. Addresses are
//! held in `i32` locals and kept absolute, and the offsets of memory accesses
//! small, as an engine elides bounds checks only below its guard region.

use wasm_encoder::{BlockType, Function, Ieee32, Instruction, MemArg, ValType};

/// The first address that is used: what is below stays empty, so that a null
/// pointer never names a tensor.
pub const LOWEST_ADDRESS: u32 = 1024;

/// Below that, where a loop keeps vectors from one iteration to the next: the first
/// address of [`KEPT_VECTORS`] of them.
const KEPT_ADDRESS: u32 = 512;

/// The most vectors that [`Code::keep`] can be told to keep.
pub const KEPT_VECTORS: usize = 16;

/// The most instructions that an iteration has from several bodies of a loop, so that its
/// checks of the fuel and of the deadline weigh less.
const MOST_UNROLLED: usize = 64;

/// A local variable of the function under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub u32);

/// An address that a function learns when it is called, as an `i32` parameter:
/// functions that differ in nothing but their addresses are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    base: Base,
    offset_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Parameter(Local),
    Zero,
}

impl Address {
    /// The address in a parameter.
    pub fn parameter(parameter: Local) -> Self {
        Self { base: Base::Parameter(parameter), offset_bytes: 0 }
    }

    /// An address that is known already.
    pub fn fixed(address: u32) -> Self {
        Self { base: Base::Zero, offset_bytes: address }
    }

    /// The address so many bytes further on, modulo 2^32.
    pub fn plus(self, bytes: u32) -> Self {
        Self { offset_bytes: self.offset_bytes.wrapping_add(bytes), ..self }
    }
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A `br_if` that is never taken, out of a block of [`Code::fenced`].
    Fence,
    /// A `br_if` that is always taken, over the way to the joints of
    /// [`Code::jointed`].
    Joints,
}

/// A function under construction.
pub struct Code {
    params: u32,
    locals: Vec<ValType>,
    free: Vec<Local>,
    instructions: Vec<Instruction<'static>>,
    notes: Vec<Note>,
    /// The number of open blocks, loops and branches.
    depth: u32,
    /// The counters of the open loops, none of which is 0 in its loop's body.
    counters: Vec<Local>,
    /// The depth inside the innermost block that a fence leaves.
    fenced: Option<u32>,
    /// Where the joints of the current [`Code::jointed`] are.
    joints: Option<Vec<usize>>,
    /// Whether relaxed SIMD may be used.
    is_relaxed: bool,
}

/// A finished function.
pub struct FinishedCode {
    /// Its locals and instructions, encoded.
    pub function: Function,
    /// One note for each `loop`, `if` and fence, in order.
    pub notes: Vec<Note>,
}

impl Code {
    /// A function with this many `i32` parameters, which are its first locals.
    pub fn new(params: u32) -> Self {
        Self {
            params,
            locals: Vec::new(),
            free: Vec::new(),
            instructions: Vec::new(),
            notes: Vec::new(),
            depth: 0,
            counters: Vec::new(),
            fenced: None,
            joints: None,
            is_relaxed: false,
        }
    }

    /// Says whether relaxed SIMD may be used. It may not by default.
    pub fn relax(&mut self, is_relaxed: bool) {
        self.is_relaxed = is_relaxed;
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

    /// Pushes an address.
    pub fn address(&mut self, Address { base, offset_bytes }: Address) -> &mut Self {
        match base {
            Base::Zero => self.i32(offset_bytes),
            Base::Parameter(parameter) if offset_bytes == 0 => self.get(parameter),
            Base::Parameter(parameter) => {
                self.get(parameter).i32(offset_bytes).op(Instruction::I32Add)
            }
        }
    }

    /// `local = address`.
    pub fn point(&mut self, local: Local, address: Address) {
        self.address(address).set(local);
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

    /// `local += bytes`, in the last but one iteration of the innermost loop only.
    pub fn advance_before_last(&mut self, local: Local, bytes: i64) {
        let counter = *self.counters.last().expect("iterations are of a loop");
        self.get(local).i32(bytes as u32);
        self.get(counter).i32(2).op(Instruction::I32Eq);
        self.op(Instruction::I32Mul).op(Instruction::I32Add).set(local);
    }

    /// Pushes the number in a local, or `most` if that is less.
    pub fn push_at_most(&mut self, number: Local, most: usize) -> &mut Self {
        self.get(number).i32(most as u32).get(number).i32(most as u32);
        self.op(Instruction::I32LtU).op(Instruction::Select)
    }

    /// Pushes the 16 bytes at `address + offset`.
    pub fn load(&mut self, address: Local, offset: u64) -> &mut Self {
        self.get(address).op(Instruction::V128Load(at(offset, 0)))
    }

    /// Pushes four times the `f32` at `address + offset`.
    pub fn load_splat(&mut self, address: Local, offset: u64) -> &mut Self {
        self.get(address).op(Instruction::F32Load(at(offset, 0))).op(Instruction::F32x4Splat)
    }

    /// `sum += a * b` of four `f32`: rounded twice, or, with relaxed SIMD, as often as
    /// the machine likes. On x86-64 the engine then overwrites `a`, and copies it first
    /// where it is used again.
    pub fn multiply_add(&mut self, sum: Local, a: Local, b: Local) {
        if self.is_relaxed {
            self.get(a).get(b).get(sum).op(Instruction::F32x4RelaxedMadd).set(sum);
        } else {
            self.get(sum).get(a).get(b);
            self.op(Instruction::F32x4Mul).op(Instruction::F32x4Add).set(sum);
        }
    }

    /// Loads the 16 bytes at `address` plus each of the offsets, into locals of their own.
    pub fn load_each(
        &mut self,
        address: Local,
        offsets: impl IntoIterator<Item = usize>,
    ) -> Vec<Local> {
        let load = |offset: usize| {
            let local = self.v128_local();
            self.load(address, offset as u64).set(local);
            local
        };
        offsets.into_iter().map(load).collect()
    }

    /// Pops a vector, and stores it at `address + offset`.
    pub fn store_popped(&mut self, address: Local, offset: usize) {
        let local = self.v128_local();
        self.set(local);
        self.store_lanes(address, offset as u64, local, 4);
        self.release([local]);
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

    /// Runs `body` `trips` times: not at all, inline, or as a loop, an iteration of which
    /// runs short straight code several times.
    pub fn repeat(&mut self, trips: usize, body: impl FnOnce(&mut Self)) {
        match trips {
            0 => {}
            1 => body(self),
            _ => {
                let counter = self.i32_local();
                let before = self.instructions.len();
                self.assign(counter, trips as u32);
                self.op(Instruction::Loop(BlockType::Empty));
                let (first, note) = (self.instructions.len(), self.notes.len());
                self.notes.push(Note::Loop { trips: trips as u64 });
                self.counters.push(counter);
                self.nested(1, body);
                self.counters.pop();
                let bodies = bodies_per_iteration(trips, &self.instructions[first..], counter);
                let body = first..self.instructions.len();
                for _ in 1..bodies {
                    self.instructions.extend_from_within(body.clone());
                }
                if bodies == trips {
                    self.instructions.drain(before..first);
                    self.notes.pop();
                } else {
                    let trips = trips / bodies;
                    self.instructions[before] = Instruction::I32Const(trips as i32);
                    self.notes[note] = Note::Loop { trips: trips as u64 };
                    self.get(counter).i32(1).op(Instruction::I32Sub).tee(counter);
                    self.op(Instruction::BrIf(0)).op(Instruction::End);
                }
                self.release([counter]);
            }
        }
    }

    /// Pops a condition and runs `body` where it is not zero. The body's cost is
    /// counted for `guard` and not for the function itself.
    pub fn guarded(&mut self, guard: Guard, body: impl FnOnce(&mut Self)) {
        self.notes.push(Note::If { guard });
        self.op(Instruction::If(BlockType::Empty));
        self.nested(1, body);
        self.op(Instruction::End);
    }

    /// Runs `body`, straight code in which [`Code::joint`] has the engine compute
    /// what is in the locals so far, and no later. `address` must hold one;
    /// `without_value` are the locals of type `v128` that `body` sets before it reads
    /// them.
    ///
    /// Cranelift moves an operator without effects down to where its result is
    /// wanted, which is the end of its basic block or a store, but leaves loads
    /// where they are. Of a long block of multiplications and additions, all
    /// operands are then loaded first, and spilled. And it makes a load part of
    /// the instruction that wants it only where the result of that instruction is
    /// used once. A joint is where a second path joins, on which the locals have
    /// other values: all of them must be there, each is used once, namely to be
    /// passed on, and nothing is executed for it but an addition to the fuel. The
    /// other path is a `br_table` before the first joint, which a branch goes around
    /// wherever `address` is not 0, that is always. On that path, what has no value yet
    /// is zero: else it would be what the last iteration of a loop left, and the engine
    /// would keep that.
    pub fn jointed(
        &mut self,
        address: Local,
        without_value: &[Local],
        body: impl FnOnce(&mut Self),
    ) {
        let outer = self.joints.replace(Vec::new());
        let notes = self.notes.len();
        body(self);
        debug_assert_eq!(self.notes.len(), notes, "joints are in straight code");
        let joints = std::mem::replace(&mut self.joints, outer).unwrap_or_default();
        let Some(&first) = joints.first() else { return };
        let count = joints.len() as u32;
        let mut way = vec![Instruction::Block(BlockType::Empty); joints.len() + 1];
        way.extend([Instruction::LocalGet(address.0), Instruction::BrIf(0)]);
        if !without_value.is_empty() {
            way.push(Instruction::V128Const(0));
            way.extend(without_value.iter().map(|local| Instruction::LocalTee(local.0)));
            way.push(Instruction::Drop);
        }
        way.extend([
            Instruction::LocalGet(address.0),
            Instruction::BrTable((1..=count).collect::<Vec<_>>().into(), 1),
            Instruction::End,
        ]);
        self.notes.push(Note::Joints);
        self.instructions.splice(first..first, way);
    }

    /// Ends a part of the code in [`Code::jointed`]. `settled` are the locals that
    /// the engine should compute first, in this order.
    pub fn joint(&mut self, settled: &[Local]) {
        let joints = self.joints.as_mut().expect("a joint is in jointed code");
        joints.push(self.instructions.len());
        self.op(Instruction::End);
        // Cranelift passes on what is mentioned first first.
        for &local in settled {
            self.get(local).op(Instruction::Drop);
        }
    }

    /// Keeps the vector that `push` pushes in memory, as the `index`th.
    pub fn keep(&mut self, index: usize, push: impl FnOnce(&mut Self)) {
        self.i32(0);
        push(self);
        self.op(Instruction::V128Store(at_kept(index)));
    }

    /// Pushes the `index`th vector that is kept.
    pub fn kept(&mut self, index: usize) -> &mut Self {
        self.i32(0).op(Instruction::V128Load(at_kept(index)))
    }

    /// Runs `body`, in which [`Code::fence`] has the engine compute `sums`, of
    /// type `v128`, as far as they have got. `address` must hold one that may be
    /// written.
    ///
    /// What [`Code::jointed`] says of Cranelift is so here too. A fence is a branch
    /// to code that stores the sums, which wants them; it is never taken, and the
    /// code there never runs and ends in a trap, so that the engine moves it out
    /// of the way.
    pub fn fenced(&mut self, sums: &[Local], address: Local, body: impl FnOnce(&mut Self)) {
        self.op(Instruction::Block(BlockType::Empty)).op(Instruction::Block(BlockType::Empty));
        let outer = self.fenced.replace(self.depth + 2);
        self.nested(2, body);
        self.fenced = outer;
        self.op(Instruction::Br(1)).op(Instruction::End);
        for (i, &sum) in sums.iter().enumerate() {
            self.store_lanes(address, 16 * i as u64, sum, 4);
        }
        self.op(Instruction::Unreachable).op(Instruction::End);
    }

    /// Emits a fence for the sums of the innermost [`Code::fenced`], if it is in
    /// a loop, without which there is little to order.
    pub fn fence(&mut self) {
        // A condition that never holds, but the engine does not know it.
        let (Some(block), Some(&counter)) = (self.fenced, self.counters.last()) else { return };
        let out = self.depth - block;
        self.notes.push(Note::Fence);
        self.get(counter).op(Instruction::I32Eqz).op(Instruction::BrIf(out));
    }

    fn nested(&mut self, levels: u32, body: impl FnOnce(&mut Self)) {
        self.depth += levels;
        body(self);
        self.depth -= levels;
    }
}

/// How often an iteration runs the body of a loop: all of `trips` or as often as leaves
/// none over where it is short, once where it has control flow of its own or looks at the
/// loop's counter.
fn bodies_per_iteration(trips: usize, body: &[Instruction<'_>], counter: Local) -> usize {
    let is_straight = body.iter().all(|instruction| match instruction {
        Instruction::LocalGet(local) => *local != counter.0,
        Instruction::Block(_)
        | Instruction::Loop(_)
        | Instruction::If(_)
        | Instruction::Else
        | Instruction::End
        | Instruction::Br(_)
        | Instruction::BrIf(_)
        | Instruction::BrTable(..) => false,
        _ => true,
    });
    let most = if is_straight { MOST_UNROLLED / body.len().max(1) } else { 1 };
    (1..=most.min(trips)).rev().find(|by| trips.is_multiple_of(*by)).unwrap_or(1)
}

fn at_kept(index: usize) -> MemArg {
    debug_assert!(index < KEPT_VECTORS);
    at(u64::from(KEPT_ADDRESS) + 16 * index as u64, 4)
}

/// The operand of a memory access. `align` is the exponent of the alignment hint.
pub fn at(offset: u64, align: u32) -> MemArg {
    MemArg { offset, align, memory_index: 0 }
}
