//! The static memory plan: an address for every value, blob of weights and
//! scratch space. Activations share memory where their lives do not meet (see
//! [`pack`]), and a step writes its output over an input that nothing reads after
//! it, where its kernel can.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::schedule::{Origin, Places, Schedule, Step, ValueId};

pub mod pack;

use pack::{Buffer, Piece};

/// Kernels may read this many bytes past the end of their inputs.
pub const READ_SLACK: u32 = 64;

/// The size of a page of linear memory.
pub const PAGE: u64 = 65536;

/// The most that a linear memory may have: 32-bit addresses, of which the kernels
/// step a little past the end.
pub const LIMIT_BYTES: u64 = (1 << 32) - (1 << 20);

/// Every buffer's address is a multiple of this.
const ALIGN: u64 = 16;

/// Data that is in memory from the start.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where.
    pub address: u32,
    /// What.
    pub bytes: Vec<u8>,
}

/// Where everything is.
#[derive(Debug)]
pub struct Plan {
    /// For each value: its address.
    pub values: Vec<u32>,
    /// For each step: what it works on.
    pub places: Vec<Places<u32>>,
    /// The weights and constants.
    pub segments: Vec<Segment>,
    /// The first address of the activations.
    pub activations: u64,
    /// The first address after them.
    pub end: u64,
    /// Bytes for activations and scratch space.
    pub activation_bytes: u64,
    /// For each step: bytes of weights and constants that it reads.
    pub weight_bytes: Vec<u64>,
    /// For each step: bytes of its inputs and outputs, and of what later steps read.
    pub live_bytes: Vec<u64>,
    /// For each step: the most bytes that are in use at one moment of it, scratch
    /// space among them.
    pub step_bytes: Vec<u64>,
}

/// Plans a schedule whose memory before `start` is taken. On failure, the bytes
/// that it needs.
pub fn plan(schedule: &Schedule, start: u32) -> Result<Plan, u64> {
    let mut next = u64::from(start).next_multiple_of(64);
    // The same bytes, as the weights of a loop's iterations are, lie there once.
    let mut segments: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
    let hashes = RandomState::new();
    let mut constant = |bytes: Vec<u8>| {
        let same = known.entry(hashes.hash_one(&bytes)).or_default();
        if let Some(&at) = same.iter().find(|&&at| segments[at].1 == bytes) {
            return segments[at].0;
        }
        same.push(segments.len());
        let address = next;
        next += (bytes.len() as u64).next_multiple_of(ALIGN);
        segments.push((address, bytes));
        address
    };

    let mut addresses = vec![0u64; schedule.values.len()];
    let last_reads = schedule.last_reads();
    for (id, value) in schedule.values.iter().enumerate() {
        if let Origin::Constant(bytes) = &value.origin
            && last_reads[id].is_some()
        {
            addresses[id] = constant(bytes.clone());
        }
    }
    let mut weights: Vec<Vec<u64>> = Vec::new();
    let mut weight_bytes = Vec::new();
    for step in &schedule.steps {
        let blobs = step.kernel.weights();
        let constants = step.inputs.iter().filter(|&&id| schedule.is_constant(id));
        let in_constants: usize = constants.map(|&id| schedule.value(id).size_bytes()).sum();
        weight_bytes.push((blobs.iter().map(Vec::len).sum::<usize>() + in_constants) as u64);
        weights.push(blobs.into_iter().map(&mut constant).collect());
    }
    let activations = (next + u64::from(READ_SLACK)).next_multiple_of(64);

    let Memory { lives, buffers, scratch_of, packing } = Memory::of(schedule);
    let live_bytes = pack::alive(&lives.by_step, schedule.steps.len());
    let by_moment = pack::alive(&buffers, 2 * schedule.steps.len());
    let step_bytes = by_moment.chunks(2).map(|pair| pair[0].max(pair[1])).collect();
    let pack::Packing { offsets, size: activation_bytes } = packing;
    let end = activations + activation_bytes + u64::from(READ_SLACK);
    if end > LIMIT_BYTES {
        return Err(end);
    }

    let offset_of = |at: usize| activations + offsets[at];
    for (id, buffer) in lives.buffer_of.iter().enumerate() {
        if let Some(buffer) = *buffer {
            let (_, within_bytes) = schedule.outermost(ValueId(id));
            addresses[id] = offset_of(buffer) + within_bytes as u64;
        }
    }
    let mut scratch = vec![0u32; schedule.steps.len()];
    for (buffer, &step) in (lives.buffers.len()..).zip(&scratch_of) {
        scratch[step] = offset_of(buffer) as u32;
    }
    for id in 0..schedule.values.len() {
        addresses[id] = addresses[schedule.root(ValueId(id)).0];
    }
    let values: Vec<u32> = addresses.iter().map(|&a| a as u32).collect();
    let places = schedule.steps.iter().enumerate().map(|(at, step)| Places {
        inputs: (0..).zip(&step.inputs).map(|(i, id)| begins(step, i, values[id.0])).collect(),
        outputs: step.outputs.iter().map(|id| values[id.0]).collect(),
        weights: weights[at].iter().map(|&a| a as u32).collect(),
        scratch: scratch[at],
    });
    Ok(Plan {
        places: places.collect(),
        values,
        segments: segments
            .into_iter()
            .map(|(address, bytes)| Segment { address: address as u32, bytes })
            .collect(),
        activations,
        end,
        activation_bytes,
        weight_bytes,
        live_bytes,
        step_bytes,
    })
}

