//! How a deployer begins: with what is on the disk, whatever happened before. It
//! needs no network and no clock, and it writes nothing that it could do without.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};

use leeway_runtime::sandbox::{Module, Sandbox, SandboxConfig};
use leeway_runtime::timing::Keeper;

use super::{Config, Deployer, OpenError, clock, keeper, lock};
use crate::files::Files;
use crate::serving::{Serving, Version};
use crate::state::{Release, Settings, Slots, StateFile};
use crate::store::Store;
use crate::transaction::{Cancel, Cause, examine, trial};

/// The directory of compiled code.
pub(super) const CODE: &str = "code";
/// The directory of calibrations.
pub(super) const CALIBRATIONS: &str = "calibrations";

pub(super) fn open(files: Arc<dyn Files>, config: Config) -> Result<Arc<Deployer>, OpenError> {
    let store = Store::open(Arc::clone(&files), &config.root, config.limits)?;
    let state = StateFile::open(files, &config.root)?;
    let cache_dir = Some(config.root.join(CODE));
    let sandbox = Sandbox::new(SandboxConfig { cache_dir, ..config.sandbox.clone() })?;
    let calibrations = super::calibrations(&config.root)?;
    let (outcomes, outcomes_come) = channel();
    let serving = Serving::new(outcomes, Arc::clone(&config.streams));
    let keeper = Keeper::start(calibrations.clone()).map_err(OpenError::Thread)?;
    let deployer = Arc::new(Deployer {
        trust: Mutex::new(config.trust.clone()),
        config,
        store,
        state,
        sandbox,
        calibrations,
        keeper: Arc::new(keeper),
        watches: Mutex::new(BTreeMap::new()),
        serving,
        loads: Mutex::new(BTreeMap::new()),
        admission: Mutex::new(None),
        held: Mutex::new(VecDeque::new()),
        running: Mutex::new(Vec::new()),
        switching: Mutex::new(()),
        listener: OnceLock::new(),
        read_only: Mutex::new(None),
        broken: Mutex::new(BTreeMap::new()),
    });
    deployer.count_starts();
    for (name, slots) in deployer.inspect(|state| state.models.clone()) {
        deployer.serve_from_disk(&name, &slots);
    }
    if let Err(error) = deployer.collect() {
        tracing::warn!(%error, "what is not needed is not removed");
    }
    keeper::start(&deployer, outcomes_come).map_err(OpenError::Thread)?;
    Ok(deployer)
}

impl Deployer {
    /// Candidates of before are gone; a version on probation with which the device
    /// started too often is, too.
    fn count_starts(&self) {
        let result = self.change(|state| {
            for slots in state.models.values_mut() {
                slots.candidate = None;
                if slots.active.is_none() || slots.proven {
                    continue;
                }
                slots.starts += 1;
                let most = slots.settings.probation.starts;
                if slots.starts > most && slots.previous.is_some() {
                    let reason = format!(
                        "the device started {} times meanwhile, at most {most} may",
                        slots.starts
                    );
                    slots.roll_back(clock(), &reason)?;
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            tracing::warn!(%error, "this start is not counted");
        }
    }

    /// Serves what is active, or else what was before.
    fn serve_from_disk(&self, name: &str, slots: &Slots) {
        let Some(active) = &slots.active else { return };
        let failure = match self.load_release(active, &slots.settings) {
            Ok(version) => {
                let before = slots.previous.as_ref().and_then(|previous| {
                    let loaded = self.load_release(previous, &slots.settings);
                    loaded
                        .inspect_err(|error| tracing::warn!(model = name, %error, "no way back"))
                        .ok()
                });
                self.load_is(name, &version, &slots.settings);
                return self.serve(name, version, before, &slots.settings, !slots.proven);
            }
            Err(failure) => failure,
        };
        tracing::error!(model = name, %failure, "the active version does not start");
        let previous = slots.previous.as_ref().map(|p| self.load_release(p, &slots.settings));
        match previous {
            Some(Ok(version)) => {
                let reason = format!("it does not start: {failure}");
                let kept =
                    self.change(|state| state.slots(name).roll_back(clock(), &reason).map(|_| ()));
                if let Err(error) = kept {
                    tracing::warn!(%error, "the way back is not kept");
                }
                self.load_is(name, &version, &slots.settings);
                self.serve(name, version, None, &slots.settings, false);
            }
            previous => {
                let also = previous.and_then(Result::err);
                let also = also.map_or(String::new(), |e| format!("; and the one before: {e}"));
                lock(&self.broken).insert(name.to_owned(), format!("{failure}{also}"));
            }
        }
    }

    /// Loads a release from the store, with what is known of its times.
    pub(super) fn load_release(
        &self,
        release: &Release,
        settings: &Settings,
    ) -> Result<Arc<Version>, Cause> {
        let bytes = self.store.read(release.digest)?;
        let (sandbox, module) = (&self.sandbox, (release.digest, bytes.as_slice()));
        let compiled =
            examine::compile(sandbox, self.config.compiler.as_ref(), module, &Cancel::default());
        let module = match compiled {
            // It answered here before: that it cannot be compiled apart, as on a disk that
            // takes nothing, is no reason that it does not any more.
            Err(error @ Cause::Compile(_)) => {
                tracing::warn!(digest = %release.digest, %error, "it is compiled here");
                sandbox.load_expecting(&bytes, release.digest)?
            }
            compiled => compiled?.0,
        };
        drop(bytes);
        self.prepare(release, module, settings)
    }

    /// What serves a module, with the calibration that is kept of it.
    pub(super) fn prepare(
        &self,
        release: &Release,
        module: Module,
        settings: &Settings,
    ) -> Result<Arc<Version>, Cause> {
        let claims = trial::claims(&module, self.sandbox.engine_hash(), &self.config.trial);
        let calibration = self.calibrations.load(&claims);
        match &calibration {
            Ok(calibration) if !self.is_as_streams_run(&calibration.real_time) => {
                tracing::warn!(
                    digest = %release.digest,
                    calibrated = %calibration.real_time,
                    "streams have another real-time set-up than it was calibrated under: deploy \
                     it again, and it is measured anew"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "without a calibration nothing is promised"),
        }
        let watch = calibration.ok().map(|calibration| self.watch(&calibration));
        self.version(release, module, watch, settings)
    }
}
