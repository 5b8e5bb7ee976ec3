//! What serves: for each model the version that answers, behind one pointer that
//! is swapped as a whole.
//!
//! An inference takes the pointer once and goes on with what it points to: those
//! that run during a swap finish on the old version, and none waits for a lock that
//! a deployment holds. The version before stays loaded, ready to be swapped back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use leeway_contract::{Digest, Tensor};
use leeway_control::slots::{ProbationCounts, ProbationRecord};
use leeway_runtime::offload::Runner as Streams;
use leeway_runtime::offload::record::DecisionRecord;

use crate::probation::{Observation, Probation, Verdict, drift};

mod lane;
mod routing;
mod shadow;
mod version;

pub use lane::Lane;
pub use routing::{Routing, Trial};
pub use version::{Fault, Instances, Launch, Ran, RunFailure, Runner, Times, Version};
pub(crate) use version::{WARM_UP, zeros};

use routing::is_turn;
use shadow::{Shadow, Shadowed};

/// An answered input.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the model gave, and how.
    pub ran: Ran,
    /// The module that answered.
    pub digest: Digest,
    /// Its version.
    pub version: String,
}

/// Why an input has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No model of that name serves.
    #[error("no model {name:?} serves here; there are {known:?}")]
    NoModel {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The model has several streams, and the input does not say to which it belongs.
    #[error("model {model:?} has several streams: name one of {streams:?}")]
    WhichStream {
        /// The model.
        model: String,
        /// Its streams.
        streams: Vec<String>,
    },
    /// The model has no such stream.
    #[error("model {model:?} has no stream {name:?}; it has {streams:?}")]
    NoStream {
        /// The model.
        model: String,
        /// What was asked for.
        name: String,
        /// Its streams.
        streams: Vec<String>,
    },
    /// The model gave no outputs.
    #[error("{model:?}: {source}")]
    Run {
        /// The model.
        model: String,
        /// Why.
        source: RunFailure,
    },
}

/// How long a pointer may lag behind the executor, about.
const SWAP: Duration = Duration::from_micros(50);

/// What a probation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The model.
    pub model: String,
    /// The module that was on probation.
    pub digest: Digest,
    /// Whether it passed, and why.
    pub verdict: Verdict,
}

type Listener = dyn Fn(&str, &DecisionRecord) + Send + Sync;

/// The models that serve.
pub struct Serving {
    models: ArcSwap<BTreeMap<String, Arc<Model>>>,
    /// One that changes the set of models at a time.
    changing: Mutex<()>,
    outcomes: Sender<Outcome>,
    /// What runs the inputs of streams.
    streams: Arc<Streams>,
    /// Who hears what became of each answered input, with the model's name.
    listener: OnceLock<Box<Listener>>,
    /// What is promised to each stream.
    lanes: ArcSwap<BTreeMap<String, Lane>>,
    shadow: Shadow,
    began: Instant,
    /// What answered before, until no inference holds it any more: unmapping its code
    /// and memory is not an inference's work.
    left: Mutex<Vec<Arc<Routing>>>,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("models", &self.names()).finish_non_exhaustive()
    }
}

/// A model that serves.
#[derive(Debug)]
pub struct Model {
    name: String,
    routing: ArcSwap<Routing>,
    turn: AtomicU64,
    probation: Mutex<Option<(Digest, Probation)>>,
}

impl Model {
    fn probation(&self) -> MutexGuard<'_, Option<(Digest, Probation)>> {
        self.probation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers its inputs at the moment.
    pub fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }

    /// What was seen so far of the version on probation.
    pub fn probation_counts(&self) -> Option<ProbationCounts> {
        self.probation().as_ref().map(|(_, probation)| probation.counts)
    }

    /// How far the probation is, to be written down.
    pub(crate) fn probation_record(&self, now: Duration) -> Option<ProbationRecord> {
        self.probation().as_ref().map(|(digest, probation)| probation.record(*digest, now))
    }
}

impl Serving {
    /// Nothing serves yet. What probations come to is sent to `outcomes`; `streams` runs
    /// what has been promised anything.
    pub fn new(outcomes: Sender<Outcome>, streams: Arc<Streams>) -> Arc<Self> {
        Arc::new_cyclic(|serving| Self {
            models: ArcSwap::default(),
            changing: Mutex::new(()),
            outcomes,
            streams,
            listener: OnceLock::new(),
            lanes: ArcSwap::default(),
            shadow: Shadow::start(serving.clone()),
            began: Instant::now(),
            left: Mutex::new(Vec::new()),
        })
    }

