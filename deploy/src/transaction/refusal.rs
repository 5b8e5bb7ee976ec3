//! Why a version was not brought in: which step said no, what it wanted and what
//! it saw.

use std::io;

use leeway_contract::{Digest, Fuel};
use leeway_runtime::admission;
use leeway_runtime::golden::GoldenError;
use leeway_runtime::sandbox::{LoadError, RunError};
use leeway_runtime::timing::measure::MeasureError;

use super::Step;
use crate::compile::CompileError;
use crate::serving::RunFailure;
use crate::state::StateError;
use crate::store::StoreError;
use crate::trust::TrustError;

/// A version that was not brought in. What served before serves.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct Refusal {
    /// The module.
    pub digest: Digest,
    /// The step that refused it.
    pub step: Step,
    /// Why.
    #[source]
    pub cause: Box<Cause>,
}

/// Why a step refused a version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source gave no bytes.
    #[error("the module did not come: {0}")]
    Source(#[source] io::Error),
    /// It is not here, and no source was given.
    #[error("the module is not in the store, and there is no source for it")]
    NoSource,
    /// It is another model than was wanted.
    #[error("wanted the model {wanted:?}, the module's certificate names {seen:?}")]
    OtherModel {
        /// What was asked for.
        wanted: String,
        /// By the certificate.
        seen: String,
    },
    /// It is another version than was wanted.
    #[error("wanted the version {wanted:?}, the module's certificate names {seen:?}")]
    OtherVersion {
        /// What was asked for.
        wanted: String,
        /// By the certificate.
        seen: String,
    },
    /// Its bytes, certificate or code.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its instances want more memory than they may have here.
    #[error(
        "an instance wants {wanted_bytes} bytes of memory by the certificate, and may have {most_bytes} here"
    )]
    Memory {
        /// By the certificate.
        wanted_bytes: u64,
        /// What each may have.
        most_bytes: u64,
    },
    /// It was not compiled within the limits that there are here.
    #[error(transparent)]
    Compile(CompileError),
    /// Its signature.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Its golden vectors.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// It ran on an input of zeros and failed.
    #[error("on an input of zeros: {0}")]
    Run(#[source] RunError),
    /// It burns other fuel than its certificate says is exact.
    #[error("the certificate says exactly {wanted} units of fuel, the run burned {seen}")]
    Fuel {
        /// By the certificate.
        wanted: Fuel,
        /// By the run.
        seen: Fuel,
    },
    /// It could not be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The device cannot keep the deadlines with it.
    #[error("not admitted: {0}")]
    Admission(#[from] admission::Refusal),
    /// The settings that came with it are none.
    #[error("the settings are wrong: {0}")]
    Settings(String),
    /// It does not start to serve.
    #[error("it does not start: {0}")]
    Launch(#[from] RunFailure),
    /// The machine has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// What was decided could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// Something newer was asked for meanwhile.
    #[error("superseded by something newer")]
    Cancelled,
}

impl From<CompileError> for Cause {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Cancelled => Self::Cancelled,
            error => Self::Compile(error),
        }
    }
}

impl Cause {
    /// Whether a run took too long.
    pub(crate) fn is_of_time(&self) -> bool {
        let (Cause::Run(source) | Cause::Golden(GoldenError::Run { source, .. })) = self else {
            return false;
        };
        matches!(source, RunError::DeadlinePassed { .. })
    }

    /// Whether the same may work later, with nothing about the module changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Cause::Source(_)
            | Cause::NoSource
            | Cause::Cancelled
            | Cause::State(_)
            | Cause::Thread(_) => true,
            Cause::Store(error) => {
                !matches!(error, StoreError::Digest { .. } | StoreError::TooLarge { .. })
            }
            Cause::Compile(error) => error.is_transient(),
            _ => false,
        }
    }
}
