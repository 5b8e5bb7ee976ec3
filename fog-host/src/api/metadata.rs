//! What the host and its models are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use leeway_protocol::configuration::ModelConfig;
use leeway_protocol::metadata::{ModelMetadata, ServerMetadata};

use super::params::{ModelParams, Params};
use crate::error::HttpError;
use crate::host::Host;

/// The host and the protocol's extensions that it has.
pub(super) async fn server(State(host): State<Arc<Host>>) -> Json<ServerMetadata> {
    Json(host.metadata())
}

/// A model: its versions, inputs and outputs.
pub(super) async fn model(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<ModelMetadata>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    Ok(Json(host.model_metadata(target)))
}

/// A model's inputs and outputs, in the form of Triton's configurations.
pub(super) async fn config(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<ModelConfig>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    Ok(Json(ModelConfig::new(target.name, target.module.certificate())))
}
