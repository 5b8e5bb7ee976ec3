//! gRPC: the host behind `inference.GRPCInferenceService`, on a port of its own.
//!
//! Connections, TLS and clients are HTTP's; tonic has the framing of messages, status
//! and metadata. What a method does is in `methods`, and goes the same way as over HTTP.

mod methods;
mod status;
mod timeout;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use http::Request;
use leeway_protocol::grpc::SERVICE;
use prost::Message;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::access::{Client, Scope};
use crate::api;
use crate::error::HttpError;
use crate::host::Host;
use crate::stamp::Arrival;
use crate::traced::Begun;

/// All methods of a host.
pub(crate) fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route(&format!("/{SERVICE}/{{method}}"), post(dispatch))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(host)
}

/// A call of a method by a client that may make it.
#[derive(Clone)]
struct Call {
    host: Arc<Host>,
    /// Nobody, where a method is for everybody.
    client: Option<Arc<Client>>,
    /// When the request's head was here.
    arrival: Arrival,
    /// What the client has left, by `grpc-timeout`.
    timeout: Option<Duration>,
    /// The call's span, where there are any.
    begun: Option<Begun>,
}

impl Call {
    fn begin(
        host: &Arc<Host>,
        scope: Option<Scope>,
        request: &Request<Body>,
    ) -> Result<Self, HttpError> {
        let (arrival, begun) = (arrival(request), request.extensions().get().copied());
        let client = scope.map(|scope| api::admit(host, scope, request)).transpose()?;
        let timeout = timeout::of(request.headers()).map_err(HttpError::bad_request)?;
        Ok(Self { host: Arc::clone(host), client, arrival, timeout, begun })
    }
}

/// When a request's head was here.
fn arrival(request: &Request<Body>) -> Arrival {
    request.extensions().get().copied().unwrap_or_else(Arrival::now)
}

async fn dispatch(
    State(host): State<Arc<Host>>,
    Path(method): Path<String>,
    mut request: Request<Body>,
) -> Response {
    // Inferences have spans, and nothing else does.
    let begun = match &*method {
        "ModelInfer" => Begun::of(host.traces.as_ref(), request.headers(), arrival(&request).at),
        _ => None,
    };
    if let Some(begun) = begun {
        request.extensions_mut().insert(begun);
    }
    let mut response = answer(host, &method, request).await;
    if let Some(begun) = begun {
        begun.tell(response.headers_mut());
    }
    response
}

async fn answer(host: Arc<Host>, method: &str, request: Request<Body>) -> Response {
    let (infer, admin) = (Some(Scope::Infer), Some(Scope::Admin));
    match method {
        "ServerLive" => unary(host, None, request, methods::live).await,
        "ServerReady" => unary(host, None, request, methods::ready).await,
        "ServerMetadata" => unary(host, infer, request, methods::server).await,
        "ModelReady" => unary(host, infer, request, methods::model_ready).await,
        "ModelMetadata" => unary(host, infer, request, methods::model).await,
        "ModelConfig" => unary(host, infer, request, methods::config).await,
        "ModelInfer" => unary(host, infer, request, methods::infer).await,
        "ModelStatistics" => unary(host, infer, request, methods::statistics).await,
        "RepositoryIndex" => unary(host, infer, request, methods::index).await,
        "RepositoryModelLoad" => unary(host, admin, request, methods::load).await,
        "RepositoryModelUnload" => unary(host, admin, request, methods::unload).await,
        _ => unknown().await,
    }
}

async fn unknown() -> Response {
    let message = format!("there is no such method here, only some of {SERVICE}");
    Status::new(Code::Unimplemented, message).into_http()
}

struct Method<F>(F);

impl<Q, A, F, Answer> UnaryService<Q> for Method<F>
where
    F: FnMut(Q) -> Answer,
    Answer: Future<Output = Result<tonic::Response<A>, Status>>,
{
    type Response = A;
    type Future = Answer;

    fn call(&mut self, request: tonic::Request<Q>) -> Answer {
        (self.0)(request.into_inner())
    }
}

/// One message that is answered with one message.
async fn unary<Q, A, F>(
    host: Arc<Host>,
    scope: Option<Scope>,
    request: Request<Body>,
    method: impl Fn(Call, Q) -> F + Send + Sync,
) -> Response
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, HttpError>> + Send,
{
    let call = match Call::begin(&host, scope, &request) {
        Ok(call) => call,
        Err(refusal) => return Status::from(refusal).into_http(),
    };
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default())
        .max_decoding_message_size(host.config.max_request_bytes)
        .max_encoding_message_size(usize::MAX);
    let answer = Method(|message: Q| {
        let answer = method(call.clone(), message);
        async { answer.await.map(tonic::Response::new).map_err(Status::from) }
    });
    // What the message may take to arrive, and again to wait and run.
    let limit = host.config.request_time;
    match tokio::time::timeout(limit.saturating_mul(2), grpc.unary(answer, request)).await {
        Ok(response) => response.map(Body::new),
        Err(_) => Status::from(HttpError::too_slow(limit)).into_http(),
    }
}
