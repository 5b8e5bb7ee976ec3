//! What is served: the streams, what was promised to them, and their models. The set
//! changes as a whole, within one turn of the lock; whatever takes time has been done
//! before.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leeway_contract::Digest;

use super::{Runner, RunnerError};
use crate::admission::{Admission, Standing, Stream};
use crate::offload::subject::Subject;
use crate::sandbox::{Instance, Module};
use crate::timing::Watch;

/// A model that answers a stream's inputs.
#[derive(Debug)]
pub struct Model {
    /// Its module.
    pub module: Module,
    /// Runs it; its tensors are handed from segment to segment. Not needed where the
    /// runner has one for this stream and module ([`Runner::has`]).
    pub instance: Option<Instance>,
    /// The execution time of its worst input, from calibration; see
    /// [`Task::wcet`](crate::offload::Task::wcet).
    pub wcet: Duration,
    /// What is promised of its time, which every execution feeds.
    pub watch: Option<Arc<Watch>>,
    /// The time that its stream was admitted with; what the watch says, if not given.
    pub admitted_with: Option<Duration>,
}

impl Model {
    /// What an instance runs, with this worst case and no watch.
    pub fn of(instance: Instance, wcet: Duration) -> Self {
        let module = instance.module().clone();
        Self { module, instance: Some(instance), wcet, watch: None, admitted_with: None }
    }

    fn subject(&self, stream: &Stream) -> Subject {
        let (digest, certificate) = (self.module.digest(), self.module.certificate());
        let (name, watch) = (stream.name.clone(), self.watch.clone());
        let deadline = Some(stream.deadline);
        let subject = Subject::new(name, digest, certificate, self.wcet, watch, deadline);
        match self.admitted_with {
            Some(time) => subject.admitted_with(time),
            None => subject,
        }
    }
}

/// Streams that were admitted together.
#[derive(Debug)]
pub struct Set<'a> {
    /// The streams.
    pub streams: &'a [Stream],
    /// What was promised to them.
    pub admission: &'a Admission,
    /// The models of each, in the same order: the first one answers what no other is
    /// named for.
    pub models: Vec<Vec<Model>>,
}

/// A model with what runs it. One core's thread uses it, and for a moment another's,
/// where its stream was put on another core.
pub(super) struct Loaded {
    pub module: Module,
    instance: Mutex<Instance>,
}

impl Loaded {
    pub fn instance(&self) -> MutexGuard<'_, Instance> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("module", &self.module.digest()).finish_non_exhaustive()
    }
}

/// What the last plan was for.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// The times of the stages of each stream.
    pub stages: Vec<Vec<Duration>>,
    /// How many streams heat wanted set aside.
    pub degraded: usize,
    /// Counts the sets.
    pub generation: u64,
    /// The watches of the set, where they have not been told of the clock yet.
    pub watches: Option<Vec<Arc<Watch>>>,
}

pub(super) fn stages(streams: &[Stream]) -> Vec<Vec<Duration>> {
    streams.iter().map(|stream| stream.stages.clone()).collect()
}

impl Runner {
    /// Whether a stream of this name is answered by this module.
    pub fn has(&self, stream: &str, module: Digest) -> bool {
        let state = self.shared.state();
        let served = state.dispatcher.named(stream);
        served.is_some_and(|index| state.models.contains_key(&(index, module)))
    }

    /// From now on this is served and nothing else. What was taken before is answered as
    /// it was to be. Returns what each stream is named by.
    pub fn serve(&self, set: Set<'_>) -> Result<Vec<usize>, RunnerError> {
        let Set { streams, admission, mut models } = set;
        check_tensors(streams, &models)?;
        let offloading = streams.iter().filter(|stream| stream.offload.is_some()).count();
        self.ask_with(offloading)?;
        let pairs = streams.iter().zip(&models);
        let subjects = pairs.map(|(s, models)| models.iter().map(|m| m.subject(s)).collect());
        let subjects = subjects.collect();
        let watches = models.iter().flatten().filter_map(|model| model.watch.clone()).collect();
        let mut state = self.shared.state();
        let now = self.shared.now();
        let named = state.dispatcher.change(now, streams, admission, subjects);
        let mut before = std::mem::take(&mut state.models);
        let mut loaded = HashMap::new();
        for (&index, model) in named
            .iter()
            .zip(&mut models)
            .flat_map(|(i, models)| models.iter_mut().map(move |m| (i, m)))
        {
            let key = (index, model.module.digest());
            let known = before.remove(&key);
            let new = |instance| {
                let instance = Mutex::new(instance);
                Arc::new(Loaded { module: model.module.clone(), instance })
            };
            match known.or_else(|| model.instance.take().map(new)) {
                Some(model) => loaded.insert(key, model),
                None => unreachable!("a model that is new comes with its instance"),
            };
        }
        state.models = loaded;
        state.left.extend(before.into_values());
        let generation = state.planned.generation + 1;
        let watches = Some(watches);
        state.planned = Planned { stages: stages(streams), degraded: 0, generation, watches };
        let admitted = admission.streams.clone();
        state.standing = Standing { admitted, ..Standing::default() };
        state.raised = true;
        drop(state);
        self.shared.changed.notify_all();
        self.shared.raised.notify_all();
        Ok(named)
    }
}

/// A smaller model must take the inputs that it is handed, and answer as is expected.
fn check_tensors(streams: &[Stream], models: &[Vec<Model>]) -> Result<(), RunnerError> {
    let tensors = |stream: usize| {
        let certificate = models[stream][0].module.certificate();
        let specs = [certificate.inputs(), certificate.outputs()];
        specs.map(|specs| specs.iter().map(|s| (s.dtype, s.shape.clone())).collect::<Vec<_>>())
    };
    for (index, stream) in streams.iter().enumerate() {
        let smaller =
            streams.iter().position(|other| stream.degrade_to.as_ref() == Some(&other.name));
        if let Some(smaller) = smaller.filter(|&smaller| tensors(smaller) != tensors(index)) {
            let (stream, to) = (stream.name.clone(), streams[smaller].name.clone());
            return Err(RunnerError::OtherTensors { stream, to });
        }
    }
    Ok(())
}
