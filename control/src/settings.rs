//! What is asked of a model on this device: its streams, and how a new version is
//! brought in. Kept with its slots, for the device starts without a network.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is asked of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Its streams, for admission. Without one, it runs when there is time.
    #[serde(rename = "stream")]
    pub streams: Vec<StreamSettings>,
    /// When a new version has proven itself.
    pub probation: Rules,
    /// How a new version is brought in.
    pub rollout: Rollout,
}

/// What becomes of an input that comes while its stream already has as many waiting as
/// it was admitted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overload {
    /// It is not taken.
    #[default]
    DropNewest,
    /// It takes the place of the one that has waited longest.
    DropOldest,
    /// It is given to the stream that `degrade_to` names.
    Degrade,
}

/// A stream of inputs of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    /// Its name, which no other stream of the device has.
    pub name: String,
    /// The minimum time between two inputs, in milliseconds.
    pub period_ms: f64,
    /// From an input's arrival to its answer at most, in milliseconds.
    pub deadline_ms: f64,
    /// How long after its arrival an input may be there to be worked on, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_ms: f64,
    /// Under fixed priorities, the higher the more urgent: given for all streams of the
    /// device or for none. Under any scheduling, what has the least makes room first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// What becomes of inputs that come too early.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overload: Overload,
    /// The stream of a smaller model, which takes inputs that this one cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degrade_to: Option<String>,
    /// Whether inputs may be sent to the fog host: they may where there is one, unless
    /// this says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload: Option<bool>,
}

fn is_zero(ms: &f64) -> bool {
    *ms == 0.0
}

fn is_default(overload: &Overload) -> bool {
    *overload == Overload::default()
}

impl StreamSettings {
    /// A stream of which no more is said.
    pub fn new(name: impl Into<String>, period_ms: f64, deadline_ms: f64) -> Self {
        Self { name: name.into(), period_ms, deadline_ms, ..Self::default() }
    }

    /// Checks what a file may say.
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() {
            return Err("a stream has no name".into());
        }
        for (what, ms) in [("period_ms", self.period_ms), ("deadline_ms", self.deadline_ms)] {
            if !(ms > 0.0 && ms <= 1e9) {
                return Err(format!(
                    "stream {name:?}: {what} is {ms}, wanted more than 0 and at most 1e9"
                ));
            }
        }
        if !(0.0..=1e9).contains(&self.jitter_ms) {
            let ms = self.jitter_ms;
            return Err(format!("stream {name:?}: jitter_ms is {ms}, wanted from 0 to 1e9"));
        }
        match &self.degrade_to {
            Some(to) if to == name => {
                Err(format!("stream {name:?}: degrade_to names the stream itself"))
            }
            None if self.overload == Overload::Degrade => Err(format!(
                "stream {name:?}: overload is \"degrade\", and degrade_to names no stream to go to"
            )),
            _ => Ok(()),
        }
    }
}

/// When a version that has just become active has proven itself, and when not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// It has after so many inferences,
    pub inferences: u64,
    /// or after so many seconds, whichever comes first.
    pub seconds: u64,
    /// It has not where more inferences fail than this,
    pub failures: u64,
    /// or more take longer than was calibrated,
    pub overruns: u64,
    /// or more miss their deadline,
    pub deadline_misses: u64,
    /// or the device starts more often than this meanwhile,
    pub starts: u32,
    /// or its outputs drift from those of the version before.
    pub drift: Option<DriftRule>,
}

/// How far outputs may be from those of the version before, where both run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftRule {
    /// An inference has drifted where an element of its outputs differs by more
    /// than this part of the largest element of that output.
    pub tolerance: f64,
    /// So many may.
    pub inferences: u64,
}

impl Default for Rules {
    /// 100 inferences or a minute; no failure, 10 overruns, 5 misses, 3 starts.
    fn default() -> Self {
        Self {
            inferences: 100,
            seconds: 60,
            failures: 0,
            overruns: 10,
            deadline_misses: 5,
            starts: 3,
            drift: None,
        }
    }
}

/// How a new version is brought in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// The part of the inputs that the new version answers during its probation,
    /// from 0 to 1. Without it the new version answers all at once.
    pub canary: Option<f64>,
    /// The part of the inputs that the version runs as well that does not answer,
    /// to compare the outputs, from 0 to 1.
    pub shadow: f64,
}

impl Settings {
    /// Checks what a file may say.
    ///
    /// # Errors
    /// In words: what, seen and wanted.
    pub fn check(&self) -> Result<(), String> {
        for (index, stream) in self.streams.iter().enumerate() {
            stream.check()?;
            if self.streams[..index].iter().any(|other| other.name == stream.name) {
                return Err(format!("the stream {:?} is listed twice", stream.name));
            }
        }
        let shares = [("canary", self.rollout.canary), ("shadow", Some(self.rollout.shadow))];
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return Err(format!("rollout.{name} is {share}, wanted a part from 0 to 1"));
            }
        }
        match self.probation.drift {
            Some(DriftRule { tolerance, .. }) if tolerance.is_nan() || tolerance < 0.0 => {
                Err(format!("probation.drift.tolerance is {tolerance}, wanted 0 or more"))
            }
            _ => Ok(()),
        }
    }

    /// The shortest deadline of its streams.
    pub fn deadline(&self) -> Option<Duration> {
        self.streams.iter().map(|stream| milliseconds(stream.deadline_ms)).min()
    }
}

/// A time of a file that was checked.
pub fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX)
}
