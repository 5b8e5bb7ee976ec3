//! Modules that are sent to the device. A client that was interrupted asks how
//! much is here, and goes on from there.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use leeway_contract::Digest;
use leeway_deploy::store::StoreError;
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, channel};

use super::error::HttpError;
use super::{Shared, blocking};
use leeway_control::messages::Sent;

fn digest(text: &str) -> Result<Digest, HttpError> {
    text.parse().map_err(HttpError::bad_request)
}

/// How much of a module is here.
pub(super) async fn sent(
    State(deployer): State<Shared>,
    Path(wanted): Path<String>,
) -> Result<Json<Sent>, HttpError> {
    let digest = digest(&wanted)?;
    let sent = blocking(move || -> Result<Sent, StoreError> {
        if let Some((_, bytes)) =
            deployer.store().modules()?.into_iter().find(|(d, _)| *d == digest)
        {
            return Ok(Sent { bytes, whole: true });
        }
        let bytes = deployer.store().begun_bytes(digest)?;
        Ok(Sent { bytes, whole: false })
    });
    Ok(Json(sent.await??))
}

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    from: u64,
}

/// The longest that a client may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Chunks on their way from the network to the disk.
const CHUNKS: usize = 8;

/// Takes a module, or the rest of one: `?from=` says where the body begins.
pub(super) async fn put(
    State(deployer): State<Shared>,
    Path(wanted): Path<String>,
    Query(From { from }): Query<From>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<StatusCode, HttpError> {
    let digest = digest(&wanted)?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let total = length.and_then(|length| length.parse::<u64>().ok());
    let total = total.map(|length| length.saturating_add(from));
    let (sender, receiver) = channel(CHUNKS);
    let taken = blocking(move || take(&deployer, digest, from, total, receiver));
    let taken = tokio::spawn(taken);
    let mut broken = None;
    loop {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        // Nobody is at the other end any more: its thread is wanted for others.
        let frame = tokio::select! {
            frame = tokio::time::timeout(SILENCE, frame) => frame,
            // Nobody takes more: it was refused.
            () = sender.closed() => break,
        };
        let Ok(frame) = frame else { break };
        match frame {
            Some(Ok(frame)) => {
                let chunk = frame.into_data().unwrap_or_default();
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
            Some(Err(error)) => {
                broken = Some(error);
                break;
            }
            None => break,
        }
    }
    drop(sender);
    let result = taken.await.map_err(HttpError::bad_request)??;
    match (result, broken) {
        (Err(HttpOr::Store(StoreError::Truncated { .. })), Some(error)) => {
            Err(HttpError::bad_request(format!("the module did not arrive whole: {error}")))
        }
        (Err(HttpOr::Store(error)), _) => Err(error.into()),
        (Err(HttpOr::Http(error)), _) => Err(error),
        (Ok(()), _) => Ok(StatusCode::CREATED),
    }
}

enum HttpOr {
    Store(StoreError),
    Http(HttpError),
}

fn take(
    deployer: &Shared,
    digest: Digest,
    from: u64,
    total: Option<u64>,
    mut chunks: Receiver<Bytes>,
) -> Result<(), HttpOr> {
    let keep = deployer.keep();
    let begin = || deployer.store().upload(digest, total, &keep);
    let mut upload = begin().map_err(|error| noted(deployer, error))?;
    if upload.offset() != from && from == 0 {
        upload.discard().map_err(HttpOr::Store)?;
        upload = begin().map_err(|error| noted(deployer, error))?;
    }
    if upload.offset() != from {
        let here = upload.offset();
        let message = format!("{here} bytes are here, the body begins at {from}");
        return Err(HttpOr::Http(HttpError::new(StatusCode::CONFLICT, message)));
    }
    while let Some(chunk) = chunks.blocking_recv() {
        upload.write(&chunk).map_err(|error| noted(deployer, error))?;
    }
    let seen = upload.offset();
    if let Some(wanted) = total.filter(|&total| seen < total) {
        return Err(HttpOr::Store(StoreError::Truncated { digest, wanted, seen }));
    }
    deployer.hold(digest);
    upload.finish().map_err(|error| noted(deployer, error))
}

/// Whoever asks how the device is hears of a disk that is full.
fn noted(deployer: &Shared, error: StoreError) -> HttpOr {
    deployer.note_full(&error);
    HttpOr::Store(error)
}
