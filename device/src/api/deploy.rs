//! A deployment, told line by line. It goes on where the client goes away.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use leeway_deploy::transaction::{Cancel, Request};
use tokio::sync::mpsc::unbounded_channel;

use super::Shared;
use super::stream::{Lines, send};
use leeway_control::messages::{DeployEvent, DeployRequest, Refused};

pub(super) async fn deploy(
    State(deployer): State<Shared>,
    Json(request): Json<DeployRequest>,
) -> Response {
    let (sender, receiver) = unbounded_channel();
    tokio::task::spawn_blocking(move || {
        let mut asked = Request::new(request.digest);
        asked.model = request.model;
        asked.envelope = request.signature.map(String::into_bytes);
        asked.allow_older = request.allow_older;
        asked.settings = request.settings;
        asked.reason = request.reason.unwrap_or(asked.reason);
        let progress = |progress| send(&sender, &DeployEvent::Progress(progress));
        let event = match deployer.deploy(&asked, None, &Cancel::default(), &progress) {
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
