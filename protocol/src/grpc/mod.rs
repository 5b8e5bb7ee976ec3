//! The protocol over gRPC: the messages of `inference.GRPCInferenceService` (KServe's
//! "Open Inference Protocol", grpc_predict_v2, and Triton's extensions of it), by the
//! numbers of their fields. What neither the protocol nor a model here uses is left out:
//! a reader passes over fields that it does not know.
//!
//! | file      | subject                                              |
//! |-----------|------------------------------------------------------|
//! | `infer`   | an inference, as a request and as a response         |
//! | `about`   | metadata, configuration, repository and statistics   |
//! | `tensors` | a tensor's elements in typed fields                  |

mod about;
mod infer;
mod tensors;

pub use about::{
    ConfigResponse, IndexRequest, IndexResponse, LoadRequest, MetadataResponse, ServerMetadata,
    StatisticsResponse,
};
pub use infer::{InferRequest, InferResponse, InputTensor, Parameter, RequestedOutput, Value};

/// The service's name, the first part of every method's path.
pub const SERVICE: &str = "inference.GRPCInferenceService";

/// Every message without a field.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

/// The answer to the questions whether something is alive or ready.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Is {
    /// Whether it is.
    #[prost(bool, tag = "1")]
    pub so: bool,
}

/// A question about a model: all of them have these two fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelRequest {
    /// A name or a digest.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version, or nothing.
    #[prost(string, tag = "2")]
    pub version: String,
}
