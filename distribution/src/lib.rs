//! How modules travel from who builds them to devices and fog hosts: through OCI
//! registries that people already run, with their signatures attached, and as
//! bundles where there is no network.
//!
//! Nothing here is trusted: bytes are checked against the digest that names them,
//! and who signed it is the receiver's question.

pub mod artifact;
pub mod bundle;
pub mod cosign;
mod credentials;
pub mod error;
pub mod reference;
pub mod registry;
pub mod signature;

pub use artifact::{Artifact, Descriptor};
pub use bundle::{Bundle, BundleWriter};
pub use error::DistributionError;
pub use reference::ModuleReference;
pub use registry::{Registry, RegistryOptions, Resolved};
