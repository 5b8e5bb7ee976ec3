//! What is served: the streams, what was promised to them, and their models. The set
//! changes as a whole, at an instant at which the cores are idle; whatever takes time has
//! been done before.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leeway_contract::Digest;

use super::{Runner, RunnerError, State};
use crate::admission::{Admission, Standing, Stream};
use crate::offload::dispatcher::Begun;
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

    /// Serves this and nothing else, as soon as what was taken before is answered as it
    /// was promised: until then all goes on as before, and this waits. That is no longer
    /// than the cores may be busy without a break. Returns what each stream is named by.
    ///
    /// # Errors
    /// Also where the runner ends meanwhile.
    pub fn serve(&self, set: Set<'_>) -> Result<Vec<usize>, RunnerError> {
        let Set { streams, admission, mut models } = set;
        check_tensors(streams, &models)?;
        let offloading = streams.iter().filter(|stream| stream.offload.is_some()).count();
        self.ask_with(offloading)?;
        let pairs = streams.iter().zip(&models);
        let subjects = pairs.map(|(s, models)| models.iter().map(|m| m.subject(s)).collect());
        let subjects = subjects.collect();
        let watches = models.iter().flatten().filter_map(|model| model.watch.clone()).collect();
        // One change at a time.
        let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.state();
        let now = self.shared.now();
        let Begun { named, given_back } =
            state.dispatcher.change(now, streams, admission, subjects);
        state.give_back(given_back);
        let mut served = HashSet::new();
        for (&index, model) in named
            .iter()
            .zip(&mut models)
            .flat_map(|(i, models)| models.iter_mut().map(move |m| (i, m)))
        {
            let key = (index, model.module.digest());
            served.insert(key);
            if let (Some(instance), false) =
                (model.instance.take(), state.models.contains_key(&key))
            {
                let instance = Mutex::new(instance);
                let new = Arc::new(Loaded { module: model.module.clone(), instance });
                state.models.insert(key, new);
            }
            debug_assert!(state.models.contains_key(&key), "a new model comes with its instance");
        }
        self.shared.changed.notify_all();
        let changing = |state: &mut State| state.dispatcher.is_changing() && !state.ended;
        let waited = self.shared.gone_over.wait_while(state, changing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Err(RunnerError::Ended);
        }
        let left: Vec<_> =
            state.models.extract_if(|key, _| !served.contains(key)).map(|(_, left)| left).collect();
        state.left.extend(left);
        let generation = state.planned.generation + 1;
        let watches = Some(watches);
        state.planned = Planned { stages: stages(streams), degraded: 0, generation, watches };
        let admitted = admission.streams.clone();
        state.standing = Standing { admitted, ..Standing::default() };
        state.raised = true;
        drop(state);
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
