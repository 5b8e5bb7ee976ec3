//! What each client keeps in the store: the bytes of the modules that it brought, with
//! their signatures, and the names that it was the first to set; and how much of each it
//! may keep.
//!
//! ```text
//! kept/<client's name in hexadecimal digits>.json
//! ```
//!
//! Each client has one document, which is changed by comparing and writing in one step,
//! so hosts that share a store count together. A place is taken before what it is for is
//! stored: what a host that stopped in between has not stored is found out when the place
//! is wanted. What somebody else keeps here already costs a client nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::catalog::ModelName;
use crate::repository::{Repository, RepositoryError};

/// What is not stored so many seconds after its place was taken never will be. Longer
/// than a push may take, and than clocks of hosts are apart.
const FORGOTTEN_SECONDS: u64 = 3600;

/// What a client may keep; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Of modules and signatures.
    pub(crate) bytes: Option<u64>,
    /// Of models.
    pub(crate) names: Option<usize>,
}

/// What a client wants to keep.
#[derive(Clone, Debug)]
pub(crate) enum Thing {
    /// A module of so many bytes.
    Module(Digest, u64),
    /// A module's signatures, of so many bytes.
    Signature(Digest, u64),
    /// A model's name.
    Name(ModelName),
}

/// Why there is no room for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// There will be none, whatever is removed.
    #[error("{wanted} bytes are more than the {most} that {client} may keep here")]
    TooLarge {
        /// Who asks.
        client: String,
        /// What it would take.
        wanted: u64,
        /// What there may be.
        most: u64,
    },
    /// Others of its bytes are in the way.
    #[error(
        "{client} keeps {used} of the {most} bytes that it may keep here, and {wanted} more do \
         not fit: remove modules of it"
    )]
    Bytes {
        /// Who asks.
        client: String,
        /// What there is.
        used: u64,
        /// What it would take.
        wanted: u64,
        /// What there may be.
        most: u64,
    },
    /// Others of its names are.
    #[error("{client} has {used} of the {most} names that it may have here: remove one")]
    Names {
        /// Who asks.
        client: String,
        /// What there is.
        used: usize,
        /// What there may be.
        most: usize,
    },
}

/// Of one module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bytes {
    #[serde(default)]
    module: u64,
    #[serde(default)]
    signature: u64,
    /// When the place was taken, in seconds since 1970.
    since: u64,
}

/// What a client keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(default)]
    modules: BTreeMap<Digest, Bytes>,
    /// With the time at which each was set first.
    #[serde(default)]
    names: BTreeMap<ModelName, u64>,
}

/// What of all that was kept is there.
pub(crate) struct Stored {
    /// Modules and signatures.
    pub(crate) modules: BTreeSet<Digest>,
    /// With versions.
    pub(crate) names: BTreeSet<ModelName>,
}

/// What a client keeps and may keep, to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    bytes: u64,
    most_bytes: Option<u64>,
    modules: usize,
    names: usize,
    most_names: Option<usize>,
}

impl Kept {
    fn bytes(&self) -> u64 {
        let each = self.modules.values().map(|bytes| bytes.module.saturating_add(bytes.signature));
        each.fold(0, u64::saturating_add)
    }

    /// With one more thing; what is kept already is kept once.
    fn with(mut self, client: &str, thing: &Thing, quota: Quota, now: u64) -> Result<Self, NoRoom> {
        let client = client.to_owned();
        let (digest, bytes) = match thing {
            Thing::Module(digest, bytes) | Thing::Signature(digest, bytes) => (*digest, *bytes),
            Thing::Name(name) => {
                let (used, most) = (self.names.len(), quota.names.unwrap_or(usize::MAX));
                if !self.names.contains_key(name) && used >= most {
                    return Err(NoRoom::Names { client, used, most });
                }
                self.names.entry(name.clone()).or_insert(now);
                return Ok(self);
            }
        };
        let entry = self.modules.entry(digest).or_default();
        let place = match thing {
            Thing::Signature(..) => &mut entry.signature,
            _ => &mut entry.module,
        };
        let before = std::mem::replace(place, bytes);
        entry.since = now;
        let (after, most) = (self.bytes(), quota.bytes.unwrap_or(u64::MAX));
        if after > most && bytes > before {
            let wanted = bytes - before;
            return Err(match bytes > most {
                true => NoRoom::TooLarge { client, wanted: bytes, most },
                false => NoRoom::Bytes { client, used: after - wanted, wanted, most },
            });
        }
        Ok(self)
    }

    /// Without a thing; `None` if it is not kept.
    fn without(mut self, thing: &Thing) -> Option<Self> {
        match thing {
            Thing::Module(digest, _) => self.modules.remove(digest).map(drop)?,
            Thing::Name(name) => self.names.remove(name).map(drop)?,
            Thing::Signature(digest, _) => self.modules.get_mut(digest)?.signature = 0,
        }
        Some(self)
    }

    /// Without what is not stored although it had the time to be.
    fn of(mut self, stored: &Stored, now: u64) -> Self {
        let fresh = |since: u64| now.saturating_sub(since) < FORGOTTEN_SECONDS;
        self.modules.retain(|digest, bytes| stored.modules.contains(digest) || fresh(bytes.since));
        self.names.retain(|name, since| stored.names.contains(name) || fresh(*since));
        self
    }
}

