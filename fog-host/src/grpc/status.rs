//! HTTP's errors as gRPC's status.

use http::{HeaderValue, StatusCode};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::error::HttpError;

/// After so many milliseconds another try may be worth it (gRPC's proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// gRPC's word for a status of HTTP.
pub(super) fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Code::FailedPrecondition,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    }
}

impl From<HttpError> for Status {
    fn from(error: HttpError) -> Self {
        error.log();
        let mut metadata = MetadataMap::new();
        if let Some(wait) = error.retry_after() {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let mut headers = metadata.into_headers();
            headers.insert(PUSHBACK, HeaderValue::from(millis));
            metadata = MetadataMap::from_headers(headers);
        }
        Status::with_metadata(code(error.status()), error.message(), metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refusal_keeps_its_words_and_its_wait() {
        let status = Status::from(HttpError::unavailable("full", Duration::from_millis(1500)));
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "full"));
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "1500");
        let status = Status::from(HttpError::internal("a secret"));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"), "{status}");
    }
}
