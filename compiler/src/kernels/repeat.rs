//! The `loop` kernel: a schedule that runs a constant number of times, in one function
//! whose size does not depend on that number. Between iterations states are carried,
//! and slices taken from and given to the tensors that the loop runs along.

use std::any::Any;

use super::copy::{self, Part};
use crate::emit::code::{Address, Code, Local};
use crate::plan::{self, Plan};
use crate::schedule::{Kernel, Places, Schedule, ValueId};

/// A value that an iteration leaves to the next one.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The input of the loop that it has at first.
    pub outside: usize,
    /// What the body reads.
    pub inside: ValueId,
    /// What it becomes.
    pub next: ValueId,
}

/// A slice of a tensor, another one in each iteration.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The input, or the output, of the loop.
    pub outside: usize,
    /// The slice, in the body.
    pub inside: ValueId,
    /// The slice of the first iteration in the tensor (`from`), and in the body (`to`).
    pub part: Part,
    /// From one iteration's slice to the next one's, in elements.
    pub step: i64,
}

/// A loop over a body that is not planned yet.
#[derive(Debug, Default)]
pub struct Repeat {
    trips: usize,
    /// Values of the body that are inputs of the loop, the same in each iteration.
    pub shared: Vec<(ValueId, usize)>,
    /// What is carried.
    pub states: Vec<State>,
    /// What is read along the loop.
    pub taken: Vec<Slice>,
    /// What is written along the loop.
    pub given: Vec<Slice>,
    /// Values of the last iteration that are outputs of the loop.
    pub last: Vec<(ValueId, usize)>,
}

impl Repeat {
    /// A loop that runs so often.
    pub fn new(trips: usize) -> Self {
        Self { trips, ..Self::default() }
    }

    /// The kernel; on failure, the bytes of memory that the body needs. The inputs of
    /// the body must be those that change, its outputs what is read after its steps.
    pub fn over(self, body: Schedule) -> Result<Loop, u64> {
        let plan = plan::plan(&body, 0)?;
        Ok(Loop { around: self, body, plan })
    }
}

/// A loop.
#[derive(Debug)]
pub struct Loop {
    around: Repeat,
    body: Schedule,
    /// With addresses from 0: first constants, then activations.
    plan: Plan,
}

impl Kernel for Loop {
    fn describe(&self) -> String {
        let work = self.body.steps.iter().max_by_key(|step| step.kernel.macs());
        let work = work.map_or_else(String::new, |step| step.kernel.describe());
        format!("loop of {} over {} kernels, {work}", self.around.trips, self.body.steps.len())
    }

    fn macs(&self) -> u64 {
        let body: u64 = self.body.steps.iter().map(|step| step.kernel.macs()).sum();
        self.around.trips as u64 * body
    }

    /// All constants of the body, as they lie in its plan.
    fn weights(&self) -> Vec<Vec<u8>> {
        if self.plan.segments.is_empty() {
            return Vec::new();
        }
        let mut bytes = vec![0; self.plan.activations as usize];
        for segment in &self.plan.segments {
            let at = segment.address as usize;
            bytes[at..at + segment.bytes.len()].copy_from_slice(&segment.bytes);
        }
        vec![bytes]
    }

    fn scratch_bytes(&self) -> usize {
        (self.plan.end - self.plan.activations) as usize
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let Repeat { trips, states, taken, given, last, .. } = &self.around;
        for state in states {
            let bytes = self.body.value(state.inside).size_bytes();
            let to = self.value(state.inside, places);
            copy_whole(code, places.inputs[state.outside], to, bytes);
        }
        let walk = |code: &mut Code, slice: &Slice, tensor: Address| {
            let pointer = code.i32_local();
            let first = slice.part.from * self.element_bytes(slice);
            code.point(pointer, tensor.plus(first as u32));
            pointer
        };
        let sources: Vec<Local> =
            taken.iter().map(|s| walk(code, s, places.inputs[s.outside])).collect();
        let targets: Vec<Local> =
            given.iter().map(|s| walk(code, s, places.outputs[s.outside])).collect();
        code.repeat(*trips, |code| {
            for (slice, &source) in taken.iter().zip(&sources) {
                let inside = code.i32_local();
                code.point(inside, self.value(slice.inside, places));
                let size = self.element_bytes(slice);
                let [moved, _] = copy::emit_part(code, size, &slice.part, source, inside);
                code.release([inside]);
                code.advance(source, slice.step * size as i64 - moved);
            }
            self.emit_body(code, places);
            for (slice, &target) in given.iter().zip(&targets) {
                let inside = code.i32_local();
                code.point(inside, self.value(slice.inside, places));
                let out = turned(&slice.part);
                let size = self.element_bytes(slice);
                let [_, moved] = copy::emit_part(code, size, &out, inside, target);
                code.release([inside]);
                code.advance(target, slice.step * size as i64 - moved);
            }
            for state in states {
                let bytes = self.body.value(state.inside).size_bytes();
                let [from, to] = [state.next, state.inside].map(|id| self.value(id, places));
                copy_whole(code, from, to, bytes);
            }
        });
        code.release(sources.into_iter().chain(targets));
        for &(inside, output) in last {
            let bytes = self.body.value(inside).size_bytes();
            copy_whole(code, self.value(inside, places), places.outputs[output], bytes);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Loop {
    /// Emits one iteration's work.
    fn emit_body(&self, code: &mut Code, places: &Places) {
        for (step, planned) in self.body.steps.iter().zip(&self.plan.places) {
            let address = |&address: &u32| self.address(address, places);
            let input = |(number, &id): (usize, &ValueId)| {
                self.value(id, places).plus(step.kernel.skipped_bytes(number) as u32)
            };
            let inner = Places {
                inputs: step.inputs.iter().enumerate().map(input).collect(),
                outputs: planned.outputs.iter().map(address).collect(),
                weights: planned.weights.iter().map(address).collect(),
                scratch: address(&planned.scratch),
            };
            step.kernel.emit(code, &inner);
        }
    }

    /// Where an address of the body's plan is.
    fn address(&self, address: u32, places: &Places) -> Address {
        match (u64::from(address).checked_sub(self.plan.activations), places.weights.first()) {
            (Some(activation), _) => places.scratch.plus(activation as u32),
            (None, Some(weights)) => weights.plus(address),
            // Of a value that has no bytes, or scratch space that is not wanted.
            (None, None) => places.scratch,
        }
    }

    fn value(&self, id: ValueId, places: &Places) -> Address {
        let root = self.body.root(id);
        match self.around.shared.iter().find(|(inside, _)| *inside == root) {
            Some(&(_, input)) => places.inputs[input],
            None => self.address(self.plan.values[root.0], places),
        }
    }

    fn element_bytes(&self, slice: &Slice) -> usize {
        self.body.value(slice.inside).dtype.size_bytes()
    }
}

/// The part the other way round.
fn turned(part: &Part) -> Part {
    let (from_strides, to_strides) = (part.to_strides.clone(), part.from_strides.clone());
    Part { from_strides, to_strides, ..part.clone() }
}

fn copy_whole(code: &mut Code, from: Address, to: Address, bytes: usize) {
    let [source, target] = [from, to].map(|address| {
        let pointer = code.i32_local();
        code.point(pointer, address);
        pointer
    });
    copy::copy_bytes(code, source, target, bytes);
    code.release([source, target]);
}
