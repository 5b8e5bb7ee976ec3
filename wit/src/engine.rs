//! The engine settings that a certificate's fuel and a component's bits hold
//! for. The compiler writes them down, the runtime compares them with its own.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What must be the same for the certified fuel and the output bits to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineClaim {
    /// The release line of wasmtime, for example `48`. Its maintainers promise
    /// nothing about one unit of fuel between release lines.
    pub wasmtime: String,
    /// The digest of the operator-cost table (wasmtime's `OperatorCost`).
    pub fuel_table: Digest,
    /// Whether the engine makes NaNs canonical after every float operation.
    /// Off for the compiler's components, which do so at each cut themselves; on
    /// for those written by hand.
    pub nan_canonicalization: bool,
    /// Whether relaxed SIMD instructions may be used. Their results differ between
    /// machines, so that a component that has them is not bit-identical: see
    /// [`crate::Certificate::tolerance`]. Off, unless a model was built so.
    pub relaxed_simd: bool,
}

/// How far the results of one component with relaxed SIMD may be apart on two
/// machines, as [`crate::Tensor::difference`] measures it.
pub const RELAXED_TOLERANCE: f32 = 1e-4;

impl EngineClaim {
    /// The settings of the compiler's components, for the wasmtime whose full
    /// `version` is given (`48.0.8`) and whose default operator-cost table
    /// prints as `table` by its `Debug`.
    pub fn of_compiled(version: &str, table: &str) -> Self {
        let line = version.split('.').next().unwrap_or(version);
        Self {
            wasmtime: line.to_owned(),
            fuel_table: Digest::of(table.as_bytes()),
            nan_canonicalization: false,
            relaxed_simd: false,
        }
    }

    /// The same settings with relaxed SIMD.
    pub fn with_relaxed_simd(self) -> Self {
        Self { relaxed_simd: true, ..self }
    }

    /// The settings of components that were not emitted by the compiler. What
    /// their code does with a NaN is not known, so the engine makes each one
    /// canonical as it arises. The arguments are those of [`Self::of_compiled`].
    pub fn of_hand_written(version: &str, table: &str) -> Self {
        Self { nan_canonicalization: true, ..Self::of_compiled(version, table) }
    }
}
