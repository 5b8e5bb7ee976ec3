//! The routes. The Open Inference Protocol's are under `/v2`, our own under
//! `/v1`.

mod aliases;
mod body;
mod health;
mod infer;
mod metadata;
mod modules;
mod params;
mod probe;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};

use crate::error::HttpError;
use crate::host::Host;

/// All routes of a host.
pub(crate) fn router(host: Arc<Host>) -> Router {
    let module = put(modules::put).get(modules::get).head(modules::head).delete(modules::delete);
    let own = Router::new()
        .route("/modules", get(modules::list))
        .route("/modules/{digest}", module)
        .route("/models", get(aliases::list))
        .route("/models/{name}/versions/{version}", put(aliases::put).delete(aliases::delete))
        .route("/echo", post(probe::echo));
    let protocol = Router::new()
        .route("/", get(metadata::server))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/models/{name}", get(metadata::model))
        .route("/models/{name}/ready", get(health::model_ready))
        .route("/models/{name}/infer", post(infer::infer))
        .route("/models/{name}/versions/{version}", get(metadata::model))
        .route("/models/{name}/versions/{version}/ready", get(health::model_ready))
        .route("/models/{name}/versions/{version}/infer", post(infer::infer));
    Router::new()
        .nest("/v1", own)
        .nest("/v2", protocol)
        .fallback(async || HttpError::not_found("there is nothing under this path"))
        .method_not_allowed_fallback(async || HttpError::method_not_allowed())
        .layer(middleware::from_fn(log))
        .with_state(host)
}

async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, time) = (response.status().as_u16(), start.elapsed());
    tracing::debug!(%method, path, status, ?time, "request");
    response
}
