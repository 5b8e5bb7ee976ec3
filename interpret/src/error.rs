//! Why a model cannot be interpreted.

use leeway_compiler::CompileError;
use leeway_contract::Fuel;
use leeway_runtime::sandbox::{LoadError, RunError};

/// Why there is no component with an interpreter in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpretError {
    /// The model is not read, or has no form in which a guest could read it.
    #[error(transparent)]
    Model(#[from] CompileError),
    /// The model is larger than a guest's memory.
    #[error("the model takes {bytes} bytes, a component's memory has at most 4 GiB")]
    TooLarge {
        /// The model's.
        bytes: usize,
    },
    /// The guest's tract does not take the model.
    #[error("the interpreter refuses the model: {0}")]
    Refused(String),
    /// The guest ended while it read the model.
    #[error(
        "the interpreter gave up on the model ({0}): its memory of 4 GiB is too small for it, or \
         tract panics on it"
    )]
    Trapped(String),
    /// The guest is not one: a defect of this program.
    #[error("the prebuilt guest is damaged, please report it: {0}")]
    Guest(String),
    /// The module is not one that exports the world's functions and nothing else.
    #[error("the module makes no component of the world leeway:model: {0}")]
    NoComponent(String),
    /// The component is refused by the sandbox.
    #[error("the component is not accepted: {0}")]
    Load(#[from] LoadError),
    /// An input that was given cannot be run.
    #[error("input {input} cannot be run: {source}")]
    Run {
        /// Which of those given, from 0.
        input: usize,
        /// Why.
        source: RunError,
    },
    /// No random input runs, and none was given.
    #[error(
        "none of the random inputs runs (the last: {0}): give some that the model takes, with \
         --golden"
    )]
    NothingRuns(RunError),
    /// The same input burned other fuel or gave other bits: a defect.
    #[error(
        "input {input} gave another answer when it was run again ({first} units of fuel, then \
         {again}), please report it with the model"
    )]
    Unrepeatable {
        /// Which of those given, from 0.
        input: usize,
        /// The fuel of the first run.
        first: Fuel,
        /// And of the second.
        again: Fuel,
    },
}
