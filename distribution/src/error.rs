//! What can go wrong on a module's way, in the words of who sends or fetches it.

use leeway_contract::{Digest, SectionError};
use oci_client::errors::{OciDistributionError, OciErrorCode};

/// A module that could not be sent or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// What is to be sent is no certified component.
    #[error(
        "not a module that devices accept: {0}; build it with `leeway build`, or give it a certificate with `leeway certify`"
    )]
    Component(#[from] SectionError),
    /// What is to be sent is no WebAssembly component.
    #[error("not a WebAssembly component: {0}")]
    Wasm(#[from] wasmparser::BinaryReaderError),
    /// What is there is something else.
    #[error("{what} is no module: {reason}")]
    NotAModule {
        /// The reference or file.
        what: String,
        /// What was seen, and what a module has.
        reason: String,
    },
    /// The bytes are not those that their name promises.
    #[error("{what} has another digest: wanted {wanted}, seen {seen}")]
    Digest {
        /// Which bytes.
        what: String,
        /// The digest that names them.
        wanted: Digest,
        /// The digest of what came.
        seen: Digest,
    },
    /// The bytes end too early, or go on for too long.
    #[error("{what} has another size: wanted {wanted} bytes, seen {seen}")]
    Size {
        /// Which bytes.
        what: String,
        /// The size that its descriptor promises.
        wanted: u64,
        /// The size of what came.
        seen: u64,
    },
    /// A signature that does not belong, or does not parse.
    #[error("{what}: {reason}")]
    Signature {
        /// Which signature or key.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The credentials for a registry cannot be read.
    #[error(
        "the credentials for {host} cannot be read: {reason}; mend Docker's config.json, or log in again"
    )]
    Credentials {
        /// The registry's host.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry refused, or could not be reached.
    #[error("{what}: {}", chain(.source))]
    Registry {
        /// What was asked for.
        what: String,
        /// What the registry, or the way to it, said.
        source: Box<OciDistributionError>,
    },
    /// A file that cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// The file.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// An error and its causes: a client's own text often says only that a request
/// failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl DistributionError {
    pub(crate) fn registry(what: impl ToString) -> impl FnOnce(OciDistributionError) -> Self {
        let what = what.to_string();
        move |source| Self::Registry { what, source: Box::new(source) }
    }

    pub(crate) fn io(what: impl ToString) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn not_a_module(what: impl ToString, reason: impl Into<String>) -> Self {
        Self::NotAModule { what: what.to_string(), reason: reason.into() }
    }

    pub(crate) fn signature(what: impl ToString, reason: impl ToString) -> Self {
        Self::Signature { what: what.to_string(), reason: reason.to_string() }
    }

    /// Whether the registry has no such manifest or repository.
    pub(crate) fn is_not_found(&self) -> bool {
        let Self::Registry { source, .. } = self else { return false };
        match &**source {
            OciDistributionError::ImageManifestNotFoundError(_) => true,
            OciDistributionError::ServerError { code, .. } => *code == 404,
            OciDistributionError::RegistryError { envelope, .. } => {
                envelope.errors.iter().any(|error| {
                    matches!(
                        error.code,
                        OciErrorCode::ManifestUnknown
                            | OciErrorCode::NameUnknown
                            | OciErrorCode::NotFound
                    )
                })
            }
            _ => false,
        }
    }

    /// Whether trying again may help: the connection broke, or the registry is busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry { source, .. } => match &**source {
                OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => true,
                OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
                _ => false,
            },
            Self::Size { wanted, seen, .. } => seen < wanted,
            _ => false,
        }
    }
}
