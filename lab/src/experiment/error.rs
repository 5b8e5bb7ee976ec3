//! Why there is no study.

use std::io;

use leeway_fog_host::BindError;
use leeway_runtime::offload::InferError;
use leeway_runtime::offload::fog::{FogError, HttpFogError};
use leeway_runtime::sandbox::{LoadError, RunError, SandboxError};
use leeway_runtime::timing::measure::MeasureError;

/// A component that a sandbox refuses.
#[derive(Debug, thiserror::Error)]
#[error("model {model:?}: {source}")]
pub struct Refused {
    /// The model.
    pub model: String,
    /// Why.
    pub source: LoadError,
}

/// Why an experiment gave no study.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// No models, no links or no inputs.
    #[error("an experiment needs at least one model, one link and one input")]
    NothingToDo,
    /// A model without data.
    #[error("model {model:?} has no {what} samples")]
    NoSamples {
        /// The model.
        model: String,
        /// `validation` or `test`.
        what: &'static str,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The device's thread panicked; what it said is on standard error.
    #[error("the device's thread panicked")]
    DevicePanicked,
    /// The fog host did not start.
    #[error("the fog host does not start: {0}")]
    Fog(#[from] BindError),
    /// The fog host did not end as it should.
    #[error("the fog host ended with an error: {0}")]
    FogEnded(io::Error),
    /// The link emulator did not start.
    #[error("the link {link:?} does not start: {source}")]
    Link {
        /// The profile.
        link: String,
        /// Why.
        source: io::Error,
    },
    /// The link's address is no URL.
    #[error(transparent)]
    Url(#[from] HttpFogError),
    /// The device's engine.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A component was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A component could not be instantiated.
    #[error("model {model:?}: {source}")]
    Instantiate {
        /// The model.
        model: String,
        /// Why.
        source: RunError,
    },
    /// A model could not be calibrated.
    #[error("model {model:?}: {source}")]
    Calibrate {
        /// The model.
        model: String,
        /// Why.
        source: MeasureError,
    },
    /// A component could not be pushed to the fog host.
    #[error("model {model:?} over the link {link:?}: {source}")]
    Push {
        /// The model.
        model: String,
        /// The link.
        link: String,
        /// Why.
        source: FogError,
    },
    /// An input has no answer.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// An answer that names no class.
    #[error("model {model:?}: its first output has no largest element")]
    NoClass {
        /// The model.
        model: String,
    },
}
