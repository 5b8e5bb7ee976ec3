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
    let versions = host.catalog.all().into_iter().flat_map(|(name, model)| {
        let name = name.to_string();
        model.versions.into_keys().map(move |version| (name.clone(), version.to_string()))
    });
    let model_stats =
        versions.map(|(name, version)| host.observations.statistics(&name, &version)).collect();
    Json(Statistics { model_stats })
}

/// The statistics of a name or a digest, of one version or of all.
pub(super) async fn model(
    State(host): State<Arc<Host>>,
    Params(params): Params<ModelParams>,
) -> Result<Json<Statistics>, HttpError> {
    let target = host.target(&params.name, params.version.as_deref()).await?;
    let aliases = target.name.parse().ok().and_then(|name| host.catalog.get(&name));
    let versions = match (params.version, aliases) {
        (None, Some(model)) => model.versions.into_keys().map(String::from).collect(),
        _ => vec![target.version],
    };
    let of = |version: String| host.observations.statistics(&target.name, &version);
    Ok(Json(Statistics { model_stats: versions.into_iter().map(of).collect() }))
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
