//! Inference: the request is read and decoded, a worker runs it, the answer is
//! encoded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use leeway_contract::{Certificate, TensorSpec};
use leeway_protocol::{Answer, HEADER_LENGTH, Request};

use super::body::{self, BodyLimits};
use super::params::{ModelParams, Params};
use crate::error::HttpError;
use crate::host::{Host, Target};
use crate::pool::{Done, Job};

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
    Params(params): Params<ModelParams>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, HttpError> {
    let target = match host.target(&params.name, params.version.as_deref()).await {
        Ok(target) => target,
        Err(refusal) => return Err(body::drain(&mut body, refusal).await),
    };
    let mut request = read(&host, &target, &headers, body).await?;
    let job = job(&mut request, &target, host.config.request_time)?;
    let range = job.range.clone();
    let answer = host.pool.submit(job)?;
    let done = match answer.await {
        Ok(done) => done?,
        Err(_) => return Err(HttpError::unavailable("shutting down", Duration::from_secs(1))),
    };
    let outputs = &target.module.certificate().stages[*range.end() as usize].outputs;
    respond(&target, &request, outputs, &done)
}

async fn read(
    host: &Host,
    target: &Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Request, HttpError> {
    let bytes = largest_body(target.module.certificate()).min(host.config.max_request_bytes);
    let limits = BodyLimits { bytes, time: host.config.request_time };
    let body = body::read(headers, body, limits).await?;
    let head_bytes = head_bytes(headers)?;
    let decode = move |body: Bytes| Request::decode(&body, head_bytes);
    let request = if body.len() < LARGE_BODY_BYTES {
        decode(body)
    } else {
        let decoded = tokio::task::spawn_blocking(move || decode(body)).await;
        decoded.map_err(HttpError::internal)?
    };
    request.map_err(HttpError::bad_request)
}

/// The length of the body's JSON part, where the request says that it has one.
fn head_bytes(headers: &HeaderMap) -> Result<Option<usize>, HttpError> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
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

/// The job that the request asks for, checked against the certificate before it
/// takes a place in the queue.
fn job(request: &mut Request, target: &Target, time: Duration) -> Result<Job, HttpError> {
    let module = target.module.clone();
    let range = request.range(module.certificate()).map_err(HttpError::bad_request)?;
    let stages = &module.certificate().stages;
    let inputs = request.take_inputs(&stages[*range.start() as usize].inputs);
    let inputs = inputs.map_err(HttpError::bad_request)?;
    let outputs = request.check_outputs(&stages[*range.end() as usize].outputs);
    outputs.map_err(HttpError::bad_request)?;
    Ok(Job { module, range, inputs, time })
}

fn respond(
    target: &Target,
    request: &Request,
    specs: &[TensorSpec],
    done: &Done,
) -> Result<Response, HttpError> {
    let answer = Answer {
        model_name: &target.name,
        model_version: &target.version,
        digest: target.module.digest(),
        fuel: done.execution.fuel,
        queue: done.queue,
        compute: done.execution.elapsed,
        specs,
        outputs: &done.execution.outputs,
        labels: target.module.certificate().labels.as_deref(),
    };
    let answer = answer.encode(request).map_err(HttpError::bad_request)?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (queue, compute) = (millis(done.queue), millis(done.execution.elapsed));
    let timing = format!("queue;dur={queue:.3}, compute;dur={compute:.3}");
    let content_type = match answer.head_bytes {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let mut response = ([(header::CONTENT_TYPE, content_type)], answer.body).into_response();
    let headers = response.headers_mut();
    if let Some(length) = answer.head_bytes {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    if let Ok(timing) = HeaderValue::try_from(timing) {
        headers.insert(SERVER_TIMING.clone(), timing);
    }
    Ok(response)
}
