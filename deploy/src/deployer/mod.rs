//! The deployer: store, state, trust, sandbox and what serves, put together. One
//! for each device.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leeway_contract::{Digest, Tensor};
use leeway_runtime::admission::{Admission, Offloading};
use leeway_runtime::offload::Runner as Streams;
use leeway_runtime::realtime::RealTimeReport;
use leeway_runtime::sandbox::{Sandbox, SandboxConfig, SandboxError};
use leeway_runtime::timing::{self, BoundRule, Calibration, Keeper, Watch};

use crate::compile::Compiler;
use crate::desired::Kept;
use crate::files::Files;
use crate::serving::{Answer, Launch, ServeError, Serving};
use crate::state::{SlotError, State, StateError, StateFile};
use crate::store::{Limits, Store, StoreError};
use crate::transaction::Cancel;
use crate::transaction::admit::Loads;
use crate::transaction::trial::TrialOptions;
use crate::trust::Trust;

mod deploy;
mod keeper;
mod leftovers;
mod promise;
mod removal;
mod routes;
mod start;
mod status;

pub use leeway_control::{Deployed, Rolled};
pub use routes::RollBackError;

/// The settings of a [`Deployer`].
#[derive(Clone)]
pub struct Config {
    /// Its directory, which exists and belongs to it alone. Modules, state,
    /// compiled code and calibrations are in it.
    pub root: PathBuf,
    /// How much modules may take.
    pub limits: Limits,
    /// Whom it believes.
    pub trust: Trust,
    /// The sandbox; its cache of compiled code is put into `root`.
    pub sandbox: SandboxConfig,
    /// What compiles candidates, within its limits. Without it they are compiled in this
    /// process, which nothing stops.
    pub compiler: Option<Compiler>,
    /// The most memory that an instance of a model may have.
    pub instance_bytes: u64,
    /// How candidates are tried.
    pub trial: TrialOptions,
    /// What is promised of a calibration.
    pub bound: BoundRule,
    /// What runs the streams.
    pub streams: Arc<Streams>,
    /// Where inputs may be sent to a fog host: what that takes of the device.
    pub offloading: Option<Offloading>,
    /// What runs a version when there is time.
    pub launch: Launch,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Why a deployer did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The modules' directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The calibrations' directory.
    #[error(transparent)]
    Calibrations(#[from] timing::StoreError),
    /// The machine has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Modules that came and are not deployed yet are kept, the newest of them.
const HELD: usize = 8;

/// Deploys models, serves them, and falls back.
pub struct Deployer {
    config: Config,
    trust: Mutex<Trust>,
    store: Store,
    state: StateFile,
    sandbox: Sandbox,
    calibrations: timing::Store,
    /// Writes what is seen of execution times.
    keeper: Arc<Keeper>,
    /// Of the modules that are loaded: versions of the same one share what is seen.
    watches: Mutex<BTreeMap<Digest, Weak<Watch>>>,
    serving: Arc<Serving>,
    /// What the models that serve want of the processor.
    loads: Mutex<Loads>,
    /// The promise to all streams.
    admission: Mutex<Option<Admission>>,
    held: Mutex<VecDeque<Digest>>,
    /// The transactions under way.
    running: Mutex<Vec<(Digest, Cancel)>>,
    /// One that changes what is active at a time: state and pointer change together.
    switching: Mutex<()>,
    /// Who hears that the state has changed.
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Why the disk takes nothing, where it does not.
    read_only: Mutex<Option<String>>,
    /// Models that are active and do not serve, and why.
    broken: Mutex<BTreeMap<String, String>>,
}

/// A transaction under way, until it is dropped.
struct Running<'a> {
    deployer: &'a Deployer,
    cancel: &'a Cancel,
}

impl<'a> Running<'a> {
    fn begin(deployer: &'a Deployer, digest: Digest, cancel: &'a Cancel) -> Self {
        lock(&deployer.running).push((digest, cancel.clone()));
        Self { deployer, cancel }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.deployer.running).retain(|(_, cancel)| !cancel.is(self.cancel));
    }
}

impl fmt::Debug for Deployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployer").field("root", &self.config.root).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seconds since 1970 by the system's clock, which may be wrong: for people
/// who read the history, and for nothing else.
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

