//! What can be wrong with a model.

use crate::cost::CostError;

/// Why a model was not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The file could not be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not an ONNX model, or one that contradicts itself.
    #[error("{file}: not a valid ONNX model: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// What the reader found, innermost cause last.
        reason: String,
    },
    /// A size in the file, or that follows from it, beyond what is read: it may be
    /// corrupt, or made to exhaust the memory of who reads it.
    #[error("{file}: {what}: {seen}, the limit is {limit}")]
    Limit {
        /// The file.
        file: String,
        /// The node, tensor or value.
        what: String,
        /// The size.
        seen: String,
        /// The most that is read.
        limit: String,
    },
    /// An input whose shape is not known when compiling.
    #[error(
        "{file}: input {input:?} has dimension {axis} = {seen}, and only a leading batch dimension \
         is fixed (to 1) by default: give it a size with --set {seen}=SIZE"
    )]
    SymbolicDimension {
        /// The file.
        file: String,
        /// The input.
        input: String,
        /// Which of its dimensions.
        axis: usize,
        /// What the file has for it.
        seen: String,
    },
    /// A tuning names a kernel that its problem does not have.
    #[error(
        "{file}: the tuning has the kernel {kernel:?} for {problem:?}, which may have {known}: tune \
         the model again"
    )]
    Tuning {
        /// The file of the model.
        file: String,
        /// What is to be computed.
        problem: String,
        /// The kernel that is named.
        kernel: String,
        /// The kernels that there are.
        known: String,
    },
    /// An operator, or a use of one, that cannot be compiled.
    #[error("{file}: node {node:?} ({operator}): {detail}")]
    Unsupported {
        /// The file.
        file: String,
        /// The node's name.
        node: String,
        /// The operator's name.
        operator: String,
        /// What is not supported, and what is.
        detail: String,
    },
    /// A model that is read, and cannot be handed to an interpreter.
    #[error("{file}: it cannot be interpreted: {reason}")]
    Uninterpretable {
        /// The file.
        file: String,
        /// What stands against it.
        reason: String,
    },
    /// A model that does not fit the linear memory of a component.
    #[error(
        "{file}: the model needs {needed_bytes} bytes of memory, a component has at most {limit_bytes}"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// Weights, activations and inputs.
        needed_bytes: u64,
        /// The most that a 32-bit linear memory holds.
        limit_bytes: u64,
    },
    /// The emitters made code without a static cost: a defect of the compiler.
    #[error("{file}: defect in the compiler, please report it: {source}")]
    Cost {
        /// The file.
        file: String,
        /// What was emitted.
        source: CostError,
    },
    /// Something that never happens: a defect of the compiler.
    #[error("{file}: defect in the compiler, please report it: {reason}")]
    Defect {
        /// The file.
        file: String,
        /// What happened.
        reason: String,
    },
}
