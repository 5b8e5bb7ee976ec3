//! The one error of all routes: the protocol's `{"error": "..."}` with a status
//! that a client can act on. Who reaches the agent may know what is wrong with it.

use std::fmt::Display;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use leeway_deploy::deployer::RollBackError;
use leeway_deploy::desired::{OriginError, WantError};
use leeway_deploy::serving::{Fault, ServeError};
use leeway_deploy::state::StateError;
use leeway_deploy::store::StoreError;
use leeway_protocol::{ErrorObject, ProtocolError};

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(super) struct HttpError {
    status: StatusCode,
    message: String,
}

impl HttpError {
    pub(super) fn new(status: StatusCode, message: impl Display) -> Self {
        Self { status, message: message.to_string() }
    }

    pub(super) fn not_found(message: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn bad_request(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let Self { status, message } = self;
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), message, "request failed");
        }
        (status, Json(ErrorObject { error: message })).into_response()
    }
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            _ if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            StoreError::Digest { .. } | StoreError::Truncated { .. } => StatusCode::BAD_REQUEST,
            StoreError::Missing { .. } => StatusCode::NOT_FOUND,
            StoreError::TakenOver { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<ServeError> for HttpError {
    fn from(error: ServeError) -> Self {
        let status = match &error {
            ServeError::NoModel { .. } => StatusCode::NOT_FOUND,
            ServeError::WhichStream { .. } | ServeError::NoStream { .. } => StatusCode::BAD_REQUEST,
            ServeError::Run { source, .. } => match source.fault() {
                Fault::Input => StatusCode::BAD_REQUEST,
                Fault::Shed => StatusCode::TOO_MANY_REQUESTS,
                Fault::SetAside | Fault::Superseded => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<RollBackError> for HttpError {
    fn from(error: RollBackError) -> Self {
        let status = match &error {
            RollBackError::NoModel(_) => StatusCode::NOT_FOUND,
            RollBackError::Slots(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<StateError> for HttpError {
    fn from(error: StateError) -> Self {
        let status = match &error {
            StateError::Slots(_) => StatusCode::CONFLICT,
            _ if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<WantError> for HttpError {
    fn from(error: WantError) -> Self {
        match error {
            WantError::State(error) => error.into(),
            WantError::Desired(_) => Self::bad_request(error),
            _ => Self::new(StatusCode::CONFLICT, error),
        }
    }
}

impl From<OriginError> for HttpError {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Unknown { .. } => Self::bad_request(error),
            _ => Self::new(StatusCode::BAD_GATEWAY, error),
        }
    }
}

impl From<ProtocolError> for HttpError {
    fn from(error: ProtocolError) -> Self {
        Self::bad_request(error)
    }
}
