//! Inference for local programs, by the Open Inference Protocol v2. Where there is
//! an offloader, the header `leeway-decision` has what it decided, and why.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use leeway_deploy::serving::{Answer as Served, Version};
use leeway_protocol::metadata::{Live, ModelMetadata, ModelReady, Ready, ServerMetadata};
use leeway_protocol::{Answer, HEADER_LENGTH, Request};
use std::sync::Arc;

use super::error::HttpError;
use super::{Shared, blocking};

static DECISION: HeaderName = HeaderName::from_static("leeway-decision");

pub(super) async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata {
        name: "leeway-device".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: vec!["binary_tensor_data".into(), "classification".into()],
    })
}

pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// Ready: every model that should serve does.
pub(super) async fn ready(State(deployer): State<Shared>) -> (StatusCode, Json<Ready>) {
    let ready = deployer.broken().is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready }))
}

fn version(deployer: &Shared, name: &str) -> Result<Arc<Version>, HttpError> {
    match deployer.serving().model(name) {
        Some(model) => Ok(Arc::clone(&model.routing().primary)),
        None => {
            let known = deployer.serving().names();
            Err(HttpError::not_found(format!("no model {name:?} serves here; there are {known:?}")))
        }
    }
}

pub(super) async fn model_ready(
    State(deployer): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<ModelReady>, HttpError> {
    version(&deployer, &name)?;
    Ok(Json(ModelReady { name, ready: true }))
}

pub(super) async fn metadata(
    State(deployer): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<ModelMetadata>, HttpError> {
    let version = version(&deployer, &name)?;
    let versions = vec![version.release.version.clone()];
    let certificate = version.module.certificate();
    Ok(Json(ModelMetadata::new(name, versions, version.digest(), certificate)))
}

pub(super) async fn infer(
    State(deployer): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, HttpError> {
    let head_bytes = headers.get(HEADER_LENGTH);
    let head_bytes = head_bytes.map(|v| leeway_protocol::parse_head_bytes(v.as_bytes()));
    let head_bytes = head_bytes.transpose()?;
    blocking(move || answer(&deployer, &name, &body, head_bytes)).await?
}

fn answer(
    deployer: &Shared,
    name: &str,
    body: &[u8],
    head_bytes: Option<usize>,
) -> Result<Response, HttpError> {
    let version = version(deployer, name)?;
    let certificate = version.module.certificate();
    let mut request = Request::decode(body, head_bytes)?;
    let whole = 0..=certificate.last_stage();
    if request.parameters.range(certificate)? != whole {
        return Err(HttpError::bad_request("the device runs whole models, not ranges of stages"));
    }
    request.check_outputs(certificate.outputs())?;
    let inputs = request.take_inputs(certificate.inputs())?;
    let served = deployer.infer_on(name, request.parameters.stream.as_deref(), inputs)?;
    encode(name, &version, &request, &served)
}

fn encode(
    name: &str,
    version: &Version,
    request: &Request,
    served: &Served,
) -> Result<Response, HttpError> {
    let certificate = version.module.certificate();
    let ran = &served.ran;
    let local = ran.local.unwrap_or_default();
    let encoded = Answer {
        model_name: name,
        model_version: &served.version,
        digest: served.digest,
        fuel: ran.fuel,
        queue: ran.elapsed.saturating_sub(local),
        compute: local,
        specs: certificate.outputs(),
        outputs: &ran.outputs,
        labels: certificate.labels.as_deref(),
    }
    .encode(request)?;
    let kind = match encoded.head_bytes {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let mut response = ([(header::CONTENT_TYPE, kind)], encoded.body).into_response();
    let head = response.headers_mut();
    if let Some(bytes) = encoded.head_bytes {
        head.insert(HEADER_LENGTH, HeaderValue::from(bytes));
    }
    let decision = ran.decision.as_ref().and_then(|decision| serde_json::to_string(decision).ok());
    if let Some(value) = decision.and_then(|json| HeaderValue::from_str(&json).ok()) {
        head.insert(&DECISION, value);
    }
    Ok(response)
}
