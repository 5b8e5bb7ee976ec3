//! Modules by digest: pushed, asked for, fetched and removed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode, header};
use leeway_contract::Digest;
use serde::Serialize;

use super::body::{self, BodyLimits};
use super::params::Params;
use crate::access::Client;
use crate::error::HttpError;
use crate::host::{Host, unknown_module};
use crate::observe::Refused;

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

/// Takes a module whose bytes must have the digest in the path. It is loaded
/// and its golden vectors are replayed before it is stored.
pub(super) async fn put(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(wanted): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let wanted = digest(&wanted)?;
    let limits = BodyLimits { bytes: host.config.max_module_bytes, time: host.config.push_time };
    let bytes = body::read(&headers, body, limits).await?;
    let known = host.repository.has_module(wanted).await?;
    let loaded = host.modules.load(bytes.clone(), wanted).await;
    let module = loaded.map_err(|error| {
        host.observations.refused(Refused::Module);
        let why = error.to_string();
        host.audit.refused(&client.name, "push", &wanted.to_string(), &why);
        HttpError::refused_module(error)
    })?;
    // Even if it is known: what is stored may have decayed.
    host.repository.put_module(wanted, bytes).await?;
    let model = module.certificate().model.clone();
    host.pool.reinstate(wanted);
    host.modules.keep(module);
    host.observations.pushed();
    host.audit.did(&client, "push", &wanted.to_string());
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    let pushed = Pushed { digest: wanted, name: model.name, version: model.version };
    Ok((status, Json(pushed)).into_response())
}

/// Whether a module is here and can serve.
pub(super) async fn head(
    State(host): State<Arc<Host>>,
    Params(wanted): Params<String>,
) -> Result<StatusCode, HttpError> {
    host.module(digest(&wanted)?).await?;
    Ok(StatusCode::OK)
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

/// Removes a module that no alias stands for.
pub(super) async fn delete(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(wanted): Params<String>,
) -> Result<StatusCode, HttpError> {
    let wanted = digest(&wanted)?;
    let _changing = host.catalog.changing().await;
    if let Some((name, version)) = host.catalog.alias_of(wanted) {
        let message = format!("version {version} of {name} stands for the module {wanted}");
        return Err(HttpError::conflict(message));
    }
    if !host.repository.delete_module(wanted).await? {
        return Err(unknown_module(wanted));
    }
    host.modules.forget(wanted);
    host.pool.retire(wanted);
    host.audit.did(&client, "remove", &wanted.to_string());
    Ok(StatusCode::NO_CONTENT)
}
