//! Names and versions of models, and the digests that they stand for.
//!
//! A change is stored first and seen by requests afterwards, in one step: a
//! request gets the old module or the new one, never neither. What another host
//! changed in the same store is found by looking there (`follow`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError, RwLock};

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;

use crate::repository::{Repository, RepositoryError, Revision};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    /// The version that the bare name stands for: the one that was set last. There
    /// is none where there are no versions.
    pub(crate) current: Option<Version>,
    /// The version that the name stood for before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Version>,
    /// The digest of each version.
    pub(crate) versions: BTreeMap<Version, Digest>,
    /// The highest counter of a signed release that the name stood for. It stays when
    /// the versions go.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) highest_counter: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a version of a name shall stand for.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    /// By the signed statement; `None` where there is none that is believed.
    pub(crate) counter: Option<u64>,
    /// Whether it may be older than one that the name stood for.
    pub(crate) allow_older: bool,
}

#[cfg(test)]
impl Release {
    /// One that nobody has signed.
    pub(crate) fn unsigned(version: Version, digest: Digest) -> Self {
        Self { version, digest, counter: None, allow_older: false }
    }
}

/// A release that is older than one that the name stood for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Older {
    pub(crate) highest: u64,
    pub(crate) seen: u64,
}

impl Versions {
    /// With a version that stands for a release, and the name for that version. The
    /// counter goes back only where that is allowed, as on a device.
    pub(crate) fn with(mut self, release: &Release) -> Result<Self, Older> {
        let Release { version, digest, counter, allow_older } = release;
        if let Some(seen) = *counter {
            let highest = self.highest_counter;
            if seen < highest && !allow_older {
                return Err(Older { highest, seen });
            }
            self.highest_counter = seen;
        }
        self.put(version.clone(), *digest);
        Ok(self)
    }

    /// With the version before as the one that the name stands for, whatever its
    /// counter; `None` if there is none.
    fn back(mut self) -> Option<Self> {
        let version = self.previous.take()?;
        let digest = *self.versions.get(&version)?;
        self.put(version, digest);
        Some(self)
    }

    fn put(&mut self, version: Version, digest: Digest) {
        self.versions.insert(version.clone(), digest);
        if self.current.as_ref() != Some(&version) {
            self.previous = self.current.replace(version);
        }
    }

    /// Without a version; `None` if there is none such. The name then stands for
    /// the last of the versions that are left, by their order as text.
    fn without(mut self, version: &Version) -> Option<Self> {
        self.versions.remove(version)?;
        if self.current.as_ref() == Some(version) {
            self.current = self.versions.keys().next_back().cloned();
        }
        self.previous.take_if(|previous| previous == version);
        Some(self)
    }

    /// What a version, or the name alone, stands for.
    pub(crate) fn resolve<'a>(
        &'a self,
        version: Option<&'a Version>,
    ) -> Option<(&'a Version, Digest)> {
        let version = version.or(self.current.as_ref())?;
        Some((version, *self.versions.get(version)?))
    }
}

/// All models' versions, as this host knows them: its own changes at once, those of
/// other hosts when it has looked.
pub(crate) struct Catalog {
    models: RwLock<BTreeMap<ModelName, Versions>>,
    revisions: Mutex<BTreeMap<ModelName, Revision>>,
    changing: tokio::sync::Mutex<()>,
}

/// Held over a change on this host, from what it depends on to what it stores.
/// Removing a module depends on the aliases, so it holds this too. It orders no
/// other host's changes: for those, what is stored is compared.
pub(crate) struct Changing<'a>(#[expect(dead_code, reason = "held, not used")] MutexGuard<'a, ()>);

impl Catalog {
    /// Reads what is stored.
    pub(crate) async fn open(repository: &Repository) -> Result<Self, RepositoryError> {
        let catalog = Self {
            models: RwLock::default(),
            revisions: Mutex::default(),
            changing: tokio::sync::Mutex::new(()),
        };
        for (name, revision) in repository.models().await? {
            let versions = repository.model(&name).await?.unwrap_or_default();
            catalog.put(name.clone(), versions);
            catalog.lock_revisions().insert(name, revision);
        }
        Ok(catalog)
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
        let (version, digest) = models.get(name)?.resolve(version)?;
        Some((version.clone(), digest))
    }

