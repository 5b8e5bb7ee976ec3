//! What the device remembers: for each model its slots, and of signatures the
//! newest time.
//!
//! Two files, `state.0` and `state.1`, take turns: the state of generation `g` is
//! in `state.<g mod 2>`. A file is a JSON document and, on a line of its own, the
//! SHA-256 digest of that document. It is replaced as a whole, and the newest one
//! that is intact counts; so neither a power cut nor a decayed file leaves the
//! device without a state. The state is some kilobytes and changes a few times a
//! day: a database would add a dependency, a format that no person can read on a
//! broken device, and the same rules about durability one layer down.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::desired::Kept;
use crate::files::{Files, replace};

pub(crate) use leeway_control::settings::milliseconds;
pub use leeway_control::settings::{DriftRule, Overload, Rollout, Rules, Settings, StreamSettings};
pub use leeway_control::slots::{Event, HistoryEntry, Release, SlotError, Slots};

/// The version of the format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// What the device remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of this format: [`FORMAT`].
    pub format: u32,
    /// Counts the states.
    pub generation: u64,
    /// The newest time of a signature that was accepted, in seconds since 1970:
    /// the least that the time can be.
    pub newest_signature: u64,
    /// The models, by name.
    pub models: BTreeMap<String, Slots>,
    /// What the device shall be, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Kept>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            generation: 0,
            newest_signature: 0,
            models: BTreeMap::new(),
            desired: None,
        }
    }
}

impl State {
    /// The modules that must not be removed.
    pub fn keep(&self) -> BTreeSet<Digest> {
        self.models.values().flat_map(Slots::keep).collect()
    }

    /// The modules that are active.
    pub fn active(&self) -> BTreeMap<String, Digest> {
        let active = |slots: &Slots| slots.active.as_ref().map(|active| active.digest);
        let models = self.models.iter();
        models.filter_map(|(name, slots)| Some((name.clone(), active(slots)?))).collect()
    }

    /// Whether an attempt for a model as it is desired since a generation still counts;
    /// one that is no such attempt always does.
    pub(crate) fn still_wants(
        &self,
        model: &str,
        digest: Digest,
        goal: Option<u64>,
    ) -> Result<(), SlotError> {
        let desired = self.desired.as_ref();
        let counts =
            goal.is_none_or(|since| desired.is_some_and(|kept| kept.wants_since(model, since)));
        if counts { Ok(()) } else { Err(SlotError::Superseded(digest)) }
    }

    /// The slots of a model; empty ones where there is none of that name.
    pub fn slots(&mut self, model: &str) -> &mut Slots {
        self.models.entry(model.to_owned()).or_default()
    }
}

/// Why the state was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There are files, and none is intact.
    #[error(
        "no intact state in {}: {reason}; move the files state.0 and state.1 away to begin anew",
        directory.display()
    )]
    Corrupt {
        /// Where.
        directory: PathBuf,
        /// What is wrong with the last one that was looked at.
        reason: String,
    },
    /// What was to be changed cannot be.
    #[error(transparent)]
    Slots(#[from] SlotError),
}

impl StateError {
    /// Whether the disk takes nothing more.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(self, StateError::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem))
    }
}

/// The state, in memory and on disk.
#[derive(Debug)]
pub struct StateFile {
    files: Arc<dyn Files>,
    directory: PathBuf,
    state: Mutex<State>,
}

impl StateFile {
    /// Reads the state of a directory; an empty one where there is none.
    pub fn open(files: Arc<dyn Files>, directory: &Path) -> Result<Self, StateError> {
        let state = read_newest(&*files, directory)?;
        Ok(Self { files, directory: directory.to_owned(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state.
    pub fn inspect<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state. When this returns without an error the new one is
    /// durable; with one the old one holds, unless the device restarts: then either
    /// may.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, SlotError>,
    ) -> Result<T, StateError> {
        let mut state = self.lock();
        let mut next = state.clone();
        let result = change(&mut next)?;
        if next == *state {
            return Ok(result);
        }
        next.generation = state.generation + 1;
        self.write(&next)?;
        *state = next;
        Ok(result)
    }

    fn write(&self, state: &State) -> Result<(), StateError> {
        let mut text =
            serde_json::to_string_pretty(state).expect("a state has only string keys").into_bytes();
        let digest = Digest::of(&text);
        text.extend_from_slice(format!("\n{digest}\n").as_bytes());
        let name = file_name(state.generation);
        replace(&*self.files, &self.directory, "state.new", name, &text).map_err(|source| {
            StateError::Io { operation: "write", path: self.directory.join(name), source }
        })
    }
}

fn file_name(generation: u64) -> &'static str {
    if generation.is_multiple_of(2) { "state.0" } else { "state.1" }
}

fn read_newest(files: &dyn Files, directory: &Path) -> Result<State, StateError> {
    let mut newest: Option<State> = None;
    let mut broken = None;
    for name in ["state.0", "state.1"] {
        let path = directory.join(name);
        let mut text = Vec::new();
        match files.read(&path, 0).and_then(|mut file| file.read_to_end(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(StateError::Io { operation: "read", path, source }),
            Ok(_) => {}
        }
        match parse(&text) {
            Ok(state) if newest.as_ref().is_none_or(|n| n.generation < state.generation) => {
                newest = Some(state);
            }
            Ok(_) => {}
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "a state is not intact");
                broken = Some(format!("{name} {reason}"));
            }
        }
    }
    match (newest, broken) {
        (Some(state), _) => Ok(state),
        (None, None) => Ok(State::default()),
        (None, Some(reason)) => {
            Err(StateError::Corrupt { directory: directory.to_owned(), reason })
        }
    }
}

fn parse(text: &[u8]) -> Result<State, String> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let end = body.iter().rposition(|&byte| byte == b'\n').ok_or("has no digest at its end")?;
    let (json, digest) = (&body[..end], &body[end + 1..]);
    if digest != Digest::of(json).to_string().as_bytes() {
        return Err("has not the digest at its end".into());
    }
    let state: State =
        serde_json::from_slice(json).map_err(|error| format!("is no state: {error}"))?;
    match state.format {
        FORMAT => Ok(state),
        seen => Err(format!("is of format {seen}, this program reads {FORMAT}")),
    }
}

#[cfg(test)]
mod tests;
