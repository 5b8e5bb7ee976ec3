//! The contract between Leeway's compiler, its runtime and its users: the WIT
//! package, tensors, digests, and the certificate with its custom sections.
//!
//! Everything that more than one crate must agree on to the bit is here, and
//! nothing else: no engine, no compiler, no I/O.

pub mod certificate;
pub mod digest;
pub mod engine;
pub mod section;
pub mod tensor;

pub use certificate::{Bound, Certificate, CertificateError, Fuel, Stage, StageFuel};
pub use digest::Digest;
pub use engine::EngineClaim;
pub use section::SectionError;
pub use tensor::{DType, Tensor, TensorError, TensorSpec};

/// The text of the WIT package `leeway:model`, as committed in `wit/model.wit`.
pub const WIT: &str = include_str!("../model.wit");

/// The world that a model component exports.
pub const WORLD: &str = "model";

/// The one interface of that world, as it is named in a component.
pub const INFERENCE_INTERFACE: &str = "leeway:model/inference@0.1.0";
