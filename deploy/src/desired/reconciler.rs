//! Brings the device to what it shall be: the [`Machine`] with a thread that waits for
//! what is due, and one for each attempt. An attempt that hangs holds nothing that
//! another one needs.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use leeway_contract::Digest;

use super::kept::{Kept, StaleError, Want};
use super::machine::{Action, End, Machine, Observed, RetryRule, Standing, Ticket};
use crate::deployer::Deployer;
use crate::state::{SlotError, StateError};
use crate::transaction::{Cancel, Cause, Progress, Request, Source, Step};
use leeway_control::desired::{
    DesiredError, DesiredModel, DesiredState, DesiredStatus, GoalStatus, Wanted,
};

/// A module that was found where a desired state says it is.
pub struct Resolved {
    /// Which it is.
    pub digest: Digest,
    /// The envelopes with its signatures that are beside it: one of them has to be
    /// believed.
    pub envelopes: Vec<Vec<u8>>,
    /// Where its bytes come from, if they are not here.
    pub source: Box<dyn Source + Send>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Why a module was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// This device fetches nothing from such places.
    #[error("the source {source_name:?} is none that this device knows; wanted {known}")]
    Unknown {
        /// What the desired state says.
        source_name: String,
        /// What there is.
        known: &'static str,
    },
    /// It was not reached, or has no such module now.
    #[error("the source {source_name:?}: {error}")]
    Failed {
        /// What the desired state says.
        source_name: String,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// The places that modules come from. Networks and disks implement this. It is asked
/// on the attempt's own thread, and may wait as long as it likes.
pub trait Origin: Send + Sync {
    /// Finds a model's module. It has a source.
    fn resolve(
        &self,
        source: &str,
        wanted: &DesiredModel,
        cancel: &Cancel,
    ) -> Result<Resolved, OriginError>;
}

/// Why a desired state was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WantError {
    /// It is none.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// A newer one holds.
    #[error(transparent)]
    Stale(#[from] StaleError),
    /// It could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

struct Attempt {
    cancel: Cancel,
    step: Option<Step>,
}

struct Inner {
    machine: Machine,
    attempts: HashMap<Ticket, Attempt>,
}

/// What is told of a device on its way.
#[derive(Debug)]
pub enum Told<'a> {
    /// An attempt to bring in a version of the model is done with a step.
    Done {
        /// The model.
        model: &'a str,
        /// The step, and what was found.
        progress: &'a Progress,
    },
    /// The device, or how far it is, may have changed.
    Changed,
}

type Listener = Box<dyn Fn(Told<'_>) + Send + Sync>;

/// What the thread waits for.
#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self, at_most: Duration) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(woken, at_most, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// The longest that the thread sleeps: it has to see that its reconciler is gone.
const NAP: Duration = Duration::from_secs(60);

/// Brings a device to what it shall be.
pub struct Reconciler {
    deployer: Arc<Deployer>,
    origin: Box<dyn Origin>,
    began: Instant,
    inner: Mutex<Inner>,
    signal: Arc<Signal>,
    /// Who hears that something has changed.
    listener: OnceLock<Listener>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler").finish_non_exhaustive()
    }
}

impl Reconciler {
    /// Begins, with the desired state that the deployer remembers.
    pub fn start(
        deployer: Arc<Deployer>,
        origin: Box<dyn Origin>,
        rule: RetryRule,
    ) -> io::Result<Arc<Self>> {
        let signal = Arc::new(Signal::default());
        let inner = Inner { machine: Machine::new(rule), attempts: HashMap::new() };
        let reconciler = Arc::new(Self {
            deployer,
            origin,
            began: Instant::now(),
            inner: Mutex::new(inner),
            signal: Arc::clone(&signal),
            listener: OnceLock::new(),
        });
        let listening = Arc::clone(&signal);
        reconciler.deployer.listen(move || listening.wake());
        reconciler.resume();
        let weak = Arc::downgrade(&reconciler);
        std::thread::Builder::new()
            .name("reconciler".into())
            .spawn(move || keep(&weak, &signal))?;
        Ok(reconciler)
    }

    /// Whoever this is hears what happens, on a thread that must not wait for it. There
    /// is one at most.
    pub fn listen(&self, listener: impl Fn(Told<'_>) + Send + Sync + 'static) {
        self.listener.set(Box::new(listener)).ok();
    }

    fn tell(&self, told: Told<'_>) {
        if let Some(listener) = self.listener.get() {
            listener(told);
        }
    }

    /// Where modules come from.
    pub fn origin(&self) -> &dyn Origin {
        &*self.origin
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the desired state that is remembered.
    fn resume(self: &Arc<Self>) {
        let (kept, active) = self.deployer.inspect(|state| (state.desired.clone(), state.active()));
        if let Some(kept) = kept {
            let mut inner = self.inner();
            let actions = inner.machine.want(self.now(), &kept, &active);
            self.apply(&mut inner, actions);
        }
    }

    /// The device shall be this. What is under way for an older desired state is
    /// superseded at once. `force`: also where its generation is not higher.
    ///
    /// # Errors
    /// Where it is none, a newer one holds, or it cannot be kept.
    pub fn want(self: &Arc<Self>, state: DesiredState, force: bool) -> Result<(), WantError> {
        state.check()?;
        // One at a time, and the machine learns of them in their order.
        let mut inner = self.inner();
        let before = self.deployer.inspect(|state| state.desired.clone());
        let active = self.deployer.inspect(|state| state.active());
        let Some(kept) = Kept::after(before.as_ref(), state, &active, force)? else {
            inner.machine.retry(self.now());
            let actions = inner.machine.due(self.now());
            self.apply(&mut inner, actions);
            return Ok(());
        };
        self.deployer.keep_desired(kept.clone())?;
        tracing::info!(generation = kept.state.generation, "a desired state holds");
        let actions = inner.machine.want(self.now(), &kept, &active);
        self.apply(&mut inner, actions);
        Ok(())
    }

    /// Tries again what was refused or waits: something about the device has changed.
    pub fn retry(&self) {
        self.inner().machine.retry(self.now());
        self.signal.wake();
    }

    fn apply(self: &Arc<Self>, inner: &mut Inner, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Cancel(ticket) => {
                    if let Some(attempt) = inner.attempts.remove(&ticket) {
                        attempt.cancel.cancel();
                    }
                }
                Action::Start { ticket, model, want, since } => {
                    let cancel = Cancel::default();
                    let attempt = Attempt { cancel: cancel.clone(), step: None };
                    inner.attempts.insert(ticket, attempt);
                    let own = Arc::clone(self);
                    let named = std::thread::Builder::new().name(format!("to {model}"));
                    let started =
                        named.spawn(move || own.attempt(ticket, &model, &want, since, &cancel));
                    if let Err(error) = started {
                        inner.attempts.remove(&ticket);
                        let end = End::Failed(format!("cannot start a thread: {error}"));
                        inner.machine.ended(self.now(), ticket, end);
                    }
                }
            }
        }
    }

    /// The thread of one attempt.
    fn attempt(&self, ticket: Ticket, model: &str, want: &Want, since: u64, cancel: &Cancel) {
        let tried = catch_unwind(AssertUnwindSafe(|| match want {
            Want::Model(wanted) => self.bring(ticket, wanted, since, cancel),
            Want::Absent => self.remove(model, since),
        }));
        let end = tried.unwrap_or_else(|_| End::Failed("the attempt panicked".into()));
        let mut inner = self.inner();
        inner.attempts.remove(&ticket);
        inner.machine.ended(self.now(), ticket, end);
        drop(inner);
        self.signal.wake();
    }

    fn bring(&self, ticket: Ticket, wanted: &DesiredModel, since: u64, cancel: &Cancel) -> End {
        let store = self.deployer.store();
        let here = wanted.digest.filter(|digest| store.contains(*digest).unwrap_or(false));
        // What is here needs no network, unless for its signature.
        let alone = here.is_some() && wanted.signature.is_some();
        let mut unreached = None;
        let resolved = match &wanted.source {
            Some(source) if !alone => match self.origin.resolve(source, wanted, cancel) {
                Ok(resolved) => Some(resolved),
                Err(error @ OriginError::Unknown { .. }) => return End::Refused(error.to_string()),
                Err(error) if here.is_none() => return End::Failed(error.to_string()),
                // The module is here, and may need no signature.
                Err(error) => {
                    unreached = Some(error);
                    None
                }
            },
            _ => None,
        };
        let (found, beside, mut source) = match resolved {
            Some(Resolved { digest, envelopes, source }) => (Some(digest), envelopes, Some(source)),
            None => (None, Vec::new(), None),
        };
        let Some(digest) = wanted.digest.or(found) else {
            return End::Refused("neither the desired state nor its source names a digest".into());
        };
        let signature = wanted.signature.as_ref().map(|text| text.clone().into_bytes());
        let mut envelopes = signature.map_or(beside, |one| vec![one]).into_iter();
        let request = Request {
            model: Some(wanted.name.clone()),
            version: wanted.version.clone(),
            goal: Some(since),
            envelope: envelopes.next(),
            other_envelopes: envelopes.collect(),
            allow_older: wanted.allow_older,
            settings: Some(wanted.settings()),
            reason: format!("desired since generation {since}"),
            ..Request::new(digest)
        };
        let source = source.as_mut().map(|source| &mut **source as &mut (dyn Source + Send));
        let progress = |progress: Progress| {
            self.at(ticket, progress.step);
            self.tell(Told::Done { model: &wanted.name, progress: &progress });
        };
        match self.deployer.deploy(&request, source, cancel, &progress) {
            Ok(done) => End::Reached { digest: Some(done.digest), canary: done.canary },
            Err(refusal) => match (&*refusal.cause, unreached) {
                (Cause::Trust(_), Some(error)) => End::Failed(format!("{error}; and {refusal}")),
                (Cause::Admission(_), _) => End::NotAdmitted(refusal.to_string()),
                // Somebody cancelled this one, and no newer state has.
                (Cause::Cancelled, _) => End::Refused("cancelled".into()),
                (cause, _) if cause.is_transient() => End::Failed(refusal.to_string()),
                _ => End::Refused(refusal.to_string()),
            },
        }
    }

    fn remove(&self, model: &str, since: u64) -> End {
        let reason = "it is not in the desired state";
        match self.deployer.remove(model, reason, Some(since)) {
            Ok(()) | Err(StateError::Slots(SlotError::NothingActive)) => {
                End::Reached { digest: None, canary: false }
            }
            Err(error) => End::Failed(error.to_string()),
        }
    }

    fn at(&self, ticket: Ticket, step: Step) {
        if let Some(attempt) = self.inner().attempts.get_mut(&ticket) {
            attempt.step = Some(step);
        }
    }

    /// Looks at what has become of the models, and begins what is due. Returns how long
    /// nothing will be.
    fn step(self: &Arc<Self>) -> Duration {
        let mut inner = self.inner();
        let now = self.now();
        for (name, observed) in self.observed() {
            inner.machine.observe(now, &name, &observed);
        }
        let actions = inner.machine.due(now);
        self.apply(&mut inner, actions);
        inner.machine.next().map_or(NAP, |at| at.saturating_sub(now).min(NAP))
    }

    fn observed(&self) -> Vec<(String, Observed)> {
        self.deployer.inspect(|state| {
            let goals = state.desired.iter().flat_map(|desired| desired.goals.keys());
            let observed = |name: &String| {
                let slots = state.models.get(name);
                let observed = slots.map(|slots| Observed {
                    active: slots.active.as_ref().map(|release| release.digest),
                    candidate: slots.candidate.as_ref().map(|release| release.digest),
                    last: slots.history.last().map(|entry| entry.reason.clone()),
                });
                (name.clone(), observed.unwrap_or_default())
            };
            goals.map(observed).collect()
        })
    }

    /// How far the device is.
    pub fn status(&self) -> DesiredStatus {
        let inner = self.inner();
        let (generation, active) = self.deployer.inspect(|state| {
            (state.desired.as_ref().map(|kept| kept.state.generation), state.active())
        });
        let now = self.now();
        let goals = inner.machine.standing().map(|(name, standing)| {
            let step = standing.ticket.and_then(|ticket| inner.attempts.get(&ticket)?.step);
            (name.to_owned(), told(&standing, active.get(name).copied(), step, now))
        });
        DesiredStatus { generation, models: goals.collect() }
    }
}

fn told(
    standing: &Standing<'_>,
    observed: Option<Digest>,
    step: Option<Step>,
    now: Duration,
) -> GoalStatus {
    let wanted = match standing.want {
        Want::Model(model) => Some(Wanted {
            digest: model.digest,
            version: model.version.clone(),
            source: model.source.clone(),
        }),
        Want::Absent => None,
    };
    let left = standing.retry_at.map(|at| at.saturating_sub(now).as_millis());
    GoalStatus {
        wanted,
        observed,
        state: standing.state,
        reason: standing.reason.map(str::to_owned),
        attempts: standing.attempts,
        step,
        retry_in_ms: left.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
    }
}

fn keep(reconciler: &Weak<Reconciler>, signal: &Signal) {
    loop {
        let Some(strong) = reconciler.upgrade() else { return };
        let idle = strong.step();
        strong.tell(Told::Changed);
        drop(strong);
        signal.wait(idle);
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.signal.wake();
    }
}
