//! The canonical ABI of the WIT package, written by hand: how tensors come into
//! the linear memory, how they leave it, and which stages run.
//!
//! The host allocates what it passes with `cabi_realloc`, which here is a bump
//! allocator over an arena just large enough for one call's inputs; `run` empties
//! it before it returns. Results lie in memory from the start: a call only makes
//! the NaNs of its outputs canonical and hands out the address. Layouts follow
//! the component model's canonical ABI: a `tensor` takes 20 bytes (dimensions
//! pointer and length, type, data pointer and length), a
//! `result<list<tensor>, error>` takes 16.

use leeway_contract::{DType, TensorSpec};
use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Guard, Local, at};
use crate::emit::module::FunctionIndex;
use crate::emit::{double, half, math};
use crate::plan::Segment;

/// The size of a `tensor` record in memory.
const TENSOR_BYTES: u32 = 20;

/// The first bytes of a `result<list<tensor>, error>`.
const OK: u32 = 0;
const ERR: u32 = 1;

/// Cases of the variant `error`.
const INVALID_RANGE: u32 = 0;
const INVALID_INPUT: u32 = 1;

/// The global with the arena's first free address.
const ARENA_NEXT: u32 = 0;

/// A tensor at an end of a stage.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Its name, type and shape.
    pub spec: TensorSpec,
    /// Where it is.
    pub address: u32,
}

impl Crossing {
    fn bytes(&self) -> u32 {
        self.spec.size_bytes().expect("the plan has found room for it") as u32
    }
}

/// What crosses the ends of a stage.
#[derive(Clone, Debug)]
pub struct StageEnds {
    /// What enters it.
    pub inputs: Vec<Crossing>,
    /// What leaves it.
    pub outputs: Vec<Crossing>,
}

/// The data of the ABI in the linear memory.
#[derive(Debug)]
pub struct AbiData {
    /// Its place and bytes; how many does not depend on addresses.
    pub segment: Segment,
    /// For each stage, the result of a call that ends with it.
    results: Vec<u32>,
    /// For each stage, the result of a call with other inputs than its own.
    input_errors: Vec<u32>,
    /// The result of a call with no range of stages.
    range_error: u32,
    /// The arena's first address, the initial value of the global
    /// [`ARENA_NEXT`].
    pub arena: u32,
    /// The first address after it.
    pub arena_end: u32,
}

/// Lays the data out from `start` on, and the arena in the activations' memory or
/// after it: a call begins with nothing there to keep. `activations` is its first
/// address.
///
/// A single input may lie where it goes to, as it is copied as a whole. Of
/// several, one's place must not be where the others still are.
pub fn lay_out(stages: &[StageEnds], start: u32, activations: u32) -> AbiData {
    let mut data = Data { start, bytes: Vec::new() };
    let results = stages.iter().map(|stage| data.result(&stage.outputs)).collect();
    let input_errors = stages
        .iter()
        .enumerate()
        .map(|(at, stage)| {
            let wanted: Vec<String> = stage.inputs.iter().map(|c| c.spec.to_string()).collect();
            let message = format!("stage {at} wants {}, seen other tensors", wanted.join(", "));
            data.error(INVALID_INPUT, &message)
        })
        .collect();
    let last = stages.len() - 1;
    let message = format!("first..=last is no range of the stages 0..={last}");
    let range_error = data.error(INVALID_RANGE, &message);

    let several = stages.iter().filter(|stage| stage.inputs.len() > 1);
    let places = several.flat_map(|stage| &stage.inputs).map(|c| c.address + c.bytes());
    let arena = places.max().unwrap_or(0).max(activations).next_multiple_of(16);
    let taken = |stage: &StageEnds| {
        let list = (TENSOR_BYTES * stage.inputs.len() as u32).next_multiple_of(16);
        let tensors = stage.inputs.iter().map(|input| {
            let dimensions = 4 * input.spec.shape.len() as u32;
            dimensions.next_multiple_of(16) + input.bytes().next_multiple_of(16)
        });
        list + tensors.sum::<u32>()
    };
    let arena_end = arena + stages.iter().map(taken).max().unwrap_or(0);
    let segment = Segment { address: start, bytes: data.bytes };
    AbiData { segment, results, input_errors, range_error, arena, arena_end }
}

struct Data {
    start: u32,
    bytes: Vec<u8>,
}

impl Data {
    fn end(&self) -> u32 {
        self.start + self.bytes.len() as u32
    }

    fn push(&mut self, words: &[u32]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let address = self.end();
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        address
    }

    fn result(&mut self, tensors: &[Crossing]) -> u32 {
        let mut records = Vec::new();
        for tensor in tensors {
            let shape = &tensor.spec.shape;
            let dimensions = self.push(shape);
            let dtype = u32::from(tensor.spec.dtype as u8);
            let bytes = tensor.bytes();
            records.extend([dimensions, shape.len() as u32, dtype, tensor.address, bytes]);
        }
        let list = self.push(&records);
        self.push(&[OK, list, tensors.len() as u32, 0])
    }

    fn error(&mut self, case: u32, message: &str) -> u32 {
        let text = self.end();
        self.bytes.extend(message.as_bytes());
        self.push(&[ERR, case, text, message.len() as u32])
    }
}

/// `cabi_realloc(old, old_size, align, new_size) -> address`. Only new memory is
/// ever wanted of it, and never more than the arena has: else it traps.
pub fn realloc(data: &AbiData) -> Code {
    let mut code = Code::new(4);
    let (old_size, new_size) = (Local(1), Local(3));
    let address = code.i32_local();
    code.op(I::GlobalGet(ARENA_NEXT)).set(address);
    code.get(new_size).i32(data.arena_end).get(address).op(I::I32Sub).op(I::I32GtU);
    code.get(old_size).op(I::I32Or);
    code.guarded(Guard::Error, |code| {
        code.op(I::Unreachable);
    });
    code.get(address).get(new_size).op(I::I32Add);
    code.i32(15).op(I::I32Add).i32(!15).op(I::I32And).op(I::GlobalSet(ARENA_NEXT));
    code.get(address);
    code
}

