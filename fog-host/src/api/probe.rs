//! A place to send bytes to, for a device that measures its link.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;

use super::body::{self, BodyLimits};
use crate::error::HttpError;
use crate::host::Host;

#[derive(Serialize)]
pub(super) struct Received {
    bytes: usize,
}

/// Swallows the body and says how long it was.
pub(super) async fn echo(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, HttpError> {
    let limits =
        BodyLimits { bytes: host.config.max_request_bytes, time: host.config.request_time };
    let bytes = body::for_each_chunk(&headers, body, limits, drop).await?;
    Ok(Json(Received { bytes }))
}
