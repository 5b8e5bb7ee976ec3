//! The transaction that brings a version in: step after step off the way of
//! answers, each of which may refuse it while the version before goes on serving.
//!
//! - [`source`]: where the bytes come from.
//! - [`examine`]: what each step asks of a module that is the same everywhere.
//! - [`refusal`]: which step said no, and why.
//! - [`trial`]: the candidate runs for the first time: golden vectors, exact fuel,
//!   calibration.
//! - `quiet`: its work gives way to inferences.
//! - [`admit`]: the whole set of streams with the candidate in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leeway_contract::Digest;
pub use leeway_control::{Progress, Step};

use crate::state::Settings;

pub(crate) mod admit;
pub mod examine;
pub(crate) mod quiet;
pub mod refusal;
pub mod source;
pub(crate) mod trial;

pub use refusal::{Cause, Refusal};
pub use source::{BytesSource, FileSource, Opened, Source};
pub use trial::{Metering, TrialOptions};

/// Asks a transaction to stop. A clone asks the same one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether this is a clone of another one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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
    /// The version that its certificate must name, where that is known.
    pub version: Option<String>,
    /// The generation of the desired state since which it is wanted so, where it is:
    /// where that does not hold any more, nothing is changed.
    pub goal: Option<u64>,
    /// The envelope with its signatures.
    pub envelope: Option<Vec<u8>>,
    /// More envelopes, where whoever likes can put one beside the module: one of all has
    /// to be believed.
    pub other_envelopes: Vec<Vec<u8>>,
    /// Whether an operator allows a release that is older than one that was active.
    pub allow_older: bool,
    /// Whether it is measured anew, where it was calibrated on this device before.
    pub recalibrate: bool,
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
            version: None,
            goal: None,
            envelope: None,
            other_envelopes: Vec::new(),
            allow_older: false,
            recalibrate: false,
            settings: None,
            reason: "asked for".into(),
        }
    }
}
