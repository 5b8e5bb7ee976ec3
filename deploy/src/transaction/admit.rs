//! Admission of the whole set: the streams of all models that serve, with a
//! candidate in the place of one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use leeway_runtime::admission::{self, Admission, Executor, Refusal, Stream};

use crate::serving::Version;
use crate::state::{Settings, StreamSettings, milliseconds};

/// A model's part of the set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Its streams.
    pub streams: Vec<StreamSettings>,
    /// The bound on each of its stages.
    pub stages: Vec<Duration>,
}

impl Load {
    /// A version's.
    pub fn of(version: &Version, settings: &Settings) -> Self {
        Self { streams: settings.streams.clone(), stages: version.stages.clone() }
    }

    /// The load while this version and another one answer the same inputs: a share
    /// each, so that any input may be either's; or both, where one shadows the other.
    pub fn beside(&self, other: &Self, shadow: f64) -> Self {
        let (own, others) = (&self.stages, &other.stages);
        let stages = if shadow > 0.0 {
            own.iter().chain(others).copied().collect()
        } else {
            let stage = |stages: &[Duration], at: usize| stages.get(at).copied();
            let most = |at| stage(own, at).max(stage(others, at)).unwrap_or_default();
            (0..own.len().max(others.len())).map(most).collect()
        };
        Self { streams: self.streams.clone(), stages }
    }
}

/// Tests the set. Without any stream there is nothing to keep.
pub(crate) fn admit(
    loads: &BTreeMap<String, Load>,
    executor: &Executor,
) -> Result<Option<Admission>, Refusal> {
    let streams: Vec<Stream> = loads.values().flat_map(streams).collect();
    match streams.as_slice() {
        [] => Ok(None),
        streams => admission::admit(streams, executor).map(Some),
    }
}

fn streams(load: &Load) -> impl Iterator<Item = Stream> {
    load.streams.iter().map(|stream| Stream {
        name: stream.name.clone(),
        period: milliseconds(stream.period_ms),
        deadline: milliseconds(stream.deadline_ms),
        jitter: Duration::ZERO,
        priority: None,
        stages: load.stages.clone(),
        core: None,
        overload: admission::Overload::default(),
        degrade_to: None,
        offload: None,
    })
}
