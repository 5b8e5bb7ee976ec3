//! How the device is, and what an operator may change by one word.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use leeway_deploy::deployer::Rolled;

use super::error::HttpError;
use super::{Both, Shared, blocking};
use leeway_control::messages::{ModelStatus, Reason, Status};

pub(super) async fn status(State(both): State<Both>) -> Result<Json<Status>, HttpError> {
    Ok(Json(blocking(move || status_of(&both)).await?))
}

/// How the device is.
pub(crate) fn status_of(both: &Both) -> Status {
    let deployer = &both.deployer;
    let mut broken = deployer.broken();
    let mut models = BTreeMap::new();
    for (name, slots) in deployer.inspect(|state| state.models.clone()) {
        let model = deployer.serving().model(&name);
        let probation = model.as_ref().and_then(|model| model.probation_counts());
        let serving = model.map(|model| model.routing().primary.digest());
        let broken = broken.remove(&name);
        let calibration = deployer.calibration_status(&name);
        models.insert(name, ModelStatus { slots, serving, broken, probation, calibration });
    }
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        models,
        read_only: deployer.read_only(),
        store_bytes: deployer.store().used_bytes().ok(),
        quota_bytes: deployer.store().limits().quota_bytes,
        streams: deployer.stream_status(),
        conditions: deployer.conditions(),
        desired: Some(both.reconciler.status()).filter(|desired| desired.generation.is_some()),
        cut: false,
    }
}

fn words(reason: Option<Json<Reason>>) -> String {
    reason.and_then(|Json(reason)| reason.reason).unwrap_or_else(|| "asked for".into())
}

pub(super) async fn roll_back(
    State(deployer): State<Shared>,
    Path(name): Path<String>,
    reason: Option<Json<Reason>>,
) -> Result<Json<Rolled>, HttpError> {
    Ok(Json(blocking(move || deployer.roll_back(&name, &words(reason))).await??))
}

pub(super) async fn pin(
    State(both): State<Both>,
    Path(name): Path<String>,
    reason: Option<Json<Reason>>,
) -> Result<Json<Status>, HttpError> {
    pinned(both, name, true, words(reason)).await
}

pub(super) async fn unpin(
    State(both): State<Both>,
    Path(name): Path<String>,
    reason: Option<Json<Reason>>,
) -> Result<Json<Status>, HttpError> {
    pinned(both, name, false, words(reason)).await
}

async fn pinned(
    both: Both,
    name: String,
    pinned: bool,
    reason: String,
) -> Result<Json<Status>, HttpError> {
    let result = blocking(move || {
        both.deployer.pin(&name, pinned, &reason)?;
        Ok::<_, HttpError>(status_of(&both))
    });
    Ok(Json(result.await??))
}
