//! The model repository extension. What it loads and unloads is a name with all its
//! versions, on this host; modules by digest and the stored aliases stay.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use leeway_protocol::repository::{self, IndexEntry, IndexRequest};

use super::body::{self, BodyLimits};
use super::params::Params;
use crate::access::Client;
use crate::error::HttpError;
use crate::host::Host;

const LIMITS: BodyLimits = BodyLimits { bytes: 64 << 10, time: std::time::Duration::from_secs(30) };

/// All names and versions, and whether they can be asked to infer.
pub(super) async fn index(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<IndexEntry>>, HttpError> {
    let body = body::read(&headers, body, LIMITS).await?;
    let request = IndexRequest::decode(&body).map_err(HttpError::bad_request)?;
    Ok(Json(host.index(request.ready)))
}

/// Makes a name answer, with its modules loaded.
pub(super) async fn load(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(name): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let body = body::read(&headers, body, LIMITS).await?;
    repository::check_load(&body).map_err(HttpError::bad_request)?;
    host.load(&name).await?;
    host.audit.did(&client, "load", &name);
    Ok(StatusCode::OK)
}

/// Makes a name answer no more, and gives back the memory of its modules.
pub(super) async fn unload(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(name): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let body = body::read(&headers, body, LIMITS).await?;
    repository::check_unload(&body).map_err(HttpError::bad_request)?;
    host.unload(&name)?;
    host.audit.did(&client, "unload", &name);
    Ok(StatusCode::OK)
}
