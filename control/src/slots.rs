//! The slots of one model, and what may happen to them. Pure: no clock, no disk.
//!
//! A release that has just become active is on probation, and what it replaced
//! waits in `previous`. Only a release that has passed is ever put there: what the
//! device falls back to has always proven itself.

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::Settings;

/// How much of its history a model keeps.
const HISTORY: usize = 32;

/// A version of a model, as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The module.
    pub digest: Digest,
    /// The version in its certificate.
    pub version: String,
    /// The counter in its signed statement, which only grows from release to
    /// release; `None` where it is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// The keys that have signed it.
    #[serde(default)]
    pub signed_by: Vec<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It became active.
    Activated,
    /// It passed its probation.
    Proven,
    /// It was active, and the one before it is again.
    RolledBack,
    /// It was not taken.
    Refused,
    /// The model went.
    Removed,
    /// It stays active until it is unpinned.
    Pinned,
    /// It may be replaced again.
    Unpinned,
}

/// Something that happened to a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, in seconds since 1970 by a clock that may be wrong.
    pub at: u64,
    /// What.
    pub event: Event,
    /// To which module.
    pub digest: Digest,
    /// Why.
    pub reason: String,
}

/// What has been seen of a release on probation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbationCounts {
    /// Inferences.
    pub inferences: u64,
    /// Of them, those without an answer.
    pub failures: u64,
    /// Those that took longer than calibrated.
    pub overruns: u64,
    /// Those that missed their deadline.
    pub missed: u64,
    /// Outputs that were compared with the version before.
    pub compared: u64,
    /// Of them, those that had drifted.
    pub drifted: u64,
}

/// How far a probation was when that was last written down: a restart goes on there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbationRecord {
    /// The module that is on probation.
    pub digest: Digest,
    /// The time that it has been, in milliseconds.
    pub served_ms: u64,
    /// What was seen.
    pub counts: ProbationCounts,
}

/// The slots of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slots {
    /// What serves.
    pub active: Option<Release>,
    /// Whether it has passed its probation.
    pub proven: bool,
    /// What was active before and had passed its probation.
    pub previous: Option<Release>,
    /// What is being verified, or serves a share of the inputs.
    pub candidate: Option<Release>,
    /// Whether nothing else may become active by deployment.
    pub pinned: bool,
    /// The highest counter of a release that was active.
    pub highest_counter: u64,
    /// How often the device started while the active release was on probation.
    pub starts: u32,
    /// How far its probation was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probation: Option<ProbationRecord>,
    /// What is asked of the model here.
    #[serde(default)]
    pub settings: Settings,
    /// What happened, the newest last.
    pub history: Vec<HistoryEntry>,
}

/// Why the slots are not changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// No release is active.
    #[error("nothing is active")]
    NothingActive,
    /// There is no release to fall back to.
    #[error("there is no earlier release that has passed its probation")]
    NothingBefore,
    /// The active release is pinned.
    #[error("the release {0} is pinned; unpin it first")]
    Pinned(Digest),
    /// The candidate is another one by now.
    #[error("the candidate {0} was superseded")]
    Superseded(Digest),
}

impl Slots {
    /// The modules that must not be removed.
    pub fn keep(&self) -> impl Iterator<Item = Digest> {
        [&self.active, &self.previous, &self.candidate].into_iter().flatten().map(|r| r.digest)
    }

    fn note(&mut self, at: u64, event: Event, digest: Digest, reason: &str) {
        self.history.push(HistoryEntry { at, event, digest, reason: reason.to_owned() });
        let over = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..over);
    }

    /// A release comes to be verified, in place of another candidate.
    pub fn propose(&mut self, release: Release) -> Result<(), SlotError> {
        match &self.active {
            Some(active) if self.pinned && active.digest != release.digest => {
                Err(SlotError::Pinned(active.digest))
            }
            _ => {
                self.candidate = Some(release);
                Ok(())
            }
        }
    }

    /// The candidate was not taken. The same refusal twice in a row is noted once:
    /// who retries must not wear out the disk.
    pub fn refuse(&mut self, at: u64, digest: Digest, reason: &str) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.digest == digest) {
            self.candidate = None;
        }
        let again = self.history.last().is_some_and(|last| {
            last.event == Event::Refused && last.digest == digest && last.reason == reason
        });
        if !again {
            self.note(at, Event::Refused, digest, reason);
        }
    }

    /// The candidate becomes active, on probation.
    pub fn activate(&mut self, at: u64, digest: Digest, reason: &str) -> Result<(), SlotError> {
        let superseded = SlotError::Superseded(digest);
        if self.candidate.as_ref().ok_or(superseded.clone())?.digest != digest {
            return Err(superseded);
        }
        if let Some(active) = self.active.as_ref().filter(|active| active.digest != digest) {
            if self.pinned {
                return Err(SlotError::Pinned(active.digest));
            }
            if self.proven {
                self.previous = self.active.clone();
            }
        }
        let again = self.active.as_ref().is_some_and(|active| active.digest == digest);
        self.proven &= again;
        self.probation = self.probation.take().filter(|_| again);
        self.active = self.candidate.take();
        self.starts = 0;
        let counter = self.active.as_ref().and_then(|active| active.counter);
        self.highest_counter = self.highest_counter.max(counter.unwrap_or_default());
        self.note(at, Event::Activated, digest, reason);
        Ok(())
    }

    /// The active release has passed its probation.
    pub fn prove(&mut self, at: u64, reason: &str) -> Result<(), SlotError> {
        let digest = self.active.as_ref().ok_or(SlotError::NothingActive)?.digest;
        if !self.proven {
            self.proven = true;
            self.starts = 0;
            self.probation = None;
            self.note(at, Event::Proven, digest, reason);
        }
        Ok(())
    }

    /// The release before becomes active again. Where the one that goes had passed
    /// its probation, it waits to be returned to.
    pub fn roll_back(&mut self, at: u64, reason: &str) -> Result<(Digest, Digest), SlotError> {
        let active = self.active.as_ref().ok_or(SlotError::NothingActive)?.digest;
        let before = self.previous.take().ok_or(SlotError::NothingBefore)?;
        let to = before.digest;
        let left = self.active.replace(before);
        self.previous = left.filter(|_| self.proven);
        self.proven = true;
        self.starts = 0;
        self.probation = None;
        self.note(at, Event::RolledBack, active, reason);
        Ok((active, to))
    }

    /// The probation of the active release is so far. What is of another one says
    /// nothing.
    pub fn record(&mut self, record: ProbationRecord) {
        let active = self.active.as_ref().is_some_and(|active| active.digest == record.digest);
        if active && !self.proven {
            self.probation = Some(record);
        }
    }

    /// Nothing of it is active or waits any more.
    pub fn remove(&mut self, at: u64, reason: &str) -> Result<(), SlotError> {
        let digest = self.active.as_ref().ok_or(SlotError::NothingActive)?.digest;
        if self.pinned {
            return Err(SlotError::Pinned(digest));
        }
        (self.active, self.previous, self.candidate) = (None, None, None);
        (self.proven, self.starts, self.probation) = (false, 0, None);
        self.note(at, Event::Removed, digest, reason);
        Ok(())
    }

    /// What is active stays so, or may be replaced again.
    pub fn pin(&mut self, at: u64, pinned: bool, reason: &str) -> Result<(), SlotError> {
        let digest = self.active.as_ref().ok_or(SlotError::NothingActive)?.digest;
        if self.pinned != pinned {
            self.pinned = pinned;
            self.note(at, if pinned { Event::Pinned } else { Event::Unpinned }, digest, reason);
        }
        Ok(())
    }
}
