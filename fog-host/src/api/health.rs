//! Whether the host is alive, and ready, and a model with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use leeway_protocol::metadata::{Live, ModelReady, Ready};

use super::params::{ModelParams, Params};
use crate::error::HttpError;
use crate::host::Host;

/// Answers as long as the program does.
pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// Whether the stored modules are loaded.
pub(super) async fn ready(State(host): State<Arc<Host>>) -> Result<Json<Ready>, HttpError> {
    if host.is_ready() {
        Ok(Json(Ready { ready: true }))
    } else {
        let wait = Duration::from_secs(1);
        Err(HttpError::unavailable("the stored modules are being loaded", wait))
    }
}

/// Whether a model is there and loads.
pub(super) async fn model_ready(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<ModelReady>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    Ok(Json(ModelReady { name: target.name, ready: true }))
}