/// Takes a client's place for a thing.
pub(crate) async fn take(
    repository: &Repository,
    client: &str,
    quota: Quota,
    thing: &Thing,
) -> Result<Result<(), NoRoom>, RepositoryError> {
    let add = |kept: Kept| kept.with(client, thing, quota, now());
    let full = match repository.change_kept(client, add).await? {
        Ok(_) => return Ok(Ok(())),
        Err(full @ NoRoom::TooLarge { .. }) => return Ok(Err(full)),
        Err(full) => full,
    };
    let stored = repository.stored().await?;
    let tidied = |kept: Kept| {
        let tidy = kept.clone().of(&stored, now());
        if tidy == kept { Err(full.clone()) } else { tidy.with(client, thing, quota, now()) }
    };
    Ok(repository.change_kept(client, tidied).await?.map(drop))
}

/// Whether there is room for a thing, before it has come. Nothing is taken.
pub(crate) async fn check(
    repository: &Repository,
    client: &str,
    quota: Quota,
    thing: &Thing,
) -> Result<Result<(), NoRoom>, RepositoryError> {
    let kept = repository.kept(client).await?;
    let Err(full) = kept.clone().with(client, thing, quota, now()) else { return Ok(Ok(())) };
    if matches!(full, NoRoom::TooLarge { .. }) {
        return Ok(Err(full));
    }
    let tidy = kept.of(&repository.stored().await?, now());
    Ok(tidy.with(client, thing, quota, now()).map(drop))
}

/// Gives the places back that were taken for a thing, whoever took them.
pub(crate) async fn free(repository: &Repository, thing: &Thing) -> Result<(), RepositoryError> {
    for client in repository.keepers().await? {
        let remove = |kept: Kept| kept.without(thing).ok_or(());
        // Where it is not kept, nothing is written.
        let _ = repository.change_kept(&client, remove).await?;
    }
    Ok(())
}

/// What a client keeps, and may keep.
pub(crate) async fn usage(
    repository: &Repository,
    client: &str,
    quota: Quota,
) -> Result<Usage, RepositoryError> {
    let kept = repository.kept(client).await?;
    Ok(Usage {
        bytes: kept.bytes(),
        most_bytes: quota.bytes,
        modules: kept.modules.len(),
        names: kept.names.len(),
        most_names: quota.names,
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { bytes: Some(100), names: Some(2) };

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn name(text: &str) -> Thing {
        Thing::Name(text.parse().unwrap())
    }

    fn with(kept: Kept, thing: Thing) -> Result<Kept, NoRoom> {
        kept.with("a", &thing, QUOTA, 1000)
    }

    #[test]
    fn bytes_of_modules_and_signatures_count_together_and_once() {
        let kept = with(Kept::default(), Thing::Module(digest(1), 60)).unwrap();
        let kept = with(kept, Thing::Signature(digest(1), 10)).unwrap();
        let kept = with(kept, Thing::Module(digest(1), 60)).unwrap();
        assert_eq!(kept.bytes(), 70);
        let full = with(kept.clone(), Thing::Module(digest(2), 31)).unwrap_err();
        let client = "a".to_owned();
        assert_eq!(full, NoRoom::Bytes { client, used: 70, wanted: 31, most: 100 });
        let full = with(kept.clone(), Thing::Module(digest(2), 101)).unwrap_err();
        assert!(matches!(full, NoRoom::TooLarge { wanted: 101, most: 100, .. }));
        let kept = with(kept, Thing::Module(digest(2), 30)).unwrap();
        // Another signature of the same length is no more than there was.
        let kept = with(kept, Thing::Signature(digest(1), 10)).unwrap();
        let kept = kept.without(&Thing::Module(digest(1), 0)).unwrap();
        assert_eq!(kept.bytes(), 30);
        assert_eq!(kept.without(&Thing::Module(digest(1), 0)), None);
    }

    #[test]
    fn what_was_taken_before_there_was_a_limit_keeps_its_place() {
        let kept = Kept::default();
        let kept = kept.with("a", &Thing::Module(digest(1), 500), Quota::default(), 0).unwrap();
        let kept = with(kept, Thing::Module(digest(1), 500)).unwrap();
        assert!(matches!(
            with(kept, Thing::Signature(digest(1), 1)),
            Err(NoRoom::Bytes { used: 500, wanted: 1, .. })
        ));
    }

    #[test]
    fn names_count_until_they_are_given_back() {
        let kept = with(Kept::default(), name("m")).unwrap();
        let kept = with(with(kept, name("n")).unwrap(), name("m")).unwrap();
        let full = with(kept.clone(), name("o")).unwrap_err();
        assert_eq!(full, NoRoom::Names { client: "a".into(), used: 2, most: 2 });
        with(kept.without(&name("m")).unwrap(), name("o")).unwrap();
    }

    #[test]
    fn what_never_came_gives_its_place_back_after_a_while() {
        let kept = with(Kept::default(), Thing::Module(digest(1), 60)).unwrap();
        let kept = with(with(kept, Thing::Module(digest(2), 40)).unwrap(), name("m")).unwrap();
        let stored = Stored { modules: [digest(1)].into(), names: BTreeSet::new() };
        let soon = kept.clone().of(&stored, 1000 + FORGOTTEN_SECONDS - 1);
        assert_eq!(soon, kept);
        let later = kept.of(&stored, 1000 + FORGOTTEN_SECONDS);
        assert_eq!((later.bytes(), later.names.len()), (60, 0));
    }
}
