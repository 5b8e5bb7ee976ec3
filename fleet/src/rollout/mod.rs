//! Which device is next: wave after wave, so many at once, until too many fail. A
//! machine that is told what happens and what time it is, with no clock, thread or I/O.
//!
//! A device that cannot be reached says nothing about the version: it counts by a limit
//! of its own. Once a limit is exceeded no device is started any more; so at most as
//! many fail as the limit and the devices at once together.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a rollout keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Devices at once.
    pub parallel: usize,
    /// The most devices that may fail with the version.
    pub failures: usize,
    /// The most that may not be reached.
    pub unreachable: usize,
    /// Between two waves.
    pub pause: Duration,
}

/// What came of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The version serves there and has proven itself.
    Healthy,
    /// It was refused there, was rolled back, or did not prove itself in time.
    Failed {
        /// In words.
        reason: String,
    },
    /// Nothing is known: the device was not reached, or not any more.
    Unreachable {
        /// In words.
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The version goes to this device.
    Start(usize),
    /// Nothing, until a device is finished.
    Wait,
    /// Nothing, for so long.
    Pause(Duration),
    /// Nothing any more.
    Finished,
}

/// Why a rollout starts no more devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// Too many devices failed with the version.
    Failures {
        /// So many.
        seen: usize,
        /// At most.
        limit: usize,
    },
    /// Too many could not be reached.
    Unreachable {
        /// So many.
        seen: usize,
        /// At most.
        limit: usize,
    },
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { seen, limit } => {
                write!(f, "{seen} devices failed with the version, at most {limit} may")
            }
            Self::Unreachable { seen, limit } => {
                write!(f, "{seen} devices were not reached, at most {limit} may not be")
            }
        }
    }
}

/// A rollout under way.
#[derive(Clone, Debug)]
pub struct Rollout {
    limits: Limits,
    waves: Vec<Vec<usize>>,
    outcomes: Vec<Option<Outcome>>,
    running: BTreeSet<usize>,
    /// The wave, and how many of its devices have been looked at.
    at: (usize, usize),
    /// Whether this wave had anything to do.
    worked: bool,
    /// When the wave may begin.
    begins: Duration,
}

impl Rollout {
    /// A rollout over devices that are in these waves, each in one.
    pub fn new(waves: Vec<Vec<usize>>, limits: Limits) -> Self {
        let devices = waves.iter().flatten().max().map_or(0, |last| last + 1);
        Self {
            limits,
            waves,
            outcomes: vec![None; devices],
            running: BTreeSet::new(),
            at: (0, 0),
            worked: false,
            begins: Duration::ZERO,
        }
    }

    /// What an earlier run came to: the device is not started again. One that was not
    /// reached is.
    pub fn recall(&mut self, device: usize, outcome: Outcome) {
        if !matches!(outcome, Outcome::Unreachable { .. }) {
            self.outcomes[device] = Some(outcome);
        }
    }

    /// What is to be done at `now`, counted from any fixed time.
    pub fn next(&mut self, now: Duration) -> Next {
        let idle = if self.running.is_empty() { Next::Finished } else { Next::Wait };
        if self.stopped().is_some() {
            return idle;
        }
        while let Some(wave) = self.waves.get(self.at.0) {
            let open = wave[self.at.1..].iter().position(|&d| self.outcomes[d].is_none());
            match open {
                _ if self.running.len() >= self.limits.parallel => return Next::Wait,
                Some(_) if now < self.begins => return Next::Pause(self.begins - now),
                Some(skipped) => {
                    let device = wave[self.at.1 + skipped];
                    self.at.1 += skipped + 1;
                    self.worked = true;
                    self.running.insert(device);
                    return Next::Start(device);
                }
                None if !self.running.is_empty() => return Next::Wait,
                None => {
                    let pause = if self.worked { self.limits.pause } else { Duration::ZERO };
                    self.begins = self.begins.max(now + pause);
                    (self.at, self.worked) = ((self.at.0 + 1, 0), false);
                }
            }
        }
        idle
    }

    /// A device that was started is finished.
    pub fn finish(&mut self, device: usize, outcome: Outcome) {
        if self.running.remove(&device) {
            self.outcomes[device] = Some(outcome);
        }
    }

    /// Why no more devices are started, where that is so.
    pub fn stopped(&self) -> Option<Stopped> {
        let Limits { failures, unreachable, .. } = self.limits;
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed { .. }));
        if failed > failures {
            return Some(Stopped::Failures { seen: failed, limit: failures });
        }
        let lost = self.count(|outcome| matches!(outcome, Outcome::Unreachable { .. }));
        let limit = unreachable;
        (lost > limit).then_some(Stopped::Unreachable { seen: lost, limit })
    }

    /// How many devices have an outcome of a kind.
    pub fn count(&self, kind: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes.iter().flatten().filter(|outcome| kind(outcome)).count()
    }

    /// What came of each device, by its place; `None` where nothing has yet.
    pub fn outcomes(&self) -> &[Option<Outcome>] {
        &self.outcomes
    }

    /// The wave, counted from 0, and how many there are.
    pub fn wave(&self) -> (usize, usize) {
        (self.at.0.min(self.waves.len().saturating_sub(1)), self.waves.len())
    }

    /// The devices that are at it.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests;
