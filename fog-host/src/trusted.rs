//! Whose modules are taken: the file of trusted keys, TOML, with the rules of a
//! device's `[trust]`.
//!
//! ```toml
//! threshold = 1                       # how many keys must have signed
//! allow_unsigned = false
//! revoked_keys = []                   # as `leeway keygen` names them
//! revoked_modules = []
//! [[key]]
//! name = "release"
//! file = "release.pub.pem"            # beside this file
//! expires = 1830000000                # seconds since 1970; optional
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use leeway_contract::Digest;
use leeway_deploy::trust::{KeyError, KeyId, PublicKey, Trust, TrustedKey};
use serde::Deserialize;

/// A file of trusted keys that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustFileError {
    /// It, or a key's file, cannot be read.
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
    /// A key is none.
    #[error("{}: {source}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    threshold: usize,
    allow_unsigned: bool,
    revoked_keys: BTreeSet<KeyId>,
    revoked_modules: BTreeSet<Digest>,
    key: Vec<Key>,
}

impl Default for Document {
    fn default() -> Self {
        let Trust { threshold, allow_unsigned, revoked_keys, revoked_modules, .. } =
            Trust::default();
        Self { threshold, allow_unsigned, revoked_keys, revoked_modules, key: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    file: PathBuf,
    expires: Option<u64>,
}

/// Reads the file and those of its keys. Without a file every module is taken.
pub(crate) fn read(path: Option<&Path>) -> Result<Trust, TrustFileError> {
    let Some(path) = path else {
        return Ok(Trust { allow_unsigned: true, ..Trust::default() });
    };
    let document: Document = toml::from_str(&text(path)?).map_err(|error| {
        TrustFileError::Content { path: path.to_owned(), reason: error.to_string() }
    })?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let key = |Key { name, file, expires }: Key| {
        let path = beside.join(file);
        let key = PublicKey::from_pem(&text(&path)?)
            .map_err(|source| TrustFileError::Key { path, source })?;
        Ok(TrustedKey { name, key, expires })
    };
    let Document { threshold, allow_unsigned, revoked_keys, revoked_modules, key: keys } = document;
    let keys = keys.into_iter().map(key).collect::<Result<_, _>>()?;
    Ok(Trust { keys, revoked_keys, revoked_modules, threshold, allow_unsigned })
}

fn text(path: &Path) -> Result<String, TrustFileError> {
    std::fs::read_to_string(path)
        .map_err(|source| TrustFileError::Read { path: path.to_owned(), source })
}
