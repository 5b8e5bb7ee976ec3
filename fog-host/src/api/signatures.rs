//! A module's signatures: the envelope that `leeway sign` makes. It comes before the
//! module where the host takes signed ones only.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use leeway_contract::Digest;
use leeway_deploy::trust::Envelope;

use super::body::{self, BodyLimits};
use super::keeping;
use super::params::Params;
use crate::access::Client;
use crate::error::HttpError;
use crate::host::Host;
use crate::quota::Thing;

const MAX_BODY_BYTES: usize = 256 << 10;

/// Takes a module's signatures. Those of a module that is here must be good: they
/// take the place of good ones.
pub(super) async fn put(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(wanted): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let wanted: Digest = wanted.parse().map_err(HttpError::bad_request)?;
    let limits = BodyLimits { bytes: MAX_BODY_BYTES, time: host.config.request_time };
    let json = body::read(&headers, body, limits).await?;
    let envelope = Envelope::parse(&json).map_err(HttpError::bad_request)?;
    let signed = envelope.statement.digest;
    if signed != wanted {
        let message = format!("the signature is for another module: {signed}, wanted {wanted}");
        return Err(HttpError::bad_request(message));
    }
    if let Some(bytes) = host.repository.module(wanted).await? {
        let checked = host.modules.check_signature(wanted, &bytes, &json);
        checked.map_err(HttpError::refused_module)?;
    }
    let thing = Thing::Signature(wanted, json.len() as u64);
    keeping::keep(&host, &client, &thing).await?;
    host.repository.put_signature(wanted, json).await?;
    host.audit.did(&client, "sign", &wanted.to_string());
    Ok(StatusCode::NO_CONTENT)
}

/// A module's signatures.
pub(super) async fn get(
    State(host): State<Arc<Host>>,
    Params(wanted): Params<String>,
) -> Result<Response, HttpError> {
    let wanted: Digest = wanted.parse().map_err(HttpError::bad_request)?;
    let envelope = host.repository.signature(wanted).await?;
    let envelope = envelope
        .ok_or_else(|| HttpError::not_found(format!("there is no signature of {wanted} here")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], envelope).into_response())
}
