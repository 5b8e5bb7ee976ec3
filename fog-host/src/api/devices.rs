//! What devices report of themselves.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use leeway_protocol::device::{DeviceReport, LARGEST_REPORT_BYTES};

use super::body::{self, BodyLimits};
use super::params::Params;
use crate::access::Client;
use crate::catalog::ModelName;
use crate::error::HttpError;
use crate::host::Host;

/// Takes a report, under a name that follows the rules of models' names.
pub(super) async fn report(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(name): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let limits = BodyLimits { bytes: LARGEST_REPORT_BYTES, time: host.config.request_time };
    let body = body::read(&headers, body, limits).await?;
    let name: ModelName = name.parse().map_err(HttpError::bad_request)?;
    let report = DeviceReport::decode(&body).map_err(HttpError::bad_request)?;
    host.seen.reported(&client.name, name.to_string(), report);
    Ok(StatusCode::NO_CONTENT)
}
