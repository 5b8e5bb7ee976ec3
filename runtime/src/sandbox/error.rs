//! Why a component was not loaded, and why a run gave no outputs. Each variant
//! names what was wrong, what was seen and what was wanted.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use leeway_contract::{Digest, Fuel, SectionError, TensorError};

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The engine does not support its settings on this machine.
    #[error("the WebAssembly engine refused its settings: {0}")]
    Engine(String),
}

/// Why a component was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not those that were wanted.
    #[error("wanted the module {wanted}, seen bytes with the digest {seen}")]
    Digest {
        /// The digest asked for.
        wanted: Digest,
        /// The digest of the bytes.
        seen: Digest,
    },
    /// Not a component, or without a valid certificate.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// The certificate holds for another engine.
    #[error(
        "the certificate's claim {claim} does not hold here: certified for {seen}, this runtime has {wanted}; build the model again"
    )]
    Claim {
        /// Which claim.
        claim: &'static str,
        /// What this sandbox has.
        wanted: String,
        /// What the certificate says.
        seen: String,
    },
    /// The component wants something from the outside.
    #[error("the component imports {name:?}, which is not granted (nothing is)")]
    Import {
        /// The import's name.
        name: String,
    },
    /// The component does not export the one interface, or exports more.
    #[error("the component must export {wanted:?} and nothing else, seen {seen}")]
    Export {
        /// The interface's name.
        wanted: &'static str,
        /// What it exports.
        seen: String,
    },
    /// The interface's functions are missing or of other types.
    #[error("the function {function:?} of the exported interface: {reason}")]
    Function {
        /// The function's name.
        function: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The component's linear memories are larger than certified.
    #[error(
        "the component declares {declared_bytes} bytes of memory, {certified_bytes} are certified"
    )]
    Memory {
        /// The certificate's `memory_bytes`.
        certified_bytes: u64,
        /// The sum over the component's memories.
        declared_bytes: u64,
    },
    /// The component has another number of stages than its certificate.
    #[error("the component has {seen} stages, {certified} are certified")]
    StageCount {
        /// In the certificate.
        certified: u32,
        /// By the component's own `stage-count`.
        seen: u32,
    },
    /// The component is invalid or its code does not compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// The cache of compiled code does not take it; the log says why.
    #[error("the compiled code cannot be kept: the cache of compiled code does not take it")]
    NotKept,
    /// The component could not be instantiated or did not answer `stage-count`.
    #[error("the component does not start: {0}")]
    Start(#[source] RunError),
}

/// Why a run gave no outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Not a range of the model's stages.
    #[error("stages {first}..={last} were wanted, the model has 0..={last_stage}")]
    InvalidRange {
        /// The first stage asked for.
        first: u32,
        /// The last stage asked for.
        last: u32,
        /// The model's last stage.
        last_stage: u32,
    },
    /// Too many or too few inputs.
    #[error("stage {stage} takes {wanted} inputs, seen {seen}")]
    InputCount {
        /// The first stage of the range.
        stage: u32,
        /// By the certificate.
        wanted: usize,
        /// In the call.
        seen: usize,
    },
    /// An input that is not as the certificate says.
    #[error("input {0}")]
    Input(#[source] TensorError),
    /// The component wanted more fuel than it is certified for.
    #[error("out of fuel: the run wanted more than the certified {certified}")]
    OutOfFuel {
        /// The certificate's fuel for this range of stages.
        certified: Fuel,
    },
    /// The wall clock passed the deadline before the component was done.
    #[error("the run was interrupted at its deadline of {deadline:?}")]
    DeadlinePassed {
        /// From the start of the call.
        deadline: Duration,
    },
    /// Somebody ended it from another thread.
    #[error("the run was interrupted")]
    Interrupted,
    /// The component trapped.
    #[error("the component trapped: {message}{}", FrameList(frames))]
    Trap {
        /// The kind of trap.
        message: String,
        /// The guest's stack, innermost call first.
        frames: Vec<Frame>,
    },
    /// The component answered with an error of its own.
    #[error("the component answered {0}")]
    Guest(GuestError),
    /// The component gave more or fewer outputs than it is certified for.
    #[error("stage {stage} is certified for {wanted} outputs, the component gave {seen}")]
    OutputCount {
        /// The last stage of the range.
        stage: u32,
        /// By the certificate.
        wanted: usize,
        /// By the component.
        seen: usize,
    },
    /// An output that is not as the certificate says.
    #[error("the component's output is not as certified: {0}")]
    Output(#[source] TensorError),
    /// The engine itself failed: for example no memory for an instance, or a
    /// result that breaks the canonical ABI.
    #[error("the WebAssembly engine failed: {0}")]
    Engine(String),
}

/// The `error` variant of the WIT package, as a component returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestError {
    /// `invalid-range`.
    InvalidRange(String),
    /// `invalid-input`.
    InvalidInput(String),
    /// `failed`.
    Failed(String),
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (case, message) = match self {
            GuestError::InvalidRange(message) => ("invalid-range", message),
            GuestError::InvalidInput(message) => ("invalid-input", message),
            GuestError::Failed(message) => ("failed", message),
        };
        write!(f, "{case}: {message}")
    }
}

/// One call on the guest's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function's name, or its index where it has none.
    pub function: String,
    /// Where in the core module, in bytes.
    pub module_offset: Option<usize>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match self.module_offset {
            Some(offset) => write!(f, " at {offset:#x}"),
            None => Ok(()),
        }
    }
}

struct FrameList<'a>(&'a [Frame]);

impl fmt::Display for FrameList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, frame) in self.0.iter().enumerate() {
            write!(f, "{} {frame}", if i == 0 { " in" } else { ", called by" })?;
        }
        Ok(())
    }
}

impl RunError {
    /// Sorts what wasmtime returned from a call.
    pub(super) fn from_call(error: &wasmtime::Error, certified: Fuel) -> Self {
        if let Some(passed) = error.downcast_ref::<super::watchdog::DeadlinePassed>() {
            return RunError::DeadlinePassed { deadline: passed.deadline };
        }
        if error.is::<super::interrupt::Interrupted>() {
            return RunError::Interrupted;
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => RunError::OutOfFuel { certified },
            Some(trap) => RunError::Trap { message: trap.to_string(), frames: frames(error) },
            None => RunError::Engine(format!("{error:#}")),
        }
    }
}

fn frames(error: &wasmtime::Error) -> Vec<Frame> {
    let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return Vec::new();
    };
    let frame = |frame: &wasmtime::FrameInfo| Frame {
        function: match frame.func_name() {
            Some(name) => name.to_owned(),
            None => format!("function {}", frame.func_index()),
        },
        module_offset: frame.module_offset(),
    };
    backtrace.frames().iter().map(frame).collect()
}