impl Deployer {
    /// What serves.
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// The modules.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.config.root
    }

    /// Looks at what is remembered.
    pub fn inspect<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.state.inspect(look)
    }

    /// Answers one input of a model that has one stream at most.
    pub fn infer(&self, model: &str, inputs: Vec<Tensor>) -> Result<Answer, ServeError> {
        self.serving.infer(model, None, inputs)
    }

    /// Answers one input of a stream.
    pub fn infer_on(
        &self,
        model: &str,
        stream: Option<&str>,
        inputs: Vec<Tensor>,
    ) -> Result<Answer, ServeError> {
        self.serving.infer(model, stream, inputs)
    }

    /// What runs the streams.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.config.streams
    }

    /// The promise to the streams of all models, where there are any.
    pub fn admission(&self) -> Option<Admission> {
        lock(&self.admission).clone()
    }

    /// Why the disk takes nothing more, where the last attempt to write failed so.
    pub fn read_only(&self) -> Option<String> {
        lock(&self.read_only).clone()
    }

    /// The models that are active and do not serve, and why.
    pub fn broken(&self) -> BTreeMap<String, String> {
        lock(&self.broken).clone()
    }

    /// Replaces whom it believes, as when the configuration was read again.
    pub fn set_trust(&self, trust: Trust) {
        *lock(&self.trust) = trust;
    }

    /// Whoever this is hears each time that the state has changed. There is one at most.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listener.set(Box::new(listener)).ok();
    }

    /// The modules that must not be removed: those of the state, and those that
    /// came to be deployed or are being deployed.
    pub fn keep(&self) -> BTreeSet<Digest> {
        let mut keep = self.state.inspect(State::keep);
        keep.extend(lock(&self.held).iter());
        keep.extend(lock(&self.running).iter().map(|(digest, _)| digest));
        keep
    }

    /// Asks the transactions of a module to stop. Returns how many there are.
    pub fn cancel(&self, digest: Digest) -> usize {
        let running = lock(&self.running);
        let of_module = running.iter().filter(|(module, _)| *module == digest);
        of_module.map(|(_, cancel)| cancel.cancel()).count()
    }

    /// A module that came is kept until it is deployed, or until many others came.
    pub fn hold(&self, digest: Digest) {
        let mut held = lock(&self.held);
        held.retain(|other| *other != digest);
        held.push_back(digest);
        let over = held.len().saturating_sub(HELD);
        held.drain(..over);
    }

    fn release(&self, digest: Digest) {
        lock(&self.held).retain(|other| *other != digest);
    }

    /// Removes the modules that nothing needs.
    pub fn collect(&self) -> Result<crate::store::Collected, StoreError> {
        let keep = self.keep();
        for directory in [start::CODE, start::CALIBRATIONS] {
            let path = self.config.root.join(directory);
            if let Err(error) = leftovers::sweep(&path, &keep) {
                tracing::debug!(path = %path.display(), %error, "not swept");
            }
        }
        let collected = self.store.collect(&keep);
        if let Err(error) = &collected {
            self.note_disk(error.is_full(), error);
        }
        collected
    }

    /// Changes the state, and remembers whether the disk took it.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, SlotError>,
    ) -> Result<T, StateError> {
        let generation = || self.inspect(|state| state.generation);
        let before = generation();
        let result = self.state.change(change);
        match &result {
            // What changes nothing says nothing of the disk.
            Ok(_) if generation() == before => {}
            Ok(_) => {
                *lock(&self.read_only) = None;
                if let Some(listener) = self.listener.get() {
                    listener();
                }
            }
            Err(error) => self.note_disk(matches!(error, StateError::Io { .. }), error),
        }
        result
    }

    /// Remembers what the device shall be.
    pub(crate) fn keep_desired(&self, kept: Kept) -> Result<(), StateError> {
        self.change(|state| {
            state.desired = Some(kept);
            Ok(())
        })
    }

    /// Where a module was refused as the disk takes nothing, the status says so.
    pub fn note_full(&self, error: &StoreError) {
        self.note_disk(error.is_full(), error);
    }

    fn note_disk(&self, refused: bool, error: &dyn fmt::Display) {
        if refused {
            tracing::error!(%error, "the disk takes nothing: what serves goes on, nothing changes");
            *lock(&self.read_only) = Some(error.to_string());
        }
    }

    /// Whether this is what the threads of the streams have been granted.
    fn is_as_streams_run(&self, calibrated: &RealTimeReport) -> bool {
        self.config.streams.real_time().first().is_none_or(|granted| granted == calibrated)
    }

    /// Watches a module by its calibration.
    fn watch(&self, calibration: &Calibration) -> Arc<Watch> {
        let mut watches = lock(&self.watches);
        watches.retain(|_, watch| watch.strong_count() > 0);
        let module = calibration.claims.module;
        if let Some(known) = watches.get(&module).and_then(Weak::upgrade) {
            return known;
        }
        let watch = Arc::new(Watch::kept_by(calibration.clone(), self.config.bound, &self.keeper));
        watches.insert(module, Arc::downgrade(&watch));
        watch
    }
}

/// The calibrations that a deployer keeps in its directory.
pub fn calibrations(root: &Path) -> Result<timing::Store, OpenError> {
    Ok(timing::Store::new(root.join(start::CALIBRATIONS))?)
}

/// Opens everything in a directory, on this file layer.
pub fn open(files: Arc<dyn Files>, config: Config) -> Result<Arc<Deployer>, OpenError> {
    start::open(files, config)
}

#[cfg(test)]
mod tests;