/// The bytes for activations and scratch space.
pub fn activation_bytes(schedule: &Schedule) -> u64 {
    Memory::of(schedule).packing.size
}

/// The memory that a schedule needs beside its constants.
struct Memory {
    lives: Lives,
    /// Those of the values, and then scratch space.
    buffers: Vec<Buffer>,
    /// The steps that have scratch space.
    scratch_of: Vec<usize>,
    packing: pack::Packing,
}

impl Memory {
    fn of(schedule: &Schedule) -> Self {
        let lives = Lives::of(schedule, &schedule.last_reads());
        let mut buffers = lives.buffers.clone();
        let mut scratch_of = Vec::new();
        for (at, step) in schedule.steps.iter().enumerate() {
            let size = (step.kernel.scratch_bytes() as u64).next_multiple_of(ALIGN);
            if size > 0 {
                buffers.push(Buffer::new(size, reading(at), writing(at)));
                scratch_of.push(at);
            }
        }
        let packing = pack::pack(&buffers);
        Self { lives, buffers, scratch_of, packing }
    }
}

/// The moment of a step when it reads: before it writes, for a kernel that reads
/// all first; else it does both all the time.
fn reading(step: usize) -> usize {
    2 * step
}

/// The moment of a step when it writes.
fn writing(step: usize) -> usize {
    2 * step + 1
}

/// The buffers of the computed values, of which one may hold several after each
/// other.
struct Lives {
    /// In moments.
    buffers: Vec<Buffer>,
    /// In steps, as if every step needed its inputs and outputs at once, and what lies
    /// in another value were apart from it.
    by_step: Vec<Buffer>,
    /// For each value, its buffer, or that of what it lies in; none for constants and
    /// views.
    buffer_of: Vec<Option<usize>>,
}

impl Lives {
    /// `last_reads` is [`Schedule::last_reads`].
    fn of(schedule: &Schedule, last_reads: &[Option<usize>]) -> Self {
        let mut lives = Self {
            buffers: Vec::new(),
            by_step: Vec::new(),
            buffer_of: vec![None; schedule.values.len()],
        };
        for &input in &schedule.inputs {
            // One that nothing reads is received all the same.
            lives.add(schedule, input, None, last_reads[input.0].unwrap_or(0));
        }
        for (at, step) in schedule.steps.iter().enumerate() {
            for &output in &step.outputs {
                // One that nothing reads is written all the same; what lies in another
                // value is read with it.
                let (whole, _) = schedule.outermost(output);
                let last = last_reads[whole.0].unwrap_or(at);
                match lives.overwritten(schedule, last_reads, at, step, output) {
                    Some(buffer) if whole == output => {
                        lives.buffer_of[output.0] = Some(buffer);
                        for piece in &mut lives.buffers[buffer].pieces {
                            piece.last = last_moment(schedule, last);
                        }
                        lives.by_step[buffer].pieces.iter_mut().for_each(|it| it.last = last);
                    }
                    _ => lives.add(schedule, output, Some(at), last),
                }
            }
        }
        lives
    }

