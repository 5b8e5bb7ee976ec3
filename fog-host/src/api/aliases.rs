//! Names and versions as aliases to digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use super::body::{self, BodyLimits};
use super::keeping;
use super::params::Params;
use crate::access::Client;
use crate::catalog::{ModelName, Release, Version};
use crate::error::HttpError;
use crate::host::{Host, unknown_module};
use crate::quota::Thing;

const MAX_BODY_BYTES: usize = 64 << 10;

#[derive(Serialize)]
pub(super) struct List {
    models: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: ModelName,
    current: Option<Version>,
    versions: BTreeMap<Version, Digest>,
    /// Of the signed releases that the name stood for; none where none was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    highest_counter: Option<u64>,
}

/// What an alias shall stand for.
#[derive(Deserialize)]
struct Wanted {
    digest: Digest,
    /// Whether a release may be older than one that the name stood for.
    #[serde(default)]
    allow_older: bool,
}

/// What an alias stands for.
#[derive(Serialize)]
pub(super) struct Alias {
    digest: Digest,
}

/// What a name stands for again.
#[derive(Serialize)]
pub(super) struct Rolled {
    current: Version,
    digest: Digest,
}

fn names(params: Params<(String, String)>) -> Result<(ModelName, Version), HttpError> {
    let Params((name, version)) = params;
    let name = name.parse().map_err(HttpError::bad_request)?;
    let version = version.parse().map_err(HttpError::bad_request)?;
    Ok((name, version))
}

/// All names, with their versions and what these stand for.
pub(super) async fn list(State(host): State<Arc<Host>>) -> Json<List> {
    let entry = |(name, model): (ModelName, crate::catalog::Versions)| Entry {
        name,
        current: model.current,
        versions: model.versions,
        highest_counter: Some(model.highest_counter).filter(|counter| *counter > 0),
    };
    Json(List { models: host.catalog.all().into_iter().map(entry).collect() })
}

/// Makes a version stand for a module that is here, and its name for that
/// version. The module is loaded before: the first request does not wait.
pub(super) async fn put(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    params: Params<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Alias>, HttpError> {
    let (name, version) = names(params)?;
    let limits = BodyLimits { bytes: MAX_BODY_BYTES, time: host.config.request_time };
    let json = body::read(&headers, body, limits).await?;
    let wrong = |error: &dyn std::fmt::Display| {
        HttpError::bad_request(format!("not an alias, wanted {{\"digest\": ...}}: {error}"))
    };
    if json.trim_ascii().first() != Some(&b'{') {
        return Err(wrong(&"it is no object"));
    }
    let Wanted { digest, allow_older } =
        serde_json::from_slice(&json).map_err(|error| wrong(&error))?;
    host.module(digest).await?;
    let counter = host.modules.counter(&host.repository, digest).await?;
    set(&host, &client, &name, Release { version, digest, counter, allow_older }).await?;
    host.observations.swapped();
    Ok(Json(Alias { digest }))
}

/// Makes a name stand for a release whose module is loaded.
async fn set(
    host: &Host,
    client: &Client,
    name: &ModelName,
    release: Release,
) -> Result<(), HttpError> {
    let Release { version, digest, .. } = &release;
    let (catalog, repository) = (&host.catalog, &host.repository);
    let changing = catalog.changing().await;
    // It may have been removed while it was loaded.
    if !repository.has_module(*digest).await? {
        return Err(unknown_module(*digest));
    }
    let (stored, thing) = (repository.model(name).await?, Thing::Name(name.clone()));
    let is_new = stored.is_none_or(|model| model.versions.is_empty());
    if is_new {
        keeping::keep(host, client, &thing).await?;
    }
    if let Err(older) = catalog.set(&changing, repository, name, &release).await? {
        if is_new {
            keeping::give_back(host, &thing).await?;
        }
        return Err(HttpError::older(name, older));
    }
    // Another host may have removed it meanwhile, before it could see the alias.
    if !repository.has_module(*digest).await? {
        catalog.remove(&changing, repository, name, version).await?;
        return Err(unknown_module(*digest));
    }
    host.audit.did(client, "alias", &format!("{name} {version} {digest}"));
    Ok(())
}

/// Makes a name stand for the version again that it stood for before.
pub(super) async fn roll_back(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Params(name): Params<String>,
) -> Result<Json<Rolled>, HttpError> {
    let name: ModelName = name.parse().map_err(HttpError::bad_request)?;
    let changing = host.catalog.changing().await;
    let Some(model) = host.catalog.get(&name) else {
        return Err(HttpError::not_found(format!("there is no model {name} here")));
    };
    let previous = model.previous.clone().filter(|version| model.versions.contains_key(version));
    let Some(version) = previous else {
        let current = model.current.map(|version| version.to_string()).unwrap_or_default();
        let message = format!("{name} stood for no other version before {current}");
        return Err(HttpError::conflict(message));
    };
    let digest = model.versions[&version];
    // It serves already when the name begins to stand for it.
    host.module(digest).await?;
    let (catalog, wanted) = (&host.catalog, (&version, digest));
    if !catalog.roll_back(&changing, &host.repository, &name, wanted).await? {
        return Err(HttpError::conflict(format!("another host changed {name} meanwhile")));
    }
    host.observations.swapped();
    host.audit.did(&client, "roll back", &format!("{name} {version} {digest}"));
    Ok(Json(Rolled { current: version, digest }))
}

/// Removes a version of a name.
pub(super) async fn delete(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    params: Params<(String, String)>,
) -> Result<StatusCode, HttpError> {
    let (name, version) = names(params)?;
    let changing = host.catalog.changing().await;
    if !host.catalog.remove(&changing, &host.repository, &name, &version).await? {
        let message = format!("there is no version {version} of a model {name} here");
        return Err(HttpError::not_found(message));
    }
    if host.catalog.get(&name).is_none() {
        keeping::give_back(&host, &Thing::Name(name.clone())).await?;
    }
    host.audit.did(&client, "remove alias", &format!("{name} {version}"));
    Ok(StatusCode::NO_CONTENT)
}
