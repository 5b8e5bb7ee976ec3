//! What is pointed to: a version is made ready, and pointers are swapped.

use std::sync::Arc;

use leeway_runtime::sandbox::Module;
use leeway_runtime::timing::Watch;

use super::{Deployer, Rolled, clock, lock};
use crate::probation::Probation;
use crate::serving::{Routing, Trial, Version};
use crate::state::{Release, Settings, SlotError, StateError};
use crate::transaction::Cause;
use crate::transaction::admit::Load;

/// Why there was no rollback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollBackError {
    /// There is no such model.
    #[error("there is no model {0:?}")]
    NoModel(String),
    /// There is nothing to return to.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// What there is does not serve.
    #[error("the version before does not start: {0}")]
    Start(#[source] Box<Cause>),
}

/// The names of the streams.
pub(super) fn names(settings: &Settings) -> Arc<[String]> {
    settings.streams.iter().map(|stream| stream.name.clone()).collect()
}

impl Deployer {
    /// Makes a version of a module.
    pub(super) fn version(
        &self,
        release: &Release,
        module: Module,
        watch: Option<Arc<Watch>>,
        settings: &Settings,
    ) -> Result<Arc<Version>, Cause> {
        let (deadline, launch) = (settings.deadline(), &self.config.launch);
        let version = Version::new(release.clone(), module, deadline, watch, launch)?;
        Ok(Arc::new(version))
    }

    /// The device's time is spent on a version of a model alone from now on.
    pub(super) fn load_is(&self, name: &str, version: &Arc<Version>, settings: &Settings) {
        let load = Load::of(version, settings);
        self.readmit(|loads| {
            loads.insert(name.to_owned(), load);
        });
    }

    /// Has a version answer, with another one to fall back to.
    pub(super) fn serve(
        &self,
        name: &str,
        version: Arc<Version>,
        before: Option<Arc<Version>>,
        settings: &Settings,
        on_trial: bool,
    ) {
        let shadow = if on_trial { settings.rollout.shadow } else { 0.0 };
        let trial = if on_trial { Trial::Primary } else { Trial::None };
        let (share, streams) = (0.0, names(settings));
        let routing = Routing { primary: version, other: before, share, shadow, trial, streams };
        let (rules, now) = (settings.probation.clone(), self.serving.now());
        let known = self.inspect(|state| state.models.get(name)?.probation);
        let known = known.filter(|record| record.digest == routing.primary.digest());
        let probation = on_trial.then(|| match known {
            Some(record) => Probation::resume(rules, now, &record),
            None => Probation::new(rules, now),
        });
        let promised = (!routing.streams.is_empty()).then(|| Arc::clone(&routing.primary));
        self.serving.route(name, routing, probation);
        // The executor has instances of its own.
        promised.iter().for_each(|version| version.retire());
        lock(&self.broken).remove(name);
    }

    /// Has a candidate answer its share of the inputs, next to what is active.
    pub(super) fn serve_canary(
        &self,
        name: &str,
        candidate: Arc<Version>,
        share: f64,
        settings: &Settings,
    ) -> bool {
        let Some(model) = self.serving.model(name) else { return false };
        let shadow = settings.rollout.shadow;
        let primary = Arc::clone(&model.routing().primary);
        let (other, trial, streams) = (Some(candidate), Trial::Other, names(settings));
        let routing = Routing { primary, other, share, shadow, trial, streams };
        let probation = Probation::new(settings.probation.clone(), self.serving.now());
        self.serving.route(name, routing, Some(probation));
        true
    }

    /// Returns to the version before. The pointer is swapped also where the disk
    /// does not take the new state: that is said in the status.
    pub fn roll_back(&self, name: &str, reason: &str) -> Result<Rolled, RollBackError> {
        let known = self.inspect(|state| state.models.get(name).cloned());
        let slots = known.ok_or_else(|| RollBackError::NoModel(name.to_owned()))?;
        let previous = slots.previous.clone().ok_or(SlotError::NothingBefore)?;
        let model = self.serving.model(name);
        let routing = model.as_ref().map(|model| model.routing());
        let ready = routing.as_ref().and_then(|routing| {
            routing.versions().find(|version| version.digest() == previous.digest).cloned()
        });
        let ready = ready.map_or_else(|| self.load_release(&previous, &slots.settings), Ok);
        let ready = ready.map_err(|cause| RollBackError::Start(Box::new(cause)))?;
        let _switching = lock(&self.switching);
        // What goes waits, where it had proven itself.
        let left = routing.map(|routing| Arc::clone(&routing.primary)).filter(|_| slots.proven);
        let kept = self.change(|state| {
            let slots = state.slots(name);
            match &slots.previous {
                Some(still) if still.digest == previous.digest => slots.roll_back(clock(), reason),
                _ => Err(SlotError::Superseded(previous.digest)),
            }
        });
        let (from, to) = match kept {
            Ok(rolled) => rolled,
            Err(StateError::Slots(error)) => return Err(error.into()),
            Err(_) => {
                let from = slots.active.as_ref().map_or(previous.digest, |active| active.digest);
                (from, previous.digest)
            }
        };
        self.load_is(name, &ready, &slots.settings);
        self.serve(name, ready, left, &slots.settings, false);
        tracing::warn!(model = name, %from, %to, reason, "rolled back");
        Ok(Rolled { from, to })
    }

    /// What is active stays so until it is unpinned.
    pub fn pin(&self, name: &str, pinned: bool, reason: &str) -> Result<(), StateError> {
        self.change(|state| match state.models.get_mut(name) {
            Some(slots) => slots.pin(clock(), pinned, reason),
            None => Err(SlotError::NothingActive),
        })
    }
}
