//! The Open Inference Protocol v2 (KServe's "Predict Protocol - Version 2") with
//! NVIDIA Triton's extensions for binary tensors, classification, the model
//! repository and statistics: the messages, for servers and for clients.
//!
//! No I/O and no HTTP: a server hands over a request's body and the value of one
//! header, and gets them back for its answer. Which paths and which statuses they
//! go with is the server's business.
//!
//! With binary tensors, a body is a JSON part, whose length is in the HTTP header
//! `Inference-Header-Content-Length`, and after it the tensors' bytes in the order
//! in which the JSON part names them.
//!
//! What is ours is in the `parameters` objects: in the request `first_stage` and
//! `last_stage`, in the response `digest`, `fuel`, `queue_ns` and `compute_ns`. The
//! request's `timeout`, in microseconds, is Triton's: what is left of the client's
//! time when the request arrives, never a time of the clock.
//!
//! | file             | subject                                             |
//! |------------------|-----------------------------------------------------|
//! | `request`        | an inference request, as a server reads it          |
//! | `response`       | an inference response, as a server writes it        |
//! | `client`         | both, as a client writes and reads them             |
//! | `classification` | the classification extension                        |
//! | `configuration`  | the model configuration extension                   |
//! | `device`         | what a device says of itself, which is ours         |
//! | `metadata`       | what a server and a model say of themselves         |
//! | `repository`     | the model repository extension                      |
//! | `statistics`     | the statistics extension                            |
//! | `grpc`           | the messages of gRPC; with the feature of that name |
//! | `scalars`        | tensors' elements in JSON                           |

pub mod classification;
pub mod client;
pub mod configuration;
pub mod datatype;
pub mod device;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod metadata;
pub mod repository;
pub mod request;
pub mod response;
mod scalars;
pub mod statistics;
mod whole;

use serde::{Deserialize, Serialize};

pub use client::{ClientRequest, ClientResponse};
pub use request::{Form, Parameters, Request, WantedOutput};
pub use response::{Answer, OutputTensor};

/// The HTTP header with the length of the JSON part, in bytes.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// The protocol's error object, the body of every answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// What was wrong.
    pub error: String,
}

/// A body, and the length of its JSON part where it has a binary one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// All bytes.
    pub body: Vec<u8>,
    /// The value of [`HEADER_LENGTH`], if the body is not all JSON.
    pub head_bytes: Option<usize>,
}

/// A message that is wrong: what, in which tensor, seen and wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtocolError(String);

/// Makes a [`ProtocolError`].
fn wrong(message: impl Into<String>) -> ProtocolError {
    ProtocolError(message.into())
}

/// Reads the value of [`HEADER_LENGTH`]: decimal digits and nothing else.
pub fn parse_head_bytes(value: &[u8]) -> Result<usize, ProtocolError> {
    let digits = std::str::from_utf8(value).ok().map(str::trim_ascii);
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let seen = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
        wrong(format!("the header {HEADER_LENGTH} is {seen:?}, wanted a length in bytes"))
    })
}

/// The JSON part of a body and what follows it. `head_bytes` is the header's value;
/// without one, all is JSON.
fn split(body: &[u8], head_bytes: Option<usize>) -> Result<(&[u8], &[u8]), ProtocolError> {
    let length = head_bytes.unwrap_or(body.len());
    body.split_at_checked(length).ok_or_else(|| {
        wrong(format!("the JSON part shall have {length} bytes, the body has {}", body.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_only() {
        assert_eq!(parse_head_bytes(b"0"), Ok(0));
        assert_eq!(parse_head_bytes(b" 120 "), Ok(120));
        for value in ["", "+5", "-1", "1.0", "0x10", "1 2", "1,1", "99999999999999999999"] {
            let error = parse_head_bytes(value.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(HEADER_LENGTH), "{value}: {error}");
        }
        assert!(parse_head_bytes(b"\xff").is_err());
    }
}
