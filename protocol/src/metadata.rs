//! What a server and a model say of themselves.

use leeway_contract::{Certificate, Digest, Fuel, TensorSpec};
use serde::{Deserialize, Serialize};

use super::datatype;

/// The platform of every model here.
pub const PLATFORM: &str = "leeway_wasm";

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol's extensions that it has.
    pub extensions: Vec<String>,
}

/// Whether a server is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Whether it is.
    pub live: bool,
}

/// Whether a server is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether it is.
    pub ready: bool,
}

/// Whether a model is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReady {
    /// The model.
    pub name: String,
    /// Whether it is.
    pub ready: bool,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// As it was asked for.
    pub name: String,
    /// All versions that can be asked for.
    pub versions: Vec<String>,
    /// [`PLATFORM`].
    pub platform: String,
    /// The inputs of its first stage.
    pub inputs: Vec<TensorMetadata>,
    /// The outputs of its last stage.
    pub outputs: Vec<TensorMetadata>,
    /// What is ours: the module, and what it is certified for.
    pub parameters: ModelParameters,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The protocol's name of its type.
    pub datatype: String,
    /// The size of each dimension.
    pub shape: Vec<u32>,
}

/// A model's module, and what it is certified for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelParameters {
    /// The module.
    pub digest: Digest,
    /// How many stages it has.
    pub stages: usize,
    /// The fuel of a run of all of them.
    pub fuel: Fuel,
    /// The memory of an instance.
    pub memory_bytes: u64,
}

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        let datatype = datatype::name(spec.dtype).to_owned();
        Self { name: spec.name.clone(), datatype, shape: spec.shape.clone() }
    }
}

impl ModelMetadata {
    /// A model under a name and with versions that the certificate need not know.
    pub fn new(
        name: String,
        versions: Vec<String>,
        digest: Digest,
        certificate: &Certificate,
    ) -> Self {
        Self {
            name,
            versions,
            platform: PLATFORM.to_owned(),
            inputs: certificate.inputs().iter().map(TensorMetadata::from).collect(),
            outputs: certificate.outputs().iter().map(TensorMetadata::from).collect(),
            parameters: ModelParameters {
                digest,
                stages: certificate.stages.len(),
                fuel: certificate.total_fuel(),
                memory_bytes: certificate.memory_bytes,
            },
        }
    }
}
