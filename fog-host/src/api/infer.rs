//! Inference over HTTP: the body is read and decoded, the answer is encoded.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use leeway_contract::{Certificate, TensorSpec};
use leeway_protocol::{Answer, Encoded, HEADER_LENGTH, Parameters, Request};

use super::body::{self, BodyLimits};
use super::params::{ModelParams, Params};
use crate::access::Client;
use crate::error::HttpError;
use crate::host::Host;
use crate::inference::Inference;
use crate::stamp::Arrival;
use crate::traced::{Begun, Traced};

/// The room for one element of a tensor in JSON: its digits, a comma, and some
/// white space.
const JSON_ELEMENT_BYTES: usize = 64;
/// The room for everything in a request that is not data.
const JSON_HEAD_BYTES: usize = 64 << 10;
/// A body from this size on is decoded off the asynchronous threads.
const LARGE_BODY_BYTES: usize = 64 << 10;

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Runs a range of a model's stages.
pub(super) async fn infer(
    State(host): State<Arc<Host>>,
    Extension(client): Extension<Arc<Client>>,
    Extension(arrival): Extension<Arrival>,
    Params(params): Params<ModelParams>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, HttpError> {
    let target = match host.target(&params.name, params.version.as_deref()).await {
        Ok(target) => target,
        Err(refusal) => return Err(body::drain(&mut body, refusal).await),
    };
    let inference = Inference { host: &host, client: &client, target: &target, arrival };
    let begun = Begun::of(host.traces.as_ref(), &headers, arrival.at);
    let mut traced = host.traces.as_ref().zip(begun).map(|(to, begun)| Traced::new(to, begun));
    let respond = |answer: &Answer<'_>, request: &Request| {
        if let Some(traced) = &mut traced {
            traced.ran(answer);
        }
        respond(answer, request)
    };
    let mut result = inference.answer(read(&inference, &headers, body), respond).await;
    if let (Some(traced), Some(begun)) = (traced, begun) {
        let status = match &mut result {
            Ok(response) => {
                begun.tell(response.headers_mut());
                response.status()
            }
            Err(error) => error.status(),
        };
        let status = ("http.response.status_code", u64::from(status.as_u16()));
        traced.end(&target, status, result.as_ref().err());
    }
    result
}

async fn read(
    inference: &Inference<'_>,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Request, HttpError> {
    let Inference { host, target, .. } = inference;
    let head_bytes = match head_bytes(headers) {
        Ok(head_bytes) => head_bytes,
        Err(refusal) => return Err(body::drain(&mut body, refusal).await),
    };
    let bytes = largest_body(target.module.certificate()).min(host.config.max_request_bytes);
    let limits = BodyLimits { bytes, time: host.config.request_time };
    let body = body::read(headers, body, limits).await?;
    if let Some(parameters) = Parameters::at_end(&body, head_bytes) {
        inference.foresee(&parameters)?;
    }
    let decode = move |body: Bytes| Request::decode(&body, head_bytes);
    let request = if body.len() < LARGE_BODY_BYTES {
        decode(body)
    } else {
        // As many at a time as there are workers to run them.
        let _place = host.decoding.acquire().await.map_err(HttpError::internal)?;
        let decoded = tokio::task::spawn_blocking(move || decode(body)).await;
        decoded.map_err(HttpError::internal)?
    };
    request.map_err(HttpError::bad_request)
}

/// The length of the body's JSON part, where the request says that it has one.
fn head_bytes(headers: &HeaderMap) -> Result<Option<usize>, HttpError> {
    let mut values = headers.get_all(HEADER_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HttpError::bad_request(format!("the header {HEADER_LENGTH} is there twice")));
    }
    let length = leeway_protocol::parse_head_bytes(value.as_bytes());
    length.map(Some).map_err(HttpError::bad_request)
}

/// The largest body that can be a request for some stage of the model.
fn largest_body(certificate: &Certificate) -> usize {
    let one = |spec: &TensorSpec| {
        let json = spec.elements().and_then(|n| n.checked_mul(JSON_ELEMENT_BYTES));
        json.unwrap_or(usize::MAX)
    };
    let stage = |specs: &[TensorSpec]| specs.iter().map(one).fold(0, usize::saturating_add);
    let largest = certificate.stages.iter().map(|s| stage(&s.inputs)).max().unwrap_or_default();
    largest.saturating_add(JSON_HEAD_BYTES)
}

fn respond(answer: &Answer<'_>, request: &Request) -> Result<Response, HttpError> {
    let Encoded { body, head_bytes } = answer.encode(request).map_err(HttpError::bad_request)?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (queue, compute) = (millis(answer.queue), millis(answer.compute));
    let timing = format!("queue;dur={queue:.3}, compute;dur={compute:.3}");
    let content_type = match head_bytes {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    let headers = response.headers_mut();
    if let Some(length) = head_bytes {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    if let Ok(timing) = HeaderValue::try_from(timing) {
        headers.insert(SERVER_TIMING.clone(), timing);
    }
    Ok(response)
}
