//! The variable parts of a path, with errors in the protocol's form.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::HttpError;

/// Like axum's `Path`; what cannot be decoded is a 400 in JSON.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(rejection) => Err(HttpError::bad_request(rejection.body_text())),
        }
    }
}

/// A model in the protocol's paths.
#[derive(Deserialize)]
pub(super) struct ModelParams {
    /// A name or a digest.
    pub(super) name: String,
    /// Where the path has one.
    pub(super) version: Option<String>,
}
