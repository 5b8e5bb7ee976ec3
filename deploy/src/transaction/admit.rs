//! Admission of the whole set: the streams of all models that serve, with a
//! candidate in the place of one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leeway_runtime::admission::{self, Offloading, Stream};

use crate::serving::Version;
use crate::state::{Overload, Settings, StreamSettings, milliseconds};

/// A model's part of the set.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Its streams.
    pub streams: Vec<StreamSettings>,
    /// The versions that answer: the first one, unless it is the other one's turn.
    pub versions: Vec<Arc<Version>>,
    /// Whether each input is run by the other one as well.
    shadow: Option<Arc<Version>>,
}

impl Load {
    /// A version's, which answers alone.
    pub fn of(version: &Arc<Version>, settings: &Settings) -> Self {
        let (streams, versions) = (settings.streams.clone(), vec![Arc::clone(version)]);
        Self { streams, versions, shadow: None }
    }

    /// The load while another one answers a share of the inputs.
    pub fn with_canary(mut self, canary: &Arc<Version>) -> Self {
        self.versions.push(Arc::clone(canary));
        self
    }

    /// The load while another one runs the same inputs, to compare.
    pub fn with_shadow(self, shadow: &Arc<Version>) -> Self {
        Self { shadow: Some(Arc::clone(shadow)), ..self }
    }

    /// Whether anything can be promised: every version has been measured here.
    pub fn is_known(&self) -> bool {
        self.versions.iter().chain(&self.shadow).all(|version| !version.stages().is_empty())
    }

    /// The bound on each stage. Where any input may be either version's, the longer one
    /// of each counts, and where both run it, the other one's are added.
    pub fn stages(&self) -> Vec<Duration> {
        let times: Vec<Vec<Duration>> = self.versions.iter().map(|v| v.stages()).collect();
        let shadow = self.shadow.as_ref().map(|shadow| shadow.stages());
        let most = times.iter().chain(&shadow).map(Vec::len).max().unwrap_or_default();
        let of = |at: usize| times.iter().chain(&shadow).filter_map(move |s| s.get(at).copied());
        let longer = (0..most).map(|at| of(at).max().unwrap_or_default());
        let several = |at: usize| of(at).count() > 1;
        let shorter = (0..most).filter(|&at| shadow.is_some() && several(at));
        longer.chain(shorter.filter_map(|at| of(at).min())).collect()
    }

    /// The bound on a whole inference.
    fn time(&self) -> Duration {
        self.stages().iter().sum()
    }

    /// The streams, as they are to be admitted. `offloading`: where there is a fog host.
    pub fn asked(&self, offloading: Option<Offloading>) -> Vec<Stream> {
        let stages = self.stages();
        let stream = |asked: &StreamSettings| Stream {
            name: asked.name.clone(),
            period: milliseconds(asked.period_ms),
            deadline: milliseconds(asked.deadline_ms),
            jitter: milliseconds(asked.jitter_ms),
            priority: asked.priority,
            stages: stages.clone(),
            core: None,
            overload: match asked.overload {
                Overload::DropNewest => admission::Overload::DropNewest,
                Overload::DropOldest => admission::Overload::DropOldest,
                Overload::Degrade => admission::Overload::Degrade,
            },
            degrade_to: asked.degrade_to.clone(),
            offload: offloading.filter(|_| asked.offload != Some(false)),
        };
        self.streams.iter().map(stream).collect()
    }
}

/// The parts of all models, by their names.
pub(crate) type Loads = BTreeMap<String, Load>;

/// Why a stream of a model that serves hands no inputs on to the one that it names, where
/// that is so: the smaller model was removed, does not start, has other streams now, or
/// takes longer than was thought.
pub(crate) fn no_smaller(loads: &Loads, load: &Load, stream: &StreamSettings) -> Option<String> {
    let to = stream.degrade_to.as_ref()?;
    let mut known = loads.values().filter(|load| load.is_known());
    let Some(smaller) = known.find(|load| load.streams.iter().any(|s| s.name == *to)) else {
        return Some(format!("there is no stream {to:?}"));
    };
    let (other, own) = (smaller.time(), load.time());
    (other >= own).then(|| format!("the model of {to:?} takes {other:.1?}, and its own {own:.1?}"))
}
