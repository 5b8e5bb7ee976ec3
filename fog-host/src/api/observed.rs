//! What was counted and timed: the statistics extension, and Prometheus's page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use leeway_protocol::statistics::Statistics;

use super::params::{ModelParams, Params};
use crate::error::HttpError;
use crate::host::Host;
use crate::observe::Now;

/// The statistics of all versions of all names.
pub(super) async fn all(State(host): State<Arc<Host>>) -> Json<Statistics> {
    Json(Statistics { model_stats: host.all_statistics() })
}

/// The statistics of a name or a digest, of one version or of all.
pub(super) async fn model(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<Statistics>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    Ok(Json(Statistics { model_stats: host.statistics(&target, params.version.is_some()) }))
}

/// Everything, for Prometheus.
pub(super) async fn prometheus(State(host): State<Arc<Host>>) -> Response {
    let now = Now {
        waiting: host.pool.waiting(),
        workers: host.config.workers,
        modules: host.modules.count(),
        ready: host.is_ready(),
    };
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], host.observations.prometheus(now)).into_response()
}
