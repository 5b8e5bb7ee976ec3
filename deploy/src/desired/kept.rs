//! The desired state as the device remembers it, with what each model has come to.
//! Part of the one state, so that a version becomes active and its goal is marked in
//! the same write.

use std::collections::BTreeMap;

use leeway_contract::Digest;
use serde::{Deserialize, Serialize};

use leeway_control::desired::{DesiredModel, DesiredState, Others};

/// What is wanted of one model.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// This.
    Model(Box<DesiredModel>),
    /// That it serves no longer.
    Absent,
}

/// What is remembered of a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The generation since which the model is wanted so: an attempt for an earlier one
    /// changes nothing any more.
    pub since: u64,
    /// The module that began to answer for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Digest>,
    /// Whether that was decided: it was active, or as a canary was withdrawn.
    #[serde(default)]
    pub settled: bool,
}

/// The desired state that holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What is wanted.
    pub state: DesiredState,
    /// For each model that is wanted, or shall go.
    pub goals: BTreeMap<String, Mark>,
}

/// Why a desired state is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaleError {
    /// A newer one holds.
    #[error("the desired state has generation {seen}, generation {holds} holds already")]
    Older {
        /// The generation that came.
        seen: u64,
        /// The one that holds.
        holds: u64,
    },
    /// Another one of the same generation holds.
    #[error("another desired state of generation {0} holds already; a higher one is wanted")]
    Other(u64),
}

impl Kept {
    /// What is wanted of each model.
    pub fn wants(&self) -> BTreeMap<String, Want> {
        let listed: BTreeMap<&String, &DesiredModel> =
            self.state.models.iter().map(|model| (&model.name, model)).collect();
        let want = |name: &String| match listed.get(name) {
            Some(model) => Want::Model(Box::new((*model).clone())),
            None => Want::Absent,
        };
        self.goals.keys().map(|name| (name.clone(), want(name))).collect()
    }

    /// The desired state that holds after `state` came, where `before` held and
    /// `active` serves; `None` where it is the same. What has not changed and is
    /// reached stays so, everything else is wanted anew.
    pub fn after(
        before: Option<&Self>,
        state: DesiredState,
        active: &BTreeMap<String, Digest>,
        force: bool,
    ) -> Result<Option<Self>, StaleError> {
        let (seen, holds) = (state.generation, before.map(|before| before.state.generation));
        match (before, holds) {
            (Some(before), _) if before.state == state => return Ok(None),
            (_, Some(holds)) if seen < holds && !force => {
                return Err(StaleError::Older { seen, holds });
            }
            (_, Some(holds)) if seen == holds && !force => return Err(StaleError::Other(seen)),
            _ => {}
        }
        let mut names: Vec<&String> = state.models.iter().map(|model| &model.name).collect();
        if state.others == Others::Remove {
            names.extend(active.keys());
        }
        // Attempts are told apart by it, also where an operator went back.
        let newest = before.iter().flat_map(|before| before.goals.values().map(|mark| mark.since));
        let since = newest.max().map_or(seen, |newest| seen.max(newest + 1));
        let new = Mark { since, tried: None, settled: false };
        let goals = names.into_iter().map(|name| (name.clone(), new.clone())).collect();
        let mut kept = Self { state, goals };
        let Some(before) = before else { return Ok(Some(kept)) };
        let (wanted, now) = (before.wants(), kept.wants());
        for (name, mark) in &mut kept.goals {
            let Some(old) = before.goals.get(name).filter(|_| wanted.get(name) == now.get(name))
            else {
                continue;
            };
            let lost = old.settled && old.tried != active.get(name).copied();
            if !lost {
                *mark = old.clone();
            }
        }
        Ok(Some(kept))
    }

    /// Whether an attempt for a model as it is wanted since `since` is still wanted.
    pub fn wants_since(&self, model: &str, since: u64) -> bool {
        self.goals.get(model).is_some_and(|mark| mark.since == since)
    }

    /// A module began to answer for a model's goal: all inputs, or a share of them.
    pub fn tried(&mut self, model: &str, digest: Option<Digest>, settled: bool) {
        if let Some(mark) = self.goals.get_mut(model) {
            (mark.tried, mark.settled) = (digest, settled);
        }
    }

    /// A canary was promoted or withdrawn.
    pub fn settle(&mut self, model: &str, digest: Digest) {
        if let Some(mark) = self.goals.get_mut(model).filter(|mark| mark.tried == Some(digest)) {
            mark.settled = true;
        }
    }
}
