//! Pushing a module in parts, which goes on where it was broken off.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use leeway_contract::Digest;
use serde::Serialize;

use super::body::{self, BodyLimits, Chunks};
use crate::error::HttpError;
use crate::host::Host;
use crate::uploads::{ContentRange, UploadError, Writer};

/// As much is written to the disk at a time.
const WRITE_BYTES: usize = 1 << 20;

static UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// What a part has made of a module.
pub(super) enum Part {
    /// There are more to come; the answer says from where on.
    More(Response),
    /// All of it is here.
    Last(Bytes),
}

#[derive(Serialize)]
struct Begun {
    digest: Digest,
    /// The bytes that are here.
    offset: u64,
    /// The bytes that there will be.
    total: u64,
}

/// Takes a part.
pub(super) async fn take(
    host: &Arc<Host>,
    digest: Digest,
    range: &HeaderValue,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Part, HttpError> {
    let range = match parse(range, host.config.max_module_bytes) {
        Ok(range) => range,
        Err(refusal) => return Err(body::drain(&mut body, refusal).await),
    };
    let limits = BodyLimits { bytes: range.length() as usize, time: host.config.push_time };
    let chunks = Chunks::new(headers, body, limits).await?;
    let uploads = Arc::clone(&host.uploads);
    let begun = on_disk(move || uploads.begin(digest, range)).await;
    let writer = match begun {
        Ok(writer) => writer,
        Err(error) => {
            let refusal = chunks.refuse(refusal(error)).await;
            return Ok(Part::More(with_offset(host, digest, refusal.into_response())));
        }
    };
    let writer = match pour(chunks, writer).await {
        Ok(writer) => writer,
        Err(error) => {
            return Ok(Part::More(with_offset(host, digest, error.into_response())));
        }
    };
    let offset = host.uploads.offset(digest);
    if offset < range.total {
        let begun = Begun { digest, offset, total: range.total };
        let response = (StatusCode::ACCEPTED, Json(begun)).into_response();
        return Ok(Part::More(with_offset(host, digest, response)));
    }
    Ok(Part::Last(on_disk(move || writer.read()).await.map_err(refusal)?))
}

fn parse(range: &HeaderValue, most_bytes: usize) -> Result<ContentRange, HttpError> {
    let range = range.to_str().ok().and_then(ContentRange::parse).ok_or_else(|| {
        HttpError::bad_request("Content-Range must be \"bytes FIRST-LAST/TOTAL\"")
    })?;
    if range.total > most_bytes as u64 {
        return Err(HttpError::too_large(most_bytes));
    }
    Ok(range)
}

/// Writes what comes. What has come before a failure stays.
async fn pour(mut chunks: Chunks, mut writer: Writer) -> Result<Writer, HttpError> {
    let mut waiting = BytesMut::new();
    loop {
        let next = chunks.next().await;
        let (done, failed) = match next {
            Ok(Some(chunk)) => {
                waiting.extend_from_slice(&chunk);
                (false, None)
            }
            Ok(None) => (true, None),
            Err(error) => (true, Some(error)),
        };
        if done || waiting.len() >= WRITE_BYTES {
            let bytes = waiting.split().freeze();
            let written = on_disk(move || writer.write(&bytes).map(|()| writer)).await;
            match written {
                Ok(same) => writer = same,
                Err(error) => return Err(chunks.refuse(refusal(error)).await),
            }
        }
        match (done, failed) {
            (_, Some(error)) => return Err(error),
            (true, None) => return Ok(writer),
            (false, None) => {}
        }
    }
}

async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, UploadError> + Send + 'static,
) -> Result<R, UploadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(UploadError::Disk(std::io::Error::other(error))))
}

fn refusal(error: UploadError) -> HttpError {
    match error {
        UploadError::Offset { .. } | UploadError::Superseded => HttpError::conflict(error),
        UploadError::Full { .. } => HttpError::no_room(error),
        UploadError::Disk(_) => HttpError::internal(error),
    }
}

/// Says with an answer how much of a module is here.
pub(super) fn with_offset(host: &Host, digest: Digest, mut response: Response) -> Response {
    let offset = HeaderValue::from(host.uploads.offset(digest));
    response.headers_mut().insert(UPLOAD_OFFSET.clone(), offset);
    response
}
