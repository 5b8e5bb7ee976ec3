//! The compiler's own intermediate representation: a list of steps in execution
//! order over dense row-major tensors, each step one kernel.
//!
//! A [`Schedule`] is what remains of a graph when everything but work and data
//! is gone. Views (reshapes) are values, not steps. Where a value lies in memory
//! is not decided here but in [`crate::plan`].

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;

use leeway_contract::DType;

use crate::emit::code::{Address, Code, Local};

/// The index of a value in its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The input of the model with this index.
    Input(usize),
    /// Known when compiling: little-endian bytes.
    Constant(Vec<u8>),
    /// The output of a step.
    Step,
    /// The same bytes as another value, with another shape.
    View(ValueId),
}

/// A tensor: dense, row-major.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its name in the source model.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// The size of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Value {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The size of its data in bytes.
    pub fn size_bytes(&self) -> usize {
        self.elements() * self.dtype.size_bytes()
    }
}

/// The addresses that a kernel works on, in the linear memory: what the emitted
/// function is told of them, or the addresses themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places<A = Address> {
    /// Of its inputs, past what it skips of them. Up to [`crate::plan::READ_SLACK`] bytes past each may be
    /// read; what is there is arbitrary.
    pub inputs: Vec<A>,
    /// Of its outputs. Up to the next multiple of 16 bytes may be written.
    pub outputs: Vec<A>,
    /// Of the blobs that [`Kernel::weights`] returned.
    pub weights: Vec<A>,
    /// Of [`Kernel::scratch_bytes`] bytes, with arbitrary contents.
    pub scratch: A,
}

/// The most places that a function takes as parameters. WebAssembly allows 1000.
const MOST_PARAMETERS: usize = 100;

impl Places<u32> {
    /// What a function is called with to work here: of a kernel with very many
    /// places, nothing.
    pub fn arguments(&self) -> Vec<u32> {
        let Self { inputs, outputs, weights, scratch } = self;
        let all = [inputs, outputs, weights].into_iter().flatten().chain([scratch]);
        let arguments: Vec<u32> = all.copied().collect();
        if arguments.len() <= MOST_PARAMETERS { arguments } else { Vec::new() }
    }

    /// The places as that function knows them.
    pub fn parameters(&self) -> Places {
        let are_parameters = !self.arguments().is_empty();
        let mut next = 0..;
        let mut address = |&address: &u32| match next.next() {
            Some(parameter) if are_parameters => Address::parameter(Local(parameter)),
            _ => Address::fixed(address),
        };
        Places {
            inputs: self.inputs.iter().map(&mut address).collect(),
            outputs: self.outputs.iter().map(&mut address).collect(),
            weights: self.weights.iter().map(&mut address).collect(),
            scratch: address(&self.scratch),
        }
    }
}

/// Work on tensors: what a step does, and how it is emitted.
///
/// The emitted code must run the same operators for every input, must not rely
/// on what its outputs or scratch held before, and must not branch on, or pass
/// on but as a NaN, the payload of a NaN.
pub trait Kernel: Any + Debug {
    /// The kernel chosen, for people: `conv 3x16 direct`.
    fn describe(&self) -> String;

    /// Multiply-accumulate operations.
    fn macs(&self) -> u64 {
        0
    }

    /// Constant data in the order in which the emitted code reads it. Each blob
    /// is placed at a multiple of 16 bytes.
    fn weights(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Bytes of memory that it needs while it runs.
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Whether its output may lie where this input does, which is as large: what
    /// was there is read before it is overwritten, and not again.
    fn overwrites(&self, input: usize) -> bool {
        let _ = input;
        false
    }

    /// The bytes of this input before the first that it reads: its place is there, so
    /// that kernels that differ in nothing else share their code.
    fn skipped_bytes(&self, input: usize) -> usize {
        let _ = input;
        0
    }

    /// Whether it has read all its inputs, into its scratch space, before it writes
    /// anything to an output: inputs and outputs may then lie in the same place.
    fn reads_first(&self) -> bool {
        false
    }

    /// Emits the work into the body of a function.
    fn emit(&self, code: &mut Code, places: &Places);

    /// Takes over the element-wise work `then` on its output, if it can. What it
    /// may refuse, a step of its own does.
    fn fuse(&mut self, then: &crate::expr::Fusion) -> bool {
        let _ = then;
        false
    }

    /// What it computes, if other kernels can as well: the same for steps that differ in
    /// their numbers only.
    fn problem(&self) -> Option<String> {
        None
    }

    /// The kernels that may be the fastest for its problem, as [`Kernel::describe`]
    /// says it; first the one that the estimate prefers.
    fn candidates(&self) -> Vec<String> {
        vec![self.describe()]
    }

    /// Becomes the kernel that is described so; whether it can.
    fn choose(&mut self, kernel: &str) -> bool {
        kernel == self.describe()
    }

    /// For passes that look for a certain kernel.
    fn as_any(&self) -> &dyn Any;
}

/// One kernel and what it works on.
#[derive(Debug)]
pub struct Step {
    /// The name of the node in the source model.
    pub name: String,
    /// The operator, by its name in the source model.
    pub operator: String,
    /// The work.
    pub kernel: Box<dyn Kernel>,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it writes.
    pub outputs: Vec<ValueId>,
}

/// Where a value lies that is a part of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The other one, which a step makes as well.
    pub whole: ValueId,
    /// The bytes of it before this one.
    pub offset_bytes: usize,
}

/// A model as a list of steps.
#[derive(Debug, Default)]
pub struct Schedule {
    /// All values, by [`ValueId`].
    pub values: Vec<Value>,
    /// The steps in execution order.
    pub steps: Vec<Step>,
    /// The model's inputs.
    pub inputs: Vec<ValueId>,
    /// The model's outputs.
    pub outputs: Vec<ValueId>,
    /// The values that are computed where they lie in others (see [`crate::joined`]).
    pub within: HashMap<ValueId, Within>,
}

impl Schedule {
    /// Adds a value.
    pub fn add(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId(self.values.len() - 1)
    }

    /// The value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The value whose bytes these are: itself, or what it is a view of.
    pub fn root(&self, mut id: ValueId) -> ValueId {
        while let Origin::View(of) = self.values[id.0].origin {
            id = of;
        }
        id
    }

    /// The value that a computed one lies in, or itself, and the bytes of it before that.
    pub fn outermost(&self, id: ValueId) -> (ValueId, usize) {
        let (mut id, mut offset_bytes) = (id, 0);
        while let Some(within) = self.within.get(&id) {
            id = within.whole;
            offset_bytes += within.offset_bytes;
        }
        (id, offset_bytes)
    }

    /// Whether the value is known when compiling.
    pub fn is_constant(&self, id: ValueId) -> bool {
        matches!(self.value(self.root(id)).origin, Origin::Constant(_))
    }

    /// For each value, by index, the last step that reads it or a view of it.
    /// The model's outputs are read after the last step.
    pub fn last_reads(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.values.len()];
        for (at, step) in self.steps.iter().enumerate() {
            for &input in &step.inputs {
                last[self.root(input).0] = Some(at);
            }
        }
        for &output in &self.outputs {
            last[self.root(output).0] = Some(self.steps.len());
        }
        last
    }
}