    /// A name and a version that stand for a digest, if there are any, by what is
    /// stored now and not by what this host knows.
    pub(crate) async fn stored_alias_of(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Option<(ModelName, Version)>, RepositoryError> {
        for (name, _) in repository.models().await? {
            let Some(model) = repository.model(&name).await? else { continue };
            let alias = model.versions.into_iter().find(|(_, named)| *named == digest);
            if let Some((version, _)) = alias {
                return Ok(Some((name, version)));
            }
        }
        Ok(None)
    }

    /// Makes a version stand for a release, and the name for that version.
    pub(crate) async fn set(
        &self,
        _changing: &Changing<'_>,
        repository: &Repository,
        name: &ModelName,
        release: &Release,
    ) -> Result<Result<(), Older>, RepositoryError> {
        let changed = repository.change_model(name, |versions| versions.with(release)).await?;
        Ok(changed.map(|versions| self.put(name.clone(), versions)))
    }

    /// Makes a name stand again for a version that it stood for before. `false` if that
    /// is not the version before any more.
    pub(crate) async fn roll_back(
        &self,
        _changing: &Changing<'_>,
        repository: &Repository,
        name: &ModelName,
        wanted: (&Version, Digest),
    ) -> Result<bool, RepositoryError> {
        let change = |versions: Versions| {
            let back = versions.back().filter(|back| back.resolve(None) == Some(wanted));
            back.ok_or(())
        };
        let changed = repository.change_model(name, change).await?;
        Ok(changed.map(|versions| self.put(name.clone(), versions)).is_ok())
    }

    /// Removes a version; `false` if there is none.
    pub(crate) async fn remove(
        &self,
        _changing: &Changing<'_>,
        repository: &Repository,
        name: &ModelName,
        version: &Version,
    ) -> Result<bool, RepositoryError> {
        let change = |versions: Versions| versions.without(version).ok_or(());
        let changed = repository.change_model(name, change).await?;
        Ok(changed.map(|versions| self.put(name.clone(), versions)).is_ok())
    }

    /// Names whose stored versions are not those that this host last read, with
    /// their revisions.
    pub(crate) async fn stale(
        &self,
        repository: &Repository,
    ) -> Result<Vec<(ModelName, Revision)>, RepositoryError> {
        let stored = repository.models().await?;
        let known = self.lock_revisions();
        Ok(stored.into_iter().filter(|(name, now)| known.get(name) != Some(now)).collect())
    }

    /// Takes over what is stored for a name, if it still is.
    pub(crate) async fn refresh(
        &self,
        _changing: &Changing<'_>,
        repository: &Repository,
        name: &ModelName,
        revision: Revision,
    ) -> Result<(), RepositoryError> {
        let versions = repository.model(name).await?.unwrap_or_default();
        self.put(name.clone(), versions);
        // If it has changed since the revision was seen, the next look finds that.
        self.lock_revisions().insert(name.clone(), revision);
        Ok(())
    }

    fn put(&self, name: ModelName, versions: Versions) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if versions.versions.is_empty() {
            models.remove(&name);
        } else {
            models.insert(name, versions);
        }
    }

    fn lock_revisions(&self) -> std::sync::MutexGuard<'_, BTreeMap<ModelName, Revision>> {
        // Nothing panics while it holds the lock.
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_name_stands_for_what_was_set_last_and_then_for_the_last_that_is_left() {
        let name = |text: &str| text.parse::<Version>().unwrap();
        let digest = |text: &str| Digest::of(text.as_bytes());
        let release = |version, of| Release::unsigned(name(version), digest(of));
        let model = Versions::default().with(&release("2", "b")).unwrap();
        let model = model.with(&release("1", "a")).unwrap();
        assert_eq!(model.resolve(None), Some((&name("1"), digest("a"))));
        assert_eq!(model.resolve(Some(&name("2"))), Some((&name("2"), digest("b"))));
        assert_eq!(model.previous, Some(name("2")));
        assert_eq!(model.clone().without(&name("2")).unwrap().previous, None);
        let model = model.without(&name("1")).unwrap();
        assert_eq!(model.resolve(None), Some((&name("2"), digest("b"))));
        assert_eq!(model.clone().without(&name("1")), None);
        assert_eq!(model.without(&name("2")).unwrap().resolve(None), None);
    }

    #[test]
    fn a_name_goes_forward_unless_it_is_allowed_to_go_back() {
        let name = |text: &str| text.parse::<Version>().unwrap();
        let release = |version, counter| Release {
            counter,
            ..Release::unsigned(name(version), Digest::of(version.as_bytes()))
        };
        let model = Versions::default().with(&release("6", Some(6))).unwrap();
        let model = model.with(&release("7", Some(7))).unwrap();
        let older = Older { highest: 7, seen: 6 };
        assert_eq!(model.clone().with(&release("6", Some(6))), Err(older));
        // The same release again, and one that nobody need have signed.
        let model = model.with(&release("7", Some(7))).unwrap();
        let model = model.with(&release("unsigned", None)).unwrap();
        assert_eq!(model.highest_counter, 7);
        // Without versions it is remembered, and stored.
        let empty = ["6", "7", "unsigned"]
            .iter()
            .fold(model.clone(), |model, version| model.without(&name(version)).unwrap());
        let json = serde_json::to_string(&empty).unwrap();
        let empty: Versions = serde_json::from_str(&json).unwrap();
        assert_eq!(empty.with(&release("6", Some(6))), Err(older));
        // Back to where it was is no new release; what is allowed counts from then on.
        let back = model.clone().back().unwrap();
        assert_eq!((back.current, back.highest_counter), (Some(name("7")), 7));
        let allowed = Release { allow_older: true, ..release("6", Some(6)) };
        assert_eq!(model.with(&allowed).unwrap().highest_counter, 6);
    }
}
