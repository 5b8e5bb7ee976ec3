//! The transaction that brings a version in: step after step off the way of
//! answers, each of which may refuse it while the version before goes on serving.
//!
//! - [`source`]: where the bytes come from.
//! - [`refusal`]: which step said no, and why.
//! - [`trial`]: the candidate runs for the first time: golden vectors, exact fuel,
//!   calibration.
//! - [`admit`]: the whole set of streams with the candidate in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leeway_contract::Digest;
pub use leeway_control::{Progress, Step};

use crate::state::Settings;

pub(crate) mod admit;
pub mod refusal;
pub mod source;
pub(crate) mod trial;

pub use refusal::{Cause, Refusal};
pub use source::{BytesSource, FileSource, Opened, Source};
pub use trial::TrialOptions;

/// Asks a transaction to stop. A clone asks the same one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What shall be deployed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The module.
    pub digest: Digest,
    /// The model that it must be, where that is known.
    pub model: Option<String>,
    /// The envelope with its signatures.
    pub envelope: Option<Vec<u8>>,
    /// Whether an operator allows a release that is older than one that was active.
    pub allow_older: bool,
    /// What is asked of the model from then on; what was asked before where it is
    /// not given.
    pub settings: Option<Settings>,
    /// Why, for the history.
    pub reason: String,
}

impl Request {
    /// A request for a module, with nothing else said.
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            model: None,
            envelope: None,
            allow_older: false,
            settings: None,
            reason: "asked for".into(),
        }
    }
}
