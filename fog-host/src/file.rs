//! Files of settings, such as clients and trusted keys, and what is wrong with one.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its content is wrong.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl FileError {
    /// A file whose content is wrong for this reason.
    pub(crate) fn content(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A file's text.
pub(crate) fn text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// What a file of TOML says.
pub(crate) fn toml<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    ::toml::from_str(&text(path)?).map_err(|error| FileError::content(path, error))
}
