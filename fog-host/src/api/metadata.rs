//! What the host and its models are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use leeway_contract::certificate::oip_name;
use leeway_contract::{Digest, Fuel, TensorSpec};
use serde::Serialize;

use super::params::{ModelParams, Params};
use crate::error::HttpError;
use crate::host::Host;

#[derive(Serialize)]
pub(super) struct Server {
    name: &'static str,
    version: &'static str,
    extensions: &'static [&'static str],
}

#[derive(Serialize)]
pub(super) struct Model {
    name: String,
    versions: Vec<String>,
    platform: &'static str,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    parameters: ModelParameters,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    datatype: &'static str,
    shape: Vec<u32>,
}

/// What is ours: the module, and what it is certified for.
#[derive(Serialize)]
struct ModelParameters {
    digest: Digest,
    stages: usize,
    fuel: Fuel,
    memory_bytes: u64,
}

impl From<&TensorSpec> for Tensor {
    fn from(spec: &TensorSpec) -> Self {
        let (datatype, shape) = (oip_name(spec.dtype), spec.shape.clone());
        Self { name: spec.name.clone(), datatype, shape }
    }
}

/// The host and the protocol's extensions that it has.
pub(super) async fn server() -> Json<Server> {
    Json(Server {
        name: "leeway-fog",
        version: env!("CARGO_PKG_VERSION"),
        extensions: &["binary_tensor_data"],
    })
}

/// A model: its versions, inputs and outputs.
pub(super) async fn model(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<Model>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    let aliases = target.name.parse().ok().and_then(|name| host.catalog.get(&name));
    let versions = match aliases {
        Some(model) => model.versions.keys().map(ToString::to_string).collect(),
        None => vec![target.version],
    };
    let certificate = target.module.certificate();
    Ok(Json(Model {
        name: target.name,
        versions,
        platform: "leeway_wasm",
        inputs: certificate.inputs().iter().map(Tensor::from).collect(),
        outputs: certificate.outputs().iter().map(Tensor::from).collect(),
        parameters: ModelParameters {
            digest: target.module.digest(),
            stages: certificate.stages.len(),
            fuel: certificate.total_fuel(),
            memory_bytes: certificate.memory_bytes,
        },
    }))
}