    /// Whoever this is hears of each answer with a decision. There is one at most.
    pub fn listen(&self, listener: impl Fn(&str, &DecisionRecord) + Send + Sync + 'static) {
        self.listener.set(Box::new(listener)).ok();
    }

    /// What is promised to each stream of all models from now on.
    pub(crate) fn set_lanes(&self, lanes: BTreeMap<String, Lane>) {
        self.lanes.store(Arc::new(lanes));
    }

    /// What is promised to each stream of all models.
    pub fn lanes(&self) -> Arc<BTreeMap<String, Lane>> {
        self.lanes.load_full()
    }

    /// The time since this began to serve, as probations count it.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The models' names.
    pub fn names(&self) -> Vec<String> {
        self.models.load().keys().cloned().collect()
    }

    /// A model.
    pub fn model(&self, name: &str) -> Option<Arc<Model>> {
        self.models.load().get(name).cloned()
    }

    /// What serves a model from now on: the one pointer.
    pub fn route(&self, name: &str, routing: Routing, probation: Option<Probation>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = routing.on_trial().map(|version| version.digest());
        let probation = digest.zip(probation);
        match self.model(name) {
            Some(model) => {
                // Observations of the old version do not count for the new.
                *model.probation() = probation;
                let old = model.routing.swap(Arc::new(routing));
                let new = model.routing();
                old.versions().filter(|v| !new.has(v.digest())).for_each(|v| v.retire());
                self.left().push(old);
                self.sweep();
            }
            None => {
                let mut models = BTreeMap::clone(&self.models.load());
                let model = Model {
                    name: name.to_owned(),
                    routing: ArcSwap::from_pointee(routing),
                    turn: AtomicU64::new(0),
                    probation: Mutex::new(probation),
                };
                models.insert(name.to_owned(), Arc::new(model));
                self.models.store(Arc::new(models));
            }
        }
    }

    fn left(&self) -> MutexGuard<'_, Vec<Arc<Routing>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what no inference holds any more.
    fn sweep(&self) {
        let mut left = self.left();
        let gone: Vec<_> = left.extract_if(.., |old| Arc::strong_count(old) == 1).collect();
        drop(left);
        drop(gone);
    }

