//! What a device shall be: the desired state, a TOML file, and what has become of it.
//!
//! ```toml
//! generation = 7                      # a higher one supersedes this one at once
//! others = "keep"                     # models that are not listed: or "remove"
//!
//! [[model]]
//! name = "digits"
//! digest = "sha256:…"                 # or the version alone, where the source knows it
//! version = "1.2.0"                   # what the certificate must say; optional
//! source = "http://192.0.2.7:8080"    # or a path on the device; not needed where the module is there
//! signature = '''…'''                 # the text of its signature's file, where not beside the source
//! allow_older = false
//! [[model.stream]]
//! name = "camera"
//! period_ms = 100.0
//! deadline_ms = 50.0
//! [model.probation]
//! inferences = 100
//! [model.rollout]
//! canary = 0.1
//! ```

use std::collections::{BTreeMap, BTreeSet};

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use crate::deployment::Step;
use crate::settings::{Rollout, Rules, Settings, StreamSettings};

/// What a device shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredState {
    /// Counts the desired states of a device: only a higher one takes this one's place.
    pub generation: u64,
    /// What becomes of models that are not listed.
    #[serde(default)]
    pub others: Others,
    /// The models.
    #[serde(default, rename = "model")]
    pub models: Vec<DesiredModel>,
}

/// What becomes of models that are not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// They go on serving.
    #[default]
    Keep,
    /// They serve no longer, and their modules are removed.
    Remove,
}

/// A model that a device shall have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredModel {
    /// Its name, as in the module's certificate.
    pub name: String,
    /// The module. Without it, the source says which one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The version that the module's certificate must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the module comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The text of its signature's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Whether it may be an older release than one that was active.
    #[serde(default)]
    pub allow_older: bool,
    /// Its streams.
    #[serde(default, rename = "stream")]
    pub streams: Vec<StreamSettings>,
    /// When it has proven itself.
    #[serde(default)]
    pub probation: Rules,
    /// How it is brought in.
    #[serde(default)]
    pub rollout: Rollout,
}

impl DesiredModel {
    /// What is asked of the model.
    pub fn settings(&self) -> Settings {
        let (streams, probation) = (self.streams.clone(), self.probation.clone());
        Settings { streams, probation, rollout: self.rollout }
    }
}

/// A text that is no desired state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DesiredError {
    /// Neither TOML nor JSON, or other fields than there are.
    #[error("not a desired state: {0}")]
    Parse(String),
    /// A field has a value that it cannot have.
    #[error("model {model:?}: {wrong}")]
    Model {
        /// The model's name.
        model: String,
        /// What is wrong with it.
        wrong: String,
    },
}

impl DesiredState {
    /// Reads TOML, or JSON where it begins with a brace, and checks it.
    pub fn parse(text: &[u8]) -> Result<Self, DesiredError> {
        let text = std::str::from_utf8(text).map_err(|e| DesiredError::Parse(e.to_string()))?;
        let state: Self = match text.trim_start().starts_with('{') {
            true => serde_json::from_str(text).map_err(|e| DesiredError::Parse(e.to_string()))?,
            false => toml::from_str(text).map_err(|e| DesiredError::Parse(e.to_string()))?,
        };
        state.check()?;
        Ok(state)
    }

    /// Checks what a file may say.
    pub fn check(&self) -> Result<(), DesiredError> {
        let (mut names, mut streams) = (BTreeSet::new(), BTreeSet::new());
        for model in &self.models {
            let wrong = |wrong: String| {
                Err(DesiredError::Model { model: model.name.chars().take(80).collect(), wrong })
            };
            if model.name.is_empty() {
                return wrong("it has no name".into());
            }
            if !names.insert(&model.name) {
                return wrong("it is listed twice".into());
            }
            if model.digest.is_none() && model.source.is_none() {
                return wrong("it has neither a digest nor a source; one of them is wanted".into());
            }
            if let Err(settings) = model.settings().check() {
                return wrong(settings);
            }
            if let Some(twice) = model.streams.iter().find(|s| !streams.insert(&s.name)) {
                return wrong(format!("the stream {:?} is listed twice", twice.name));
            }
        }
        Ok(())
    }
}

/// How far a device is with its desired state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DesiredStatus {
    /// Of the desired state; `None` where there is none.
    pub generation: Option<u64>,
    /// The models that are in it, and those that shall go.
    pub models: BTreeMap<String, GoalStatus>,
}

impl DesiredStatus {
    /// Whether the device is what it shall be.
    pub fn is_reached(&self) -> bool {
        self.models.values().all(|goal| goal.state == GoalState::Reached)
    }
}

/// How far a device is with one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalStatus {
    /// What is wanted; `None` where the model shall go.
    pub wanted: Option<Wanted>,
    /// The module that is active.
    pub observed: Option<Digest>,
    /// How far it is.
    pub state: GoalState,
    /// Why it is not further, by the last attempt.
    pub reason: Option<String>,
    /// Attempts since it was wanted so.
    pub attempts: u32,
    /// The step that an attempt under way is at.
    pub step: Option<Step>,
    /// When it is tried again, in milliseconds from now.
    pub retry_in_ms: Option<u64>,
}

/// What is wanted of a model, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The module.
    pub digest: Option<Digest>,
    /// Its version.
    pub version: Option<String>,
    /// Where it comes from.
    pub source: Option<String>,
}

/// How far a device is with one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GoalState {
    /// An attempt is under way.
    Working,
    /// It is tried again after a while.
    Waiting,
    /// It answers a share of the inputs until it has proven itself.
    Canary,
    /// It is what it shall be.
    Reached,
    /// It was refused for what it is: it is not tried again as long as nothing changes.
    Refused,
    /// It had been reached, and is no more: it has failed its probation, or an operator
    /// has said otherwise. A newer desired state is needed to try it again.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same_and_what_is_wrong_is_named() {
        let digest = Digest::of(b"module");
        let text = format!(
            "generation = 7\nothers = \"remove\"\n[[model]]\nname = \"digits\"\n\
             digest = \"{digest}\"\n[[model.stream]]\nname = \"camera\"\nperiod_ms = 100\n\
             deadline_ms = 50\n[model.rollout]\ncanary = 0.1\n"
        );
        let state = DesiredState::parse(text.as_bytes()).unwrap();
        assert_eq!((state.generation, state.others), (7, Others::Remove));
        assert_eq!(state.models[0].settings().rollout.canary, Some(0.1));
        let json = serde_json::to_vec(&state).unwrap();
        assert_eq!(DesiredState::parse(&json), Ok(state));
        for (from, to, wanted) in [
            ("digest = ", "digset = ", "digset"),
            ("canary = 0.1", "canary = 1.5", "rollout.canary is 1.5"),
            ("period_ms = 100", "period_ms = 0", "\"camera\": period_ms is 0"),
            (&format!("digest = \"{digest}\""), "", "neither a digest nor a source"),
            ("\"remove\"", "\"burn\"", "burn"),
        ] {
            let error = DesiredState::parse(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
        let twice = format!("{text}[[model]]\nname = \"digits\"\nsource = \"/x\"\n");
        let error = DesiredState::parse(twice.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("\"digits\": it is listed twice"), "{error}");
        assert!(DesiredState::parse(b"\xff").is_err());
    }
}
