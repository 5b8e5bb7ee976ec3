//! The fog host as the device sees it: something that infers by digest, can be
//! probed and can be given a module. Nothing here knows by which protocol;
//! [`HttpFog`] speaks the Open Inference Protocol v2.

mod abort;
mod http;
mod none;
mod push;
mod traced;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::{Bound, Certificate, Digest, Tensor};
use serde::{Deserialize, Serialize};

pub use abort::Abort;
pub use http::{HttpFog, HttpFogError};
pub use leeway_tls::client::{Access as FogAccess, AccessError as FogAccessError};
pub use none::NoFog;

use super::estimate::FogTime;

/// The bytes of one exchange, with headers, as the application writes and reads
/// them: what the link layers add is a constant factor of the throughput.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Device to fog.
    pub up_bytes: u64,
    /// Fog to device.
    pub down_bytes: u64,
}

/// What the fog host is asked to run.
#[derive(Clone, Debug)]
pub struct InferRequest<'a> {
    /// Names the request among all of this device's; the answer repeats it.
    pub id: u64,
    /// The module.
    pub digest: Digest,
    /// Its certificate, which the answer is checked against.
    pub certificate: &'a Certificate,
    /// The stages to run.
    pub stages: RangeInclusive<u32>,
    /// The inputs of the first of them.
    pub inputs: &'a [Tensor],
}

/// The fog host's answer, checked against the request's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FogAnswer {
    /// The outputs of the last stage.
    pub outputs: Vec<Tensor>,
    /// What it took on the fog host, by its own report.
    pub time: FogTime,
    /// What crossed the link.
    pub traffic: Traffic,
}

/// Whether a module had to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The fog host had it.
    AlreadyThere,
    /// It was sent.
    Sent,
}

/// Why the fog host gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FogError {
    /// No connection, or it broke.
    #[error("the fog host is unreachable: {0}")]
    Unreachable(String),
    /// No complete answer within the time limit.
    #[error("the fog host did not answer within {limit:?}")]
    TimedOut {
        /// The limit of this call.
        limit: Duration,
    },
    /// The exchange was ended, as its answer was of no use any more.
    #[error("the exchange was ended before the fog host answered")]
    Aborted,
    /// The fog host answered that it will not.
    #[error("the fog host refused with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In its own words.
        message: String,
    },
    /// An answer that is none.
    #[error("the fog host's answer cannot be used: {0}")]
    Malformed(String),
    /// An answer that is none to this request.
    #[error("the fog host's answer cannot be used: {message}")]
    Mismatched {
        /// What differs.
        what: Mismatch,
        /// What was seen and what was wanted.
        message: String,
    },
}

/// What of an answer is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mismatch {
    /// It is by another module.
    Module,
    /// It is to another request.
    Request,
    /// Its tensors are not the module's outputs.
    Outputs,
    /// It burned another fuel than is certified.
    Fuel,
}

impl FogError {
    /// Whether the fault is the link's, rather than the fog host's or the
    /// module's.
    pub fn is_of_link(&self) -> bool {
        matches!(self, FogError::Unreachable(_) | FogError::TimedOut { .. } | FogError::Aborted)
    }
}

/// A fog host. Every call returns within its `limit`, give or take scheduling.
pub trait Fog: Send + Sync + fmt::Debug {
    /// Runs stages of a module. The answer is checked: it is by the module that
    /// was asked, its outputs are those of its certificate, and where the fuel
    /// is certified exactly, so is its fuel.
    fn infer(&self, request: &InferRequest<'_>, limit: Duration) -> Result<FogAnswer, FogError>;

    /// The same, and `abort` ends it early, where the link can do that.
    fn infer_or_abort(
        &self,
        request: &InferRequest<'_>,
        limit: Duration,
        _abort: &Arc<Abort>,
    ) -> Result<FogAnswer, FogError> {
        self.infer(request, limit)
    }

    /// The smallest possible exchange.
    fn probe(&self, limit: Duration) -> Result<Traffic, FogError>;

    /// An exchange with a body of `body_bytes`, at least one way.
    fn probe_throughput(&self, body_bytes: usize, limit: Duration) -> Result<Traffic, FogError>;

    /// Makes sure that the fog host has the module with these bytes.
    fn push(&self, digest: Digest, component: &[u8], limit: Duration) -> Result<Pushed, FogError>;
}

impl InferRequest<'_> {
    /// Checks an answer by the module `by`, to the request `to`, that is to be one to
    /// this request.
    pub fn check(&self, by: Digest, to: Option<u64>, answer: &FogAnswer) -> Result<(), FogError> {
        let mismatched = |what, message: String| Err(FogError::Mismatched { what, message });
        if by != self.digest {
            let message = format!("it is by {by}, asked was {}", self.digest);
            return mismatched(Mismatch::Module, message);
        }
        if to != Some(self.id) {
            let message = match to {
                Some(to) => format!("it is to request {to}, asked was {}", self.id),
                None => format!("it does not say that it is to request {}", self.id),
            };
            return mismatched(Mismatch::Request, message);
        }
        let last = *self.stages.end() as usize;
        let (Some(stage), Some(fuel)) =
            (self.certificate.stages.get(last), self.certificate.fuel(self.stages.clone()))
        else {
            let last_stage = self.certificate.last_stage();
            let message = format!("stages {:?} of 0..={last_stage} were asked", self.stages);
            return mismatched(Mismatch::Outputs, message);
        };
        if answer.outputs.len() != stage.outputs.len() {
            let (seen, wanted) = (answer.outputs.len(), stage.outputs.len());
            let message = format!("it has {seen} outputs, wanted {wanted}");
            return mismatched(Mismatch::Outputs, message);
        }
        for (spec, tensor) in stage.outputs.iter().zip(&answer.outputs) {
            if let Err(error) = spec.check(tensor) {
                return mismatched(Mismatch::Outputs, error.to_string());
            }
        }
        let exact = self.certificate.bound() == Bound::Static;
        if exact && answer.time.fuel != fuel {
            let seen = answer.time.fuel;
            let message = format!("it burned {seen} units of fuel, certified are {fuel}");
            return mismatched(Mismatch::Fuel, message);
        }
        Ok(())
    }
}
