//! What a client keeps here: places are taken and given back, and it is told.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use crate::access::Client;
use crate::error::HttpError;
use crate::host::Host;
use crate::observe::Refused;
use crate::quota::{self, NoRoom, Quota, Thing, Usage};

/// What the client keeps, and may keep.
pub(super) async fn usage(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
) -> Result<Json<Usage>, HttpError> {
    let quota = client.quota.unwrap_or_default();
    Ok(Json(quota::usage(&host.repository, &client.name, quota).await?))
}

/// Takes the client's place for a thing.
pub(super) async fn keep(host: &Host, client: &Client, thing: &Thing) -> Result<(), HttpError> {
    let Some(quota) = client.quota else { return Ok(()) };
    let taken = quota::take(&host.repository, &client.name, quota, thing).await?;
    taken.map_err(|full| refuse(host, full))
}

/// Refuses a thing that has no room before it has come. Takes no place.
pub(super) async fn expect(host: &Host, client: &Client, thing: &Thing) -> Result<(), HttpError> {
    let Some(quota @ Quota { bytes: Some(_), .. }) = client.quota else { return Ok(()) };
    let room = quota::check(&host.repository, &client.name, quota, thing).await?;
    room.map_err(|full| refuse(host, full))
}

/// Gives the places back that anybody has taken for a thing which is gone.
pub(super) async fn give_back(host: &Host, thing: &Thing) -> Result<(), HttpError> {
    Ok(quota::free(&host.repository, thing).await?)
}

fn refuse(host: &Host, full: NoRoom) -> HttpError {
    host.observations.refused(Refused::Quota);
    full.into()
}
