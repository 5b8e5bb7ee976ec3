//! The desired state: asked for, and replaced.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use http::StatusCode;
use leeway_deploy::desired::{DesiredState, DesiredStatus, Reconciler, WantError};
use serde::Deserialize;

use super::blocking;
use super::error::HttpError;

/// How far the device is with what it shall be.
pub(super) async fn get(State(reconciler): State<Arc<Reconciler>>) -> Json<DesiredStatus> {
    Json(reconciler.status())
}

#[derive(Deserialize)]
pub(super) struct How {
    /// Whether its generation may be lower.
    #[serde(default)]
    force: bool,
}

/// Takes a desired state, in TOML or JSON, in the place of an older one.
pub(super) async fn put(
    State(reconciler): State<Arc<Reconciler>>,
    Query(How { force }): Query<How>,
    body: Bytes,
) -> Result<(StatusCode, Json<DesiredStatus>), HttpError> {
    let status = blocking(move || {
        let state = DesiredState::parse(&body).map_err(WantError::from)?;
        reconciler.want(state, force)?;
        Ok::<_, WantError>(reconciler.status())
    });
    Ok((StatusCode::ACCEPTED, Json(status.await??)))
}
