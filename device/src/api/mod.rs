//! The routes: the Open Inference Protocol v2 under `/v2`, control under `/v1`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::StatusCode;
use leeway_deploy::Deployer;
use leeway_deploy::desired::Reconciler;

mod control;
mod deploy;
mod desired;
mod error;
mod infer;
mod stream;
mod upload;

pub(crate) use control::status_of;
use error::HttpError;

use crate::tcp::Door;

/// What most routes share.
pub(crate) type Shared = Arc<Deployer>;

/// What all routes share.
#[derive(Clone)]
pub(crate) struct Both {
    pub(crate) deployer: Shared,
    pub(crate) reconciler: Arc<Reconciler>,
}

impl FromRef<Both> for Shared {
    fn from_ref(both: &Both) -> Self {
        Arc::clone(&both.deployer)
    }
}

impl FromRef<Both> for Arc<Reconciler> {
    fn from_ref(both: &Both) -> Self {
        Arc::clone(&both.reconciler)
    }
}

/// All routes. With a door, only whom it lets in comes to them.
pub(crate) fn router(both: Both, door: Option<Arc<Door>>) -> Router {
    let control = Router::new()
        .route("/status", get(control::status))
        .route("/modules/{digest}", put(upload::put).get(upload::sent))
        .route("/deployments", post(deploy::deploy))
        .route("/deployments/{digest}", delete(deploy::cancel))
        .route("/desired", get(desired::get).put(desired::put))
        .route("/models/{name}/rollback", post(control::roll_back))
        .route("/models/{name}/pin", post(control::pin))
        .route("/models/{name}/unpin", post(control::unpin));
    let protocol = Router::new()
        .route("/", get(infer::server))
        .route("/health/live", get(infer::live))
        .route("/health/ready", get(infer::ready))
        .route("/models/{name}", get(infer::metadata))
        .route("/models/{name}/ready", get(infer::model_ready))
        .route("/models/{name}/infer", post(infer::infer));
    let routes = Router::new()
        .nest("/v1", control)
        .nest("/v2", protocol)
        .fallback(async || HttpError::not_found("there is nothing under this path"))
        .with_state(both);
    match door {
        Some(door) => routes.layer(middleware::from_fn_with_state(door, authorise)),
        None => routes,
    }
}

async fn authorise(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    match door.look(&request) {
        Ok(()) => next.run(request).await,
        Err(lacks) => HttpError::new(StatusCode::UNAUTHORIZED, lacks).into_response(),
    }
}

/// Runs what computes or waits for the disk off the asynchronous thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error))
}
