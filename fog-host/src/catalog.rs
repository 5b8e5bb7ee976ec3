//! Names and versions of models, and the digests that they stand for.
//!
//! A change is stored first and seen by requests afterwards, in one step: a
//! request gets the old module or the new one, never neither.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;

use crate::repository::{Repository, RepositoryError};

const MAX_NAME_CHARS: usize = 128;

/// A text that cannot name a model or a version.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "not a name: {seen:?} (wanted 1 to {MAX_NAME_CHARS} letters, digits, \"-\", \"_\" and \".\", the first no \".\")"
)]
pub(crate) struct NameError {
    seen: String,
}

/// A valid name of a model or a version: safe as a file name and in a URL, and
/// never a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ModelName(String);

/// The version of a model; the same rules.
pub(crate) type Version = ModelName;

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = !text.is_empty()
            && text.len() <= MAX_NAME_CHARS
            && !text.starts_with('.')
            && text.chars().all(allowed);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError { seen: text.chars().take(MAX_NAME_CHARS + 1).collect() })
        }
    }
}

impl TryFrom<String> for ModelName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The versions of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// The version that the bare name stands for: the one that was set last.
    pub(crate) current: Version,
    /// The version that the name stood for before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Version>,
    /// The digest of each version.
    pub(crate) versions: BTreeMap<Version, Digest>,
}

/// All models' versions.
pub(crate) struct Catalog {
    models: RwLock<BTreeMap<ModelName, Versions>>,
    changing: tokio::sync::Mutex<()>,
}

/// Held over a change, from what it depends on to what it stores. Removing a
/// module depends on the aliases, so it holds this too.
pub(crate) struct Changing<'a>(#[expect(dead_code, reason = "held, not used")] MutexGuard<'a, ()>);

impl Catalog {
    /// Reads what is stored.
    pub(crate) async fn open(repository: &Repository) -> Result<Self, RepositoryError> {
        let models = repository.models().await?.into_iter().collect();
        Ok(Self { models: RwLock::new(models), changing: tokio::sync::Mutex::new(()) })
    }

    /// Begins a change: one at a time.
    pub(crate) async fn changing(&self) -> Changing<'_> {
        Changing(self.changing.lock().await)
    }

    /// All models.
    pub(crate) fn all(&self) -> Vec<(ModelName, Versions)> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.iter().map(|(name, versions)| (name.clone(), versions.clone())).collect()
    }

    /// One model.
    pub(crate) fn get(&self, name: &ModelName) -> Option<Versions> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What a name, with a version or without, stands for now.
    pub(crate) fn resolve(
        &self,
        name: &ModelName,
        version: Option<&Version>,
    ) -> Option<(Version, Digest)> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let model = models.get(name)?;
        let version = version.unwrap_or(&model.current);
        Some((version.clone(), *model.versions.get(version)?))
    }

    /// A name and a version that stand for a digest, if there are any.
    pub(crate) fn alias_of(&self, digest: Digest) -> Option<(ModelName, Version)> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.iter().find_map(|(name, model)| {
            let (version, _) = model.versions.iter().find(|(_, named)| **named == digest)?;
            Some((name.clone(), version.clone()))
        })
    }

    /// Makes a version stand for a digest, and the name for that version.
    pub(crate) async fn set(
        &self,
        _changing: &Changing<'_>,
        repository: &Repository,
        name: ModelName,
        version: Version,
        digest: Digest,
    ) -> Result<(), RepositoryError> {
        let model = match self.get(&name) {
            None => Versions {
                current: version.clone(),
                previous: None,
                versions: BTreeMap::from([(version, digest)]),
            },
            Some(mut model) => {
                model.versions.insert(version.clone(), digest);
                if model.current != version {
                    model.previous = Some(std::mem::replace(&mut model.current, version));
                }
                model
            }
        };
        repository.put_model(&name, &model).await?;
        self.models.write().unwrap_or_else(PoisonError::into_inner).insert(name, model);
        Ok(())
    }

    /// Removes a version; `false` if there is none. The name then stands for
    /// the last of the versions that are left, by their order as text.
    pub(crate) async fn remove(
        &self,
        _changing: &Changing<'_>,
        repository: &Repository,
        name: &ModelName,
        version: &Version,
    ) -> Result<bool, RepositoryError> {
        let Some(mut model) = self.get(name) else { return Ok(false) };
        if model.versions.remove(version).is_none() {
            return Ok(false);
        }
        let Some(last) = model.versions.keys().next_back() else {
            repository.delete_model(name).await?;
            self.models.write().unwrap_or_else(PoisonError::into_inner).remove(name);
            return Ok(true);
        };
        if model.current == *version {
            model.current = last.clone();
        }
        repository.put_model(name, &model).await?;
        self.models.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), model);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names_and_never_digests() {
        for name in ["m", "cnn-digits_2.1", &"x".repeat(128)] {
            assert!(name.parse::<ModelName>().is_ok(), "{name}");
        }
        let digest = Digest::of(b"x").to_string();
        for name in ["", ".", "..", ".x", "a/b", "a b", "ä", &digest, &"x".repeat(129)] {
            assert!(name.parse::<ModelName>().is_err(), "{name}");
        }
    }
}
