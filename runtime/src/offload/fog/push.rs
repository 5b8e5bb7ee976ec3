//! Giving the fog host a module: asked for first, sent in parts where it is large, and
//! from where an earlier attempt was broken off.

use std::time::{Duration, Instant};

use leeway_contract::Digest;
use ureq::http;

use super::http::{HttpFog, SMALL_ANSWER_BYTES};
use super::{FogError, Pushed};

/// The most that is sent at a time: what a broken connection may cost.
const PART_BYTES: usize = 1 << 20;
/// How often the fog host may say that it wants another part, before it is given up.
const CORRECTIONS: u32 = 3;

const UPLOAD_OFFSET: &str = "Upload-Offset";

pub(super) fn push(
    fog: &HttpFog,
    digest: Digest,
    component: &[u8],
    limit: Duration,
) -> Result<Pushed, FogError> {
    let path = format!("/v1/modules/{digest}");
    let started = Instant::now();
    let left = || limit.saturating_sub(started.elapsed());
    let response = fog.head(&path, limit)?;
    let mut offset = match response.status() {
        status if status.is_success() => return Ok(Pushed::AlreadyThere),
        http::StatusCode::NOT_FOUND => offset(&response),
        _ => return Err(fog.refusal(response, limit)),
    };
    let mut corrections = 0;
    loop {
        // What the host has more than there is belongs to something else.
        let first = offset.filter(|&offset| offset < component.len()).unwrap_or(0);
        let end = component.len().min(first.saturating_add(PART_BYTES));
        let whole = (first, end) == (0, component.len());
        let range = (!whole).then(|| format!("bytes {first}-{}/{}", end - 1, component.len()));
        let response = fog.put(&path, range.as_deref(), &component[first..end], left())?;
        match response.status() {
            http::StatusCode::ACCEPTED => offset = Some(end),
            http::StatusCode::CONFLICT if corrections < CORRECTIONS => {
                corrections += 1;
                offset = self::offset(&response);
            }
            _ => {
                fog.read(response, SMALL_ANSWER_BYTES, limit)?;
                return Ok(Pushed::Sent);
            }
        }
    }
}

fn offset(response: &http::Response<ureq::Body>) -> Option<usize> {
    response.headers().get(UPLOAD_OFFSET)?.to_str().ok()?.parse().ok()
}