    /// A model serves no longer.
    pub fn remove(&self, name: &str) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models = BTreeMap::clone(&self.models.load());
        let gone = models.remove(name);
        self.models.store(Arc::new(models));
        if let Some(gone) = gone {
            gone.routing().versions().for_each(|version| version.retire());
        }
    }

    /// Answers one input, of this one of the model's streams. Where a version on probation
    /// fails, the other one answers: an inference is not lost to a bad version.
    pub fn infer(
        &self,
        name: &str,
        stream: Option<&str>,
        inputs: Vec<Tensor>,
    ) -> Result<Answer, ServeError> {
        let (arrived, inputs) = (self.streams.now(), Arc::new(inputs));
        loop {
            match self.try_infer(name, stream, arrived, &inputs) {
                // The executor goes over to another set, and the pointer follows.
                Err(ServeError::Run { source, .. }) if source.fault() == Fault::Superseded => {
                    std::thread::sleep(SWAP);
                }
                result => {
                    let decision = result.as_ref().ok().and_then(|a| a.ran.decision.as_ref());
                    if let Some((listener, decision)) = self.listener.get().zip(decision) {
                        listener(name, decision);
                    }
                    return result;
                }
            }
        }
    }

    fn try_infer(
        &self,
        name: &str,
        stream: Option<&str>,
        arrived: Duration,
        inputs: &Arc<Vec<Tensor>>,
    ) -> Result<Answer, ServeError> {
        let Some(model) = self.model(name) else {
            return Err(ServeError::NoModel { name: name.to_owned(), known: self.names() });
        };
        let routing = model.routing();
        let stream = lane::stream_of(name, &routing.streams, stream)?;
        let turn = model.turn.fetch_add(1, Ordering::Relaxed);
        let (version, other) = routing.choose(turn);
        let ran = match stream {
            Some(stream) => self.run_on(stream, version, arrived, inputs),
            None => version.run(inputs),
        };
        self.observe(&model, &routing, version, &ran);
        let on_trial = routing.on_trial().is_some_and(|trial| trial.digest() == version.digest());
        let ran = match (ran, other) {
            (Err(failure), Some(other)) if on_trial && failure.is_health() => {
                tracing::warn!(model = name, %failure, "the version on probation failed");
                return self.answer(name, other, other.run(inputs));
            }
            (ran, _) => ran,
        };
        if let (Ok(ran), Some(other)) = (&ran, other)
            && is_turn(turn, routing.shadow)
        {
            let (answered, outputs) = (version.digest(), ran.outputs.clone());
            let (other, inputs) = (Arc::clone(other), Arc::clone(inputs));
            self.shadow.offer(Shadowed {
                model: Arc::clone(&model),
                other,
                answered,
                inputs,
                outputs,
            });
        }
        self.answer(name, version, ran)
    }

    fn answer(
        &self,
        name: &str,
        version: &Version,
        ran: Result<Ran, RunFailure>,
    ) -> Result<Answer, ServeError> {
        match ran {
            Ok(ran) => {
                // A stream's smaller model may have answered.
                let by = ran.decision.as_ref().map(|decision| decision.module);
                let digest = by.unwrap_or(version.digest());
                let version = version.release.version.clone();
                Ok(Answer { ran, digest, version })
            }
            Err(source) => Err(ServeError::Run { model: name.to_owned(), source }),
        }
    }

    /// Tells a probation of a run.
    fn observe(
        &self,
        model: &Model,
        routing: &Routing,
        version: &Version,
        ran: &Result<Ran, RunFailure>,
    ) {
        if routing.on_trial().is_none_or(|trial| trial.digest() != version.digest()) {
            return;
        }
        let other = |ran: &Ran| ran.decision.as_ref().is_some_and(|d| d.module != version.digest());
        let observation = match ran {
            // By the smaller model of its stream.
            Ok(ran) if other(ran) => return,
            Ok(ran) => Observation::Answered {
                overrun: ran.overrun
                    || version.bound.is_some_and(|bound| ran.local.is_some_and(|t| t > bound)),
                missed: ran.missed(version.deadline),
            },
            Err(failure) if failure.is_health() => Observation::Failed(failure.to_string()),
            // A wrong input says nothing of the model, nor does one too many.
            Err(_) => return,
        };
        self.tell(model, version.digest(), observation);
    }

    /// A version ran in the shadow of the one that answered.
    fn compare(&self, shadowed: Shadowed) {
        let Shadowed { model, other, answered, inputs, outputs } = shadowed;
        let routing = model.routing();
        let Some(trial) = routing.on_trial().map(|trial| trial.digest()) else { return };
        if trial != answered && trial != other.digest() {
            return;
        }
        // How long it took beside everything that is answered says nothing.
        let untimed = |ran| Ran { elapsed: Duration::ZERO, local: None, ..ran };
        let ran = other.run(&inputs).map(untimed);
        self.observe(&model, &routing, &other, &ran);
        if let Ok(ran) = ran {
            let (new, old) = match trial == answered {
                true => (&outputs, &ran.outputs),
                false => (&ran.outputs, &outputs),
            };
            self.tell(&model, trial, Observation::Compared { drift: drift(new, old) });
        }
    }

    fn tell(&self, model: &Model, digest: Digest, observation: Observation) {
        let now = self.now();
        let verdict = match &mut *model.probation() {
            Some((on, probation)) if *on == digest => probation.observe(now, observation),
            _ => return,
        };
        self.conclude(model, digest, verdict);
    }

    /// Lets time pass for probations.
    pub fn tick(&self) {
        let now = self.now();
        self.sweep();
        for model in self.models.load().values() {
            let verdict = match &*model.probation() {
                Some((digest, probation)) => (*digest, probation.tick(now)),
                None => continue,
            };
            self.conclude(model, verdict.0, verdict.1);
        }
    }

    fn conclude(&self, model: &Model, digest: Digest, verdict: Verdict) {
        if verdict != Verdict::Going {
            *model.probation() = None;
            // Without anybody to hear it, nothing changes.
            self.outcomes.send(Outcome { model: model.name.clone(), digest, verdict }).ok();
        }
    }
}
