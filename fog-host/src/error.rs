//! The one error of all routes.
//!
//! Its goals: each error becomes the protocol's `{"error": "..."}` with a status
//! that a client can act on; what the client did wrong is said so that it can be
//! put right; what went wrong in here is told to the log in full, and to the
//! client only in so far as it concerns it.

use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use leeway_contract::Digest;
use leeway_deploy::transaction::{Refusal, Step};
use leeway_protocol::ErrorObject;
use leeway_runtime::sandbox::RunError;

use crate::access::Scope;
use crate::catalog::{ModelName, Older};
use crate::clients::TooMany;
use crate::modules::LoadFailure;
use crate::pool::{JobError, SubmitError};
use crate::quota::NoRoom;
use crate::repository::RepositoryError;

/// What the client was told, with its answer: for whoever else wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub(crate) String);

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(crate) struct HttpError {
    status: StatusCode,
    /// For the client.
    message: String,
    /// For the log, where it is more than the client's message.
    detail: Option<String>,
    retry_after: Option<Duration>,
}

impl HttpError {
    fn new(status: StatusCode, message: impl Display) -> Self {
        Self { status, message: message.to_string(), detail: None, retry_after: None }
    }

    /// 400: the request is wrong in itself.
    pub(crate) fn bad_request(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: there is no such thing here.
    pub(crate) fn not_found(message: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 405: the path has other methods.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not have this method")
    }

    /// 408: the request took too long to arrive.
    pub(crate) fn too_slow(limit: Duration) -> Self {
        let message = format!("the request did not arrive within {limit:?}");
        Self::new(StatusCode::REQUEST_TIMEOUT, message)
    }

    /// 409: what is there forbids it.
    pub(crate) fn conflict(message: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 409: the name stood for a newer release.
    pub(crate) fn older(name: &ModelName, older: Older) -> Self {
        let Older { highest, seen } = older;
        Self::conflict(format!(
            "refused: release {seen} of {name} is older than release {highest}, which was active \
             here: an operator can allow it once (\"allow_older\": true)"
        ))
    }

    /// 401: nobody knows who asks.
    pub(crate) fn unauthenticated() -> Self {
        let message = "this host wants to know who asks: send \"Authorization: Bearer TOKEN\"";
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: who asks may not do that.
    pub(crate) fn forbidden(client: &str, scope: Scope) -> Self {
        let scope = scope.name();
        Self::new(StatusCode::FORBIDDEN, format!("{client} has not the scope {scope:?}"))
    }

    /// Its status over HTTP.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether there is no such thing here.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// After which time another try may be worth it.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Tells the log.
    pub(crate) fn log(&self) {
        let (status, detail) = (self.status, self.detail.as_ref().unwrap_or(&self.message));
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(status = status.as_u16(), detail, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), detail, "request refused");
        }
    }

    /// Whether another try later may be answered.
    pub(crate) fn is_temporary(&self) -> bool {
        self.retry_after.is_some()
    }

    /// 507: the disk has no room for it, or the client has kept all that it may.
    pub(crate) fn no_room(message: impl Display) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, message)
    }

    /// What the client is told.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// 413: the body is too large.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the body has more than the {limit_bytes} bytes allowed here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 503: not now; try again after the time given.
    pub(crate) fn unavailable(message: impl Display, retry_after: Duration) -> Self {
        let retry_after = Some(retry_after);
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// 500: something failed in here that is none of the client's business.
    pub(crate) fn internal(detail: impl Display) -> Self {
        let detail = Some(detail.to_string());
        Self {
            detail,
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error, see the log")
        }
    }

    /// A pushed module that does not load: 400 where the bytes are not those that
    /// were named, 403 where nobody who is trusted has signed it, 422 where it does
    /// not keep the contract.
    pub(crate) fn refused_module(error: LoadFailure) -> Self {
        let status = match &error {
            LoadFailure::Stopped => return Self::internal(error),
            LoadFailure::Refused(_) if error.is_of_bytes() => StatusCode::BAD_REQUEST,
            LoadFailure::Refused(Refusal { step: Step::Signature, .. }) => StatusCode::FORBIDDEN,
            // What is wrong is wrong with this host.
            LoadFailure::Refused(Refusal { cause, .. }) if cause.is_transient() => {
                return Self::internal(error);
            }
            LoadFailure::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, format!("refused: {error}"))
    }

    /// A module that was accepted once and does not load now.
    pub(crate) fn broken_module(digest: Digest, error: LoadFailure) -> Self {
        if let LoadFailure::Refused(Refusal { step: Step::Signature, .. }) = &error {
            return Self::refused_module(error);
        }
        let message = match &error {
            LoadFailure::Refused(Refusal { step, .. }) => {
                format!("the stored module {digest} is refused by the step {step}, see the log")
            }
            _ => format!("the stored module {digest} does not load, see the log"),
        };
        let detail = Some(format!("the stored module {digest} does not load: {error}"));
        Self { detail, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, message) }
    }
}

impl From<SubmitError> for HttpError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full { retry_after, .. } | SubmitError::Late { retry_after, .. } => {
                Self::unavailable(error, retry_after)
            }
            SubmitError::Stopped => Self::unavailable(error, Duration::from_secs(1)),
        }
    }
}

impl From<NoRoom> for HttpError {
    fn from(full: NoRoom) -> Self {
        match full {
            NoRoom::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, full),
            NoRoom::Bytes { .. } | NoRoom::Names { .. } => Self::no_room(full),
        }
    }
}

impl From<TooMany> for HttpError {
    fn from(error: TooMany) -> Self {
        let wait = match error {
            TooMany::Rate { retry_after, .. } => retry_after,
            TooMany::Concurrent { .. } => Duration::from_secs(1),
        };
        let retry_after = Some(wait);
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, error) }
    }
}

impl From<JobError> for HttpError {
    fn from(error: JobError) -> Self {
        match &error {
            JobError::TimedOut { .. } | JobError::Run(RunError::DeadlinePassed { .. }) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, error)
            }
            JobError::Run(
                RunError::InvalidRange { .. } | RunError::InputCount { .. } | RunError::Input(_),
            ) => Self::bad_request(error),
            JobError::Run(RunError::Trap { message, .. }) => {
                let message = format!("the model trapped: {message}");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self { detail: Some(error.to_string()), ..Self::new(status, message) }
            }
            JobError::Run(
                RunError::OutOfFuel { .. }
                | RunError::Guest(_)
                | RunError::OutputCount { .. }
                | RunError::Output(_),
            ) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error),
            _ => Self::internal(error),
        }
    }
}

impl From<RepositoryError> for HttpError {
    fn from(error: RepositoryError) -> Self {
        match error {
            RepositoryError::Contended { .. } | RepositoryError::Stopped => {
                Self::unavailable(error, Duration::from_secs(1))
            }
            error => Self::internal(error),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        self.log();
        let Self { status, message, retry_after, .. } = self;
        let object = ErrorObject { error: message };
        let mut response = (status, Json(&object)).into_response();
        response.extensions_mut().insert(Told(object.error));
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
