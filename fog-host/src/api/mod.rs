//! The routes. The Open Inference Protocol's are under `/v2`, our own under
//! `/v1`. `openapi.json` describes them, and a test holds them together.

mod aliases;
mod body;
mod guard;
mod health;
mod infer;
mod metadata;
mod modules;
mod observed;
mod params;
mod probe;
mod repository;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};
use http::header;

use crate::access::Scope;
use crate::error::HttpError;
use crate::host::Host;

/// The description of all routes, OpenAPI 3.1.
const OPENAPI: &str = include_str!("../../openapi.json");

/// All routes of a host.
pub(crate) fn router(host: Arc<Host>) -> Router {
    let of = |scope, routes: MethodRouter<Arc<Host>>| guard::guarded(&host, scope, routes);
    let infer = |routes| of(Scope::Infer, routes);
    let push = |routes| of(Scope::Push, routes);
    let admin = |routes| of(Scope::Admin, routes);
    let module = push(put(modules::put).get(modules::get).head(modules::head))
        .merge(admin(delete(modules::delete)));
    let alias = admin(put(aliases::put).delete(aliases::delete));
    let own = Router::new()
        .route("/modules", push(get(modules::list)))
        .route("/modules/{digest}", module)
        .route("/models", infer(get(aliases::list)))
        .route("/models/{name}/versions/{version}", alias)
        .route("/echo", infer(post(probe::echo)));
    let protocol = Router::new()
        .route("/", infer(get(metadata::server)))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/models/stats", infer(get(observed::all)))
        .route("/repository/index", infer(post(repository::index)))
        .route("/repository/models/{name}/load", admin(post(repository::load)))
        .route("/repository/models/{name}/unload", admin(post(repository::unload)))
        .merge(model("/models/{name}", &infer))
        .merge(model("/models/{name}/versions/{version}", &infer));
    Router::new()
        .nest("/v1", own)
        .nest("/v2", protocol)
        .route("/metrics", infer(get(observed::prometheus)))
        .route("/openapi.json", get(openapi))
        .fallback(async || HttpError::not_found("there is nothing under this path"))
        .method_not_allowed_fallback(async || HttpError::method_not_allowed())
        .layer(middleware::from_fn(log))
        .with_state(host)
}

/// The routes of a model under a path, with a version in it or without.
fn model(
    path: &str,
    infer: &impl Fn(MethodRouter<Arc<Host>>) -> MethodRouter<Arc<Host>>,
) -> Router<Arc<Host>> {
    Router::new()
        .route(path, infer(get(metadata::model)))
        .route(&format!("{path}/ready"), infer(get(health::model_ready)))
        .route(&format!("{path}/config"), infer(get(metadata::config)))
        .route(&format!("{path}/stats"), infer(get(observed::model)))
        .route(&format!("{path}/infer"), infer(post(infer::infer)))
}

async fn openapi() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // W3C Trace Context: with it, this line can be joined to the client's.
    let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let trace = trace.map(str::to_owned).unwrap_or_default();
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, time) = (response.status().as_u16(), start.elapsed());
    tracing::debug!(%method, path, status, ?time, trace, "request");
    response
}
