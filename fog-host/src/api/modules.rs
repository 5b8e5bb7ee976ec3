//! Modules by digest: pushed, asked for, fetched and removed.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leeway_contract::Digest;
use serde::Serialize;

use super::body::{self, BodyLimits};
use super::keeping;
use super::params::Params;
use super::parts::{self, Part};
use crate::access::Client;
use crate::clients::ClientLimits;
use crate::error::HttpError;
use crate::host::{Host, unknown_module};
use crate::modules::Incoming;
use crate::observe::Refused;
use crate::quota::{Quota, Thing};
use crate::uploads::ContentRange;

/// What each client may push at the same time. Modules are compiled one after the
/// other.
const LIMITS: ClientLimits =
    ClientLimits { requests_per_second: None, concurrent_requests: Some(2) };

#[derive(Serialize)]
pub(super) struct List {
    modules: Vec<Digest>,
}

/// A module that is here now.
#[derive(Serialize)]
struct Pushed {
    digest: Digest,
    /// The model's name in its certificate.
    name: String,
    /// The model's version in its certificate.
    version: String,
}

fn digest(text: &str) -> Result<Digest, HttpError> {
    text.parse().map_err(HttpError::bad_request)
}

/// The digests of all modules.
pub(super) async fn list(State(host): State<Arc<Host>>) -> Result<Json<List>, HttpError> {
    Ok(Json(List { modules: host.repository.modules().await? }))
}

/// Takes a module whose bytes must have the digest in the path, whole or, with
/// `Content-Range`, in parts. It goes through the steps of a deployment before it
/// is stored.
pub(super) async fn put(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(wanted): Params<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, HttpError> {
    let wanted = digest(&wanted)?;
    let permit = host.pushing.enter(&client.name, LIMITS, Instant::now());
    let _permit = match permit {
        Ok(permit) => permit,
        Err(too_many) => {
            host.observations.refused(Refused::Client);
            return Err(body::drain(&mut body, too_many.into()).await);
        }
    };
    if let Some(length) = length(&headers)
        && let Err(refusal) = expect(&host, &client, wanted, length).await
    {
        return Err(body::drain(&mut body, refusal).await);
    }
    let bytes = match headers.get(header::CONTENT_RANGE) {
        None => {
            let (bytes, time) = (host.config.max_module_bytes, host.config.push_time);
            body::read(&headers, body, BodyLimits { bytes, time }).await?
        }
        Some(range) => match parts::take(&host, wanted, range, &headers, body).await? {
            Part::More(response) => return Ok(response),
            Part::Last(bytes) => bytes,
        },
    };
    let answer = bring_in(&host, &client, wanted, bytes).await;
    host.uploads.discard(wanted).map_err(HttpError::internal)?;
    answer
}

/// How long the module says that it is, whole or in parts.
fn length(headers: &HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(header::CONTENT_RANGE) {
        Some(range) => ContentRange::parse(range).map(|range| range.total),
        None => text(header::CONTENT_LENGTH)?.parse().ok(),
    }
}

/// Refuses a module that the client has no room for. One that is here costs nothing.
async fn expect(
    host: &Host,
    client: &Client,
    digest: Digest,
    length: u64,
) -> Result<(), HttpError> {
    match client.quota {
        Some(Quota { bytes: Some(_), .. }) if !host.repository.has_module(digest).await? => {
            keeping::expect(host, client, &Thing::Module(digest, length)).await
        }
        _ => Ok(()),
    }
}

async fn bring_in(
    host: &Host,
    client: &Client,
    wanted: Digest,
    bytes: Bytes,
) -> Result<Response, HttpError> {
    let known = host.repository.has_module(wanted).await?;
    let envelope = host.repository.signature(wanted).await?;
    let incoming = Incoming { digest: wanted, bytes: bytes.clone(), envelope };
    let module = host.modules.load(incoming).await.map_err(|error| {
        host.observations.refused(Refused::Module);
        HttpError::refused_module(error)
    })?;
    if !known {
        let thing = Thing::Module(wanted, bytes.len() as u64);
        keeping::keep(host, client, &thing).await?;
    }
    // Even if it is known: what is stored may have decayed.
    host.repository.put_module(wanted, bytes).await?;
    let model = module.certificate().model.clone();
    host.pool.reinstate(wanted);
    host.modules.keep(module);
    host.observations.pushed();
    host.audit.did(client, "push", &wanted.to_string());
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    let pushed = Pushed { digest: wanted, name: model.name, version: model.version };
    Ok((status, Json(pushed)).into_response())
}

/// Whether a module is here and can serve; else how much of it is.
pub(super) async fn head(
    State(host): State<Arc<Host>>,
    Params(wanted): Params<String>,
) -> Result<Response, HttpError> {
    let wanted = digest(&wanted)?;
    match host.module(wanted).await {
        Ok(_) => Ok(StatusCode::OK.into_response()),
        Err(error) => Ok(parts::with_offset(&host, wanted, error.into_response())),
    }
}

/// A module's bytes.
pub(super) async fn get(
    State(host): State<Arc<Host>>,
    Params(wanted): Params<String>,
) -> Result<Response, HttpError> {
    let wanted = digest(&wanted)?;
    let bytes = host.repository.module(wanted).await?.ok_or_else(|| unknown_module(wanted))?;
    Ok(([(header::CONTENT_TYPE, "application/wasm")], bytes).into_response())
}

/// Removes a module that no alias stands for, with its signatures, or these alone.
pub(super) async fn delete(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(wanted): Params<String>,
) -> Result<StatusCode, HttpError> {
    let wanted = digest(&wanted)?;
    let _changing = host.catalog.changing().await;
    refuse_if_named(&host, wanted).await?;
    let bytes = host.repository.module(wanted).await?;
    let envelope = host.repository.signature(wanted).await?;
    if bytes.is_none() && envelope.is_none() {
        return Err(unknown_module(wanted));
    }
    host.repository.delete_module(wanted).await?;
    if let Err(refusal) = refuse_if_named(&host, wanted).await {
        // Another host set the alias meanwhile: the module stays.
        if let Some(bytes) = bytes {
            host.repository.put_module(wanted, bytes).await?;
        }
        if let Some(envelope) = envelope {
            host.repository.put_signature(wanted, envelope).await?;
        }
        return Err(refusal);
    }
    keeping::give_back(&host, &Thing::Module(wanted, 0)).await?;
    host.modules.forget(wanted);
    host.pool.retire(wanted);
    host.audit.did(&client, "remove", &wanted.to_string());
    Ok(StatusCode::NO_CONTENT)
}

async fn refuse_if_named(host: &Host, digest: Digest) -> Result<(), HttpError> {
    match host.catalog.stored_alias_of(&host.repository, digest).await? {
        None => Ok(()),
        Some((name, version)) => {
            let message = format!("version {version} of {name} stands for the module {digest}");
            Err(HttpError::conflict(message))
        }
    }
}
