//! What the host and its models are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use leeway_protocol::configuration::ModelConfig;
use leeway_protocol::metadata::{ModelMetadata, ServerMetadata};

use super::params::{ModelParams, Params};
use crate::error::HttpError;
use crate::host::Host;

/// The protocol's extensions that are here, by their names.
const EXTENSIONS: [&str; 5] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
];

/// The host and the protocol's extensions that it has.
pub(super) async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata {
        name: "leeway-fog".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).into(),
    })
}

/// A model: its versions, inputs and outputs.
pub(super) async fn model(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<ModelMetadata>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    let aliases = target.name.parse().ok().and_then(|name| host.catalog.get(&name));
    let versions = match aliases {
        Some(model) => model.versions.keys().map(ToString::to_string).collect(),
        None => vec![target.version],
    };
    let module = &target.module;
    let metadata = ModelMetadata::new(target.name, versions, module.digest(), module.certificate());
    Ok(Json(metadata))
}

/// A model's inputs and outputs, in the form of Triton's configurations.
pub(super) async fn config(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<ModelConfig>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    Ok(Json(ModelConfig::new(target.name, target.module.certificate())))
}
