//! Why the agent did not do something.

use std::io;

use leeway_control::messages::Refused;
use leeway_protocol::ProtocolError;

/// Why the agent did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No address of an agent.
    #[error("not an agent's address: {seen:?} (wanted {wanted})")]
    Address {
        /// The address.
        seen: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// It did not answer.
    #[error("the device does not answer: {0}")]
    Transport(#[from] Box<ureq::Error>),
    /// It said no.
    #[error("the device refused ({status}): {message}")]
    Status {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// What it said is not understood.
    #[error("the device's answer is not understood: {0}")]
    Answer(String),
    /// It did not bring the version in.
    #[error("refused at the step {}: {}", .0.step, .0.reason)]
    Refused(Refused),
    /// What shall be sent cannot be read.
    #[error("cannot read the module: {0}")]
    Source(#[source] io::Error),
    /// The tensors are none that can be sent, or that came.
    #[error(transparent)]
    Tensors(#[from] ProtocolError),
}

impl ClientError {
    /// Whether the device was not reached, or the connection broke: nothing is known
    /// of what was asked of it.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}
