//! Reading a request's body, within a size and a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use tokio::time::Instant;

use crate::error::HttpError;

/// How much of a refused request's body is read all the same, and for how long:
/// a client that is still sending sees its connection break before it sees the
/// answer.
const DRAINED: BodyLimits = BodyLimits { bytes: 4 << 20, time: Duration::from_secs(1) };

/// What a body may be.
#[derive(Clone, Copy)]
pub(super) struct BodyLimits {
    /// The most bytes.
    pub(super) bytes: usize,
    /// The longest that it may take to arrive.
    pub(super) time: Duration,
}

/// Reads and drops what a client is still sending with a request that is refused
/// already, and passes the refusal on.
pub(super) async fn drain(body: &mut Body, refusal: HttpError) -> HttpError {
    let mut left = DRAINED.bytes;
    let chunks = async {
        while let Some(Ok(chunk)) = next_chunk(body).await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // What is left after that time, the connection is closed on.
    let _ = tokio::time::timeout(DRAINED.time, chunks).await;
    refusal
}

/// The next data; what is no data counts as empty.
async fn next_chunk(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Refuses a body that says of itself that it is too large or encoded.
fn check_headers(headers: &HeaderMap, limits: BodyLimits) -> Result<(), HttpError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits.bytes as u64) {
        return Err(HttpError::too_large(limits.bytes));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(HttpError::bad_request("encoded bodies are not accepted, wanted identity"))
        }
        _ => Ok(()),
    }
}

/// The whole body.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Bytes, HttpError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let collect = for_each_chunk(headers, body, limits, |chunk| {
        if first.is_empty() && all.is_empty() {
            // Often the only one: then nothing is copied.
            first = chunk;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&chunk);
        }
    });
    collect.await?;
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Hands over the body chunk by chunk, and returns its length in bytes.
pub(super) async fn for_each_chunk(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    mut take: impl FnMut(Bytes),
) -> Result<usize, HttpError> {
    let mut chunks = Chunks::new(headers, body, limits).await?;
    while let Some(chunk) = chunks.next().await? {
        take(chunk);
    }
    Ok(chunks.length)
}

/// A body that is read chunk by chunk.
pub(super) struct Chunks {
    body: Body,
    limits: BodyLimits,
    until: Instant,
    length: usize,
}

impl Chunks {
    /// Refuses a body that says of itself that it breaks the limits.
    pub(super) async fn new(
        headers: &HeaderMap,
        mut body: Body,
        limits: BodyLimits,
    ) -> Result<Self, HttpError> {
        if let Err(refusal) = check_headers(headers, limits) {
            return Err(drain(&mut body, refusal).await);
        }
        let until = Instant::now() + limits.time;
        Ok(Self { body, limits, until, length: 0 })
    }

    /// The next chunk; `None` at the body's end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Self { body, limits, until, length } = self;
        let chunk = tokio::time::timeout_at(*until, next_chunk(body)).await;
        let chunk = match chunk.map_err(|_| HttpError::too_slow(limits.time))? {
            None => return Ok(None),
            Some(chunk) => chunk.map_err(|error| {
                HttpError::bad_request(format!("the body did not arrive whole: {error}"))
            })?,
        };
        *length = length.saturating_add(chunk.len());
        if *length > limits.bytes {
            return Err(drain(body, HttpError::too_large(limits.bytes)).await);
        }
        Ok(Some(chunk))
    }

    /// Reads and drops what is still coming, and passes a refusal on.
    pub(super) async fn refuse(mut self, refusal: HttpError) -> HttpError {
        drain(&mut self.body, refusal).await
    }
}