    /// Adds a buffer for a value that the step `writer`, or the caller, writes; where it
    /// lies in another one, or others in it, only the pieces that are its own.
    fn add(&mut self, schedule: &Schedule, value: ValueId, writer: Option<usize>, last: usize) {
        let (whole, offset) = schedule.outermost(value);
        let buffer = self.buffer_of[whole.0].unwrap_or_else(|| {
            let none = Buffer { pieces: Vec::new() };
            self.buffers.push(none.clone());
            self.by_step.push(none);
            self.buffers.len() - 1
        });
        self.buffer_of[whole.0] = Some(buffer);
        self.buffer_of[value.0] = Some(buffer);
        let first = writer.map_or(0, |writer| first_moment(schedule, writer));
        for (own, size) in own_pieces(schedule, value) {
            let offset = offset as u64 + own;
            let last_moment = last_moment(schedule, last);
            self.buffers[buffer].pieces.push(Piece { offset, size, first, last: last_moment });
            let first = writer.unwrap_or(0);
            self.by_step[buffer].pieces.push(Piece { offset, size, first, last });
        }
    }

    /// The input in whose place the output of the step `at` may lie.
    fn overwritten(
        &self,
        schedule: &Schedule,
        last_reads: &[Option<usize>],
        at: usize,
        step: &Step,
        output: ValueId,
    ) -> Option<usize> {
        let size = schedule.value(output).size_bytes();
        let roots: Vec<ValueId> = step.inputs.iter().map(|&input| schedule.root(input)).collect();
        let allows = |root: ValueId| {
            let mut reads = (0..roots.len()).filter(|&i| roots[i] == root);
            reads.all(|i| step.kernel.overwrites(i))
        };
        roots
            .iter()
            .filter(|root| last_reads[root.0] == Some(at))
            .filter(|root| schedule.value(**root).size_bytes() == size && step.outputs.len() == 1)
            .find(|&&root| allows(root))
            .and_then(|root| self.buffer_of[root.0])
    }
}

/// The offsets and sizes of what is in a value and in none that lies in it.
fn own_pieces(schedule: &Schedule, value: ValueId) -> Vec<(u64, u64)> {
    let bytes =
        |value: ValueId| (schedule.value(value).size_bytes() as u64).next_multiple_of(ALIGN);
    let inner = schedule.within.iter().filter(|(_, within)| within.whole == value);
    let mut inner: Vec<(u64, u64)> =
        inner.map(|(&part, within)| (within.offset_bytes as u64, bytes(part))).collect();
    inner.sort_unstable();
    let mut pieces = Vec::new();
    let mut end = 0;
    for (offset, size) in inner.into_iter().chain([(bytes(value), 0)]) {
        if offset > end {
            pieces.push((end, offset - end));
        }
        end = offset + size;
    }
    pieces
}

/// Where what a step reads of an input begins.
fn begins(step: &Step, input: usize, address: u32) -> u32 {
    address + step.kernel.skipped_bytes(input) as u32
}

/// The first moment of a value that the step `writer` writes.
fn first_moment(schedule: &Schedule, writer: usize) -> usize {
    match schedule.steps[writer].kernel.reads_first() {
        true => writing(writer),
        false => reading(writer),
    }
}

/// The last moment of a value that the step `last` is the last to read, or, after
/// all steps, the caller.
fn last_moment(schedule: &Schedule, last: usize) -> usize {
    match schedule.steps.get(last) {
        Some(step) if step.kernel.reads_first() => reading(last),
        _ => writing(last),
    }
}
