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
use leeway_deploy::trust::{KeyId, PublicKey, Trust, TrustedKey};
use serde::Deserialize;

use crate::file::{self, FileError};

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

/// Reads the file and those of its keys. Without a file there are no rules: every module
/// is taken, whoever has signed it.
pub(crate) fn read(path: Option<&Path>) -> Result<Option<Trust>, FileError> {
    let Some(path) = path else { return Ok(None) };
    let document: Document = file::toml(path)?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let key = |Key { name, file, expires }: Key| {
        let path = beside.join(file);
        let key = PublicKey::from_pem(&file::text(&path)?);
        let key = key.map_err(|error| FileError::content(&path, error))?;
        Ok::<_, FileError>(TrustedKey { name, key, expires })
    };
    let Document { threshold, allow_unsigned, revoked_keys, revoked_modules, key: keys } = document;
    let keys = keys.into_iter().map(key).collect::<Result<_, _>>()?;
    Ok(Some(Trust { keys, revoked_keys, revoked_modules, threshold, allow_unsigned }))
}
