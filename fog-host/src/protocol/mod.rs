//! The Open Inference Protocol v2 (KServe's "Predict Protocol - Version 2") and
//! its binary tensor data extension (NVIDIA Triton): inference requests and
//! responses.
//!
//! With the extension, a body is a JSON part, whose length is in the HTTP header
//! `Inference-Header-Content-Length`, and after it the tensors' bytes in the
//! order in which the JSON part names them.
//!
//! What is ours is in the `parameters` objects: in the request `first_stage` and
//! `last_stage`, in the response `digest`, `fuel`, `queue_ns` and `compute_ns`.

mod datatype;
mod request;
mod response;
mod scalars;

pub(crate) use request::Request;
pub(crate) use response::encode;

/// The HTTP header with the length of the JSON part, in bytes.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// A message that is wrong: what, in which tensor, seen and wanted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProtocolError(String);

/// Makes a [`ProtocolError`].
fn wrong(message: impl Into<String>) -> ProtocolError {
    ProtocolError(message.into())
}
