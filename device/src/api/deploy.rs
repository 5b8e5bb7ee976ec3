//! A deployment, told line by line. It goes on where the client goes away, until it is
//! cancelled.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use leeway_contract::Digest;
use leeway_deploy::Deployer;
use leeway_deploy::desired::{DesiredModel, Reconciler};
use leeway_deploy::transaction::{Cancel, Cause, Progress, Refusal, Request, Source, Step};
use tokio::sync::mpsc::unbounded_channel;

use super::Shared;
use super::error::HttpError;
use super::stream::{Lines, send};
use leeway_control::messages::{Cancelled, DeployEvent, DeployRequest, Refused};

pub(super) async fn deploy(
    State(deployer): State<Shared>,
    State(reconciler): State<Arc<Reconciler>>,
    Json(request): Json<DeployRequest>,
) -> Response {
    let (sender, receiver) = unbounded_channel();
    tokio::task::spawn_blocking(move || {
        let progress = |progress| send(&sender, &DeployEvent::Progress(progress));
        let event = match bring(&deployer, &reconciler, request, &progress) {
            Ok(deployed) => DeployEvent::Deployed(deployed),
            Err(refusal) => DeployEvent::Refused(Refused {
                step: refusal.step,
                reason: refusal.cause.to_string(),
                transient: refusal.cause.is_transient(),
            }),
        };
        send(&sender, &event);
    });
    let body = Body::new(Lines(receiver));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn bring(
    deployer: &Deployer,
    reconciler: &Reconciler,
    request: DeployRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<leeway_deploy::Deployed, Refusal> {
    let (digest, cancel) = (request.digest, Cancel::default());
    let mut asked = Request::new(digest);
    asked.envelope = request.signature.map(String::into_bytes);
    asked.allow_older = request.allow_older;
    asked.recalibrate = request.recalibrate;
    asked.settings = request.settings;
    asked.reason = request.reason.unwrap_or(asked.reason);
    let mut source = None;
    if let Some(place) = &request.source {
        let name = request.model.clone().unwrap_or_default();
        let wanted = DesiredModel { name, digest: Some(digest), ..DesiredModel::default() };
        let found = reconciler.origin().resolve(place, &wanted, &cancel).map_err(|error| {
            let cause = Box::new(Cause::Source(std::io::Error::other(error)));
            Refusal { digest, step: Step::Fetch, cause }
        })?;
        if asked.envelope.is_none() {
            let mut envelopes = found.envelopes.into_iter();
            asked.envelope = envelopes.next();
            asked.other_envelopes = envelopes.collect();
        }
        source = Some(found.source);
    }
    asked.model = request.model;
    let source = source.as_mut().map(|source| &mut **source as &mut (dyn Source + Send));
    deployer.deploy(&asked, source, &cancel, progress)
}

/// Asks the deployments of a module to stop.
pub(super) async fn cancel(
    State(deployer): State<Shared>,
    Path(digest): Path<String>,
) -> Result<Json<Cancelled>, HttpError> {
    let digest: Digest = digest.parse().map_err(HttpError::bad_request)?;
    match deployer.cancel(digest) {
        0 => Err(HttpError::not_found(format!("no deployment of {digest} is under way"))),
        deployments => Ok(Json(Cancelled { deployments })),
    }
}