/// `stage-count() -> u32`.
pub fn stage_count(stages: usize) -> Code {
    let mut code = Code::new(0);
    code.i32(stages as u32);
    code
}

/// `enter(list, length) -> address`: checks the inputs of a stage and copies them
/// to their places. 0, or the address of the error.
pub fn enter(stage: &StageEnds, data: &AbiData, index: usize) -> Code {
    let mut code = Code::new(2);
    let (list, length) = (Local(0), Local(1));
    let fail = |code: &mut Code| {
        code.guarded(Guard::Error, |code| {
            code.i32(data.input_errors[index]).op(I::Return);
        });
    };
    code.get(length).i32(stage.inputs.len() as u32).op(I::I32Ne);
    fail(&mut code);

    let dimensions = code.i32_local();
    let wrong = code.i32_local();
    code.assign(wrong, 0);
    let differs = |code: &mut Code, pointer: Local, offset: u32, wanted: u32| {
        code.get(wrong);
        code.get(pointer).op(I::I32Load(at(u64::from(offset), 0)));
        code.i32(wanted).op(I::I32Ne).op(I::I32Or).set(wrong);
    };
    for (i, input) in stage.inputs.iter().enumerate() {
        let record = TENSOR_BYTES * i as u32;
        differs(&mut code, list, record + 4, input.spec.shape.len() as u32);
        differs(&mut code, list, record + 16, input.bytes());
        code.get(wrong).get(list).op(I::I32Load8U(at(u64::from(record + 8), 0)));
        code.i32(u32::from(input.spec.dtype as u8)).op(I::I32Ne).op(I::I32Or).set(wrong);
    }
    code.get(wrong);
    fail(&mut code);
    for (i, input) in stage.inputs.iter().enumerate() {
        let record = u64::from(TENSOR_BYTES) * i as u64;
        code.get(list).op(I::I32Load(at(record, 0))).set(dimensions);
        for (axis, &size) in input.spec.shape.iter().enumerate() {
            differs(&mut code, dimensions, 4 * axis as u32, size);
        }
    }
    code.get(wrong);
    fail(&mut code);

    for (i, input) in stage.inputs.iter().enumerate() {
        let record = u64::from(TENSOR_BYTES) * i as u64;
        code.i32(input.address).get(list).op(I::I32Load(at(record + 12, 0)));
        code.i32(input.bytes()).op(I::MemoryCopy { src_mem: 0, dst_mem: 0 });
    }
    code.i32(0);
    code
}

/// `leave()`: makes the NaNs of a stage's outputs canonical.
pub fn leave(stage: &StageEnds) -> Code {
    let mut code = Code::new(0);
    let pointer = code.i32_local();
    for output in &stage.outputs {
        let canonical_nan = match output.spec.dtype {
            DType::F32 => math::canonical_nan,
            DType::F64 => double::canonical_nan,
            DType::F16 => half::canonical_nan,
            _ => continue,
        };
        code.assign(pointer, output.address);
        code.repeat((output.bytes() as usize).div_ceil(16), |code| {
            code.get(pointer).load(pointer, 0);
            canonical_nan(code);
            code.op(I::V128Store(at(0, 0)));
            code.advance(pointer, 16);
        });
    }
    code
}

/// The functions that `run` calls for one stage.
#[derive(Clone, Copy, Debug)]
pub struct StageFunctions {
    /// [`enter`].
    pub enter: FunctionIndex,
    /// The stage's steps.
    pub steps: FunctionIndex,
    /// [`leave`].
    pub leave: FunctionIndex,
}

/// `run(first, last, list, length) -> address` of the result.
pub fn run(stages: &[StageFunctions], data: &AbiData) -> Code {
    let mut code = Code::new(4);
    let (first, last, list, length) = (Local(0), Local(1), Local(2), Local(3));
    let result = code.i32_local();
    let empty_arena = |code: &mut Code| {
        code.i32(data.arena).op(I::GlobalSet(ARENA_NEXT));
    };

    code.get(first).get(last).op(I::I32GtU);
    code.get(last).i32(stages.len() as u32).op(I::I32GeU).op(I::I32Or);
    code.guarded(Guard::Error, |code| {
        empty_arena(code);
        code.i32(data.range_error).op(I::Return);
    });

    code.assign(result, 0);
    for (s, stage) in stages.iter().enumerate() {
        code.get(first).i32(s as u32).op(I::I32Eq);
        code.guarded(Guard::Enter(s as u32), |code| {
            code.get(list).get(length).op(I::Call(stage.enter.0)).set(result);
        });
    }
    code.get(result);
    code.guarded(Guard::Error, |code| {
        empty_arena(code);
        code.get(result).op(I::Return);
    });

    for (s, stage) in stages.iter().enumerate() {
        code.get(first).i32(s as u32).op(I::I32LeU);
        code.i32(s as u32).get(last).op(I::I32LeU).op(I::I32And);
        code.guarded(Guard::Stage(s as u32), |code| {
            code.op(I::Call(stage.steps.0));
        });
    }
    for (s, stage) in stages.iter().enumerate() {
        code.get(last).i32(s as u32).op(I::I32Eq);
        code.guarded(Guard::Leave(s as u32), |code| {
            code.op(I::Call(stage.leave.0));
            code.assign(result, data.results[s]);
        });
    }
    empty_arena(&mut code);
    code.get(result);
    code
}
