//! The transaction itself, and what becomes of a canary.

use std::io::Read as _;
use std::sync::Arc;

use leeway_contract::{Certificate, Digest};
use leeway_runtime::sandbox::Module;
use leeway_runtime::timing::Calibration;

use super::routes::names;
use super::{Deployed, Deployer, Running, clock, lock};
use crate::serving::{Routing, Trial, Version};
use crate::state::{Release, Settings, Slots};
use crate::store::{StoreError, Upload};
use crate::transaction::admit::Load;
use crate::transaction::quiet::quietly;
use crate::transaction::{
    Cancel, Cause, Opened, Progress, Refusal, Request, Source, Step, examine, trial,
};
use crate::trust::{Accepted, Memory};

/// A transaction under way.
struct Transaction<'a> {
    deployer: &'a Deployer,
    request: &'a Request,
    cancel: &'a Cancel,
    progress: &'a (dyn Fn(Progress) + Sync),
    step: Step,
}

/// A candidate that is what it says it is.
struct Examined {
    name: String,
    release: Release,
    accepted: Accepted,
    module: Module,
}

/// A candidate that may become active.
struct Candidate {
    version: Arc<Version>,
    settings: Settings,
}

impl Deployer {
    /// Brings a version in. Where that is refused, what served before serves, and
    /// the history says why.
    pub fn deploy(
        &self,
        request: &Request,
        source: Option<&mut (dyn Source + Send)>,
        cancel: &Cancel,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Deployed, Refusal> {
        let running = Running::begin(self, request.digest, cancel);
        let mut transaction =
            Transaction { deployer: self, request, cancel, progress, step: Step::Fetch };
        let result = transaction.run(source).map_err(|cause| {
            let refusal =
                Refusal { digest: request.digest, step: transaction.step, cause: Box::new(cause) };
            self.note_refusal(request, &refusal);
            refusal
        });
        self.release(request.digest);
        drop(running);
        if let Err(error) = self.collect() {
            tracing::warn!(%error, "what is not needed is not removed");
        }
        result
    }

    fn note_refusal(&self, request: &Request, refusal: &Refusal) {
        tracing::warn!(digest = %refusal.digest, %refusal, "a version was refused");
        if let Cause::Store(error) = &*refusal.cause {
            self.note_disk(error.is_full(), error);
        }
        let model = self.inspect(|state| {
            let of_candidate = |(name, slots): (&String, &Slots)| {
                let candidate = slots.candidate.as_ref()?;
                (candidate.digest == refusal.digest).then(|| name.clone())
            };
            let asked = request.model.clone().filter(|name| state.models.contains_key(name));
            state.models.iter().find_map(of_candidate).or(asked)
        });
        // What came before there was a disk that takes nothing is not noted on it.
        if let (Some(model), None) = (model, self.read_only()) {
            let reason = refusal.to_string();
            let note = |state: &mut crate::state::State| {
                let wanted = state.still_wants(&model, refusal.digest, request.goal);
                wanted.map(|()| state.slots(&model).refuse(clock(), refusal.digest, &reason))
            };
            if let Err(error) = self.change(note) {
                tracing::warn!(%error, "the refusal is not noted");
            }
        }
    }

    /// A canary has proven itself: it answers everything.
    pub(super) fn promote(&self, model: &str, digest: Digest, reason: &str) -> Result<(), String> {
        let _switching = lock(&self.switching);
        let served = self.serving.model(model).ok_or("the model does not serve any more")?;
        let routing = served.routing();
        let canary = routing.other.clone().filter(|other| other.digest() == digest);
        let canary = canary.ok_or("another version took its place")?;
        let at = clock();
        self.change(|state| {
            let slots = state.slots(model);
            slots.activate(at, digest, "it was a canary")?;
            slots.prove(at, reason)?;
            state.desired.iter_mut().for_each(|desired| desired.settle(model, digest));
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        let settings = self.inspect(|state| state.models[model].settings.clone());
        self.load_is(model, &canary, &settings);
        let other = Some(Arc::clone(&routing.primary));
        let (share, shadow, trial, streams) = (0.0, 0.0, Trial::None, names(&settings));
        let routing = Routing { primary: canary, other, share, shadow, trial, streams };
        self.serving.route(model, routing, None);
        Ok(())
    }

    /// A canary has failed: it answers nothing any more.
    pub(super) fn withdraw(&self, model: &str, digest: Digest, reason: &str) -> Result<(), String> {
        let _switching = lock(&self.switching);
        if let Some(served) = self.serving.model(model) {
            let routing = served.routing();
            if routing.other.as_ref().is_some_and(|other| other.digest() == digest) {
                let (share, shadow, trial) = (0.0, 0.0, Trial::None);
                let primary = Arc::clone(&routing.primary);
                let settings = self.inspect(|state| state.models[model].settings.clone());
                self.load_is(model, &primary, &settings);
                let streams = names(&settings);
                let next = Routing { primary, other: None, share, shadow, trial, streams };
                self.serving.route(model, next, None);
            }
        }
        tracing::warn!(model, %digest, reason, "a canary was withdrawn");
        let reason = format!("as a canary: {reason}");
        self.change(|state| {
            state.slots(model).refuse(clock(), digest, &reason);
            state.desired.iter_mut().for_each(|desired| desired.settle(model, digest));
            Ok(())
        })
        .map_err(|error| error.to_string())
    }
}

impl Transaction<'_> {
    fn run(&mut self, source: Option<&mut (dyn Source + Send)>) -> Result<Deployed, Cause> {
        let request = self.request;
        if let Some(settings) = &request.settings {
            settings.check().map_err(Cause::Settings)?;
        }
        let examined = quietly(|| self.examine(source))??;
        self.replay(&examined.module)?;
        let candidate = self.calibrate(&examined)?;
        self.switch(&examined, candidate)
    }

    /// All that needs neither the device's time nor its streams.
    fn examine(&mut self, source: Option<&mut (dyn Source + Send)>) -> Result<Examined, Cause> {
        let bytes = self.fetch(source)?;
        let certificate = self.certificate(&bytes)?;
        let accepted = self.signature(&bytes, &certificate)?;
        let release = self.propose(&certificate, &accepted)?;
        let module = self.compile(&bytes)?;
        Ok(Examined { name: certificate.model.name, release, accepted, module })
    }

    /// Replays the golden vectors. Where a run takes too long beside everything else
    /// that runs here, it has another chance with the priority that it will answer with.
    fn replay(&mut self, module: &Module) -> Result<(), Cause> {
        self.at(Step::Golden)?;
        let (options, cancel) = (&self.deployer.config.trial, self.cancel);
        let found = match quietly(|| examine::golden(module, options, cancel))? {
            Err(cause) if cause.is_of_time() => examine::golden(module, options, cancel)?,
            found => found?,
        };
        self.done(found);
        Ok(())
    }

    /// Begins a step, unless something newer was asked for.
    fn at(&mut self, step: Step) -> Result<(), Cause> {
        self.step = step;
        if self.cancel.is_cancelled() { Err(Cause::Cancelled) } else { Ok(()) }
    }

    fn done(&self, found: impl Into<String>) {
        let (digest, step) = (self.request.digest, self.step);
        (self.progress)(Progress { digest, step, found: found.into() });
    }

    /// The module's bytes, from the store or from the source.
    fn fetch(&mut self, source: Option<&mut (dyn Source + Send)>) -> Result<Vec<u8>, Cause> {
        self.at(Step::Fetch)?;
        let (store, digest) = (&self.deployer.store, self.request.digest);
        match store.read(digest) {
            Ok(bytes) => {
                self.done(format!("{} bytes, which were here", bytes.len()));
                return Ok(bytes);
            }
            Err(StoreError::Missing { .. }) => {}
            Err(error @ StoreError::Decayed { .. }) => {
                tracing::warn!(%error, "it is fetched again");
                store.discard(digest)?;
            }
            Err(error) => return Err(error.into()),
        }
        let source = source.ok_or(Cause::NoSource)?;
        match self.take(source) {
            // A power cut may have spoilt what had come before.
            Err((Cause::Store(StoreError::Digest { .. }), true)) => self.take(source),
            result => result,
        }
        .map_err(|(cause, _)| cause)?;
        let bytes = store.read(digest)?;
        self.done(format!("{} bytes came, with the digest that was wanted", bytes.len()));
        Ok(bytes)
    }

    /// Takes the module from a source. An error says whether the upload was resumed.
    fn take(&self, source: &mut dyn Source) -> Result<(), (Cause, bool)> {
        let (deployer, digest) = (self.deployer, self.request.digest);
        let keep = deployer.keep();
        let begin = |total| deployer.store.upload(digest, total, &keep);
        let fresh = |error: StoreError| (Cause::Store(error), false);
        let mut upload = begin(None).map_err(fresh)?;
        let opened = source.open(upload.offset()).map_err(|e| (Cause::Source(e), false))?;
        let (offset, total) = (opened.offset, opened.total);
        if offset != upload.offset() {
            upload.discard().map_err(fresh)?;
            upload = begin(total).map_err(fresh)?;
        } else if total.is_some() {
            drop(upload);
            upload = begin(total).map_err(fresh)?;
        }
        let resumed = offset > 0;
        self.pour(opened, upload).map_err(|cause| (cause, resumed))
    }

    fn pour(&self, mut opened: Opened<'_>, mut upload: Upload<'_>) -> Result<(), Cause> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if self.cancel.is_cancelled() {
                return Err(Cause::Cancelled);
            }
            match opened.reader.read(&mut buffer).map_err(Cause::Source)? {
                0 => break,
                count => upload.write(&buffer[..count])?,
            }
        }
        let seen = upload.offset();
        if let Some(wanted) = opened.total.filter(|&total| seen < total) {
            let digest = self.request.digest;
            return Err(StoreError::Truncated { digest, wanted, seen }.into());
        }
        Ok(upload.finish()?)
    }

    fn certificate(&mut self, bytes: &[u8]) -> Result<Certificate, Cause> {
        self.at(Step::Certificate)?;
        let certificate = examine::certificate(bytes, self.deployer.config.instance_bytes)?;
        let model = &certificate.model;
        if let Some(wanted) = self.request.model.as_ref().filter(|wanted| **wanted != model.name) {
            let (wanted, seen) = (wanted.clone(), model.name.clone());
            return Err(Cause::OtherModel { wanted, seen });
        }
        let (wanted, seen) = (self.request.version.as_ref(), &model.version);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != seen) {
            return Err(Cause::OtherVersion { wanted: wanted.clone(), seen: seen.clone() });
        }
        self.done(format!(
            "{} {}, {} units of fuel, {} bytes of memory, no imports",
            model.name,
            model.version,
            certificate.total_fuel(),
            certificate.memory_bytes
        ));
        Ok(certificate)
    }

    fn signature(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<Accepted, Cause> {
        self.at(Step::Signature)?;
        let (deployer, request) = (self.deployer, self.request);
        let model = &certificate.model;
        let memory = deployer.inspect(|state| Memory {
            newest_signature: state.newest_signature,
            highest_counter: state.models.get(&model.name).map_or(0, |s| s.highest_counter),
            allow_older: request.allow_older,
        });
        let trust = lock(&deployer.trust).clone();
        let module = (request.digest, bytes);
        let check = |envelope| examine::signature(&trust, module, certificate, envelope, &memory);
        let mut accepted = check(request.envelope.as_deref());
        for envelope in &request.other_envelopes {
            // The first refusal is the one that is told.
            accepted = accepted.or_else(|first| check(Some(envelope)).map_err(|_| first));
        }
        let accepted = accepted?;
        let keys: Vec<String> = accepted.signed_by.iter().map(ToString::to_string).collect();
        self.done(match accepted.counter {
            Some(counter) => format!("release {counter}, signed by {}", keys.join(", ")),
            None => "not signed, which this device allows".into(),
        });
        Ok(accepted)
    }

    fn propose(
        &mut self,
        certificate: &Certificate,
        accepted: &Accepted,
    ) -> Result<Release, Cause> {
        self.at(Step::Propose)?;
        let model = &certificate.model;
        let release = Release {
            digest: self.request.digest,
            version: model.version.clone(),
            counter: accepted.counter,
            signed_by: accepted.signed_by.iter().map(ToString::to_string).collect(),
        };
        let goal = self.request.goal;
        self.deployer.change(|state| {
            state.still_wants(&model.name, release.digest, goal)?;
            state.slots(&model.name).propose(release.clone())
        })?;
        self.done(format!("the candidate of {}", model.name));
        Ok(release)
    }

    fn compile(&mut self, bytes: &[u8]) -> Result<Module, Cause> {
        self.at(Step::Compile)?;
        let (sandbox, compiler) = (&self.deployer.sandbox, self.deployer.config.compiler.as_ref());
        let module = (self.request.digest, bytes);
        let (module, found) = examine::compile(sandbox, compiler, module, self.cancel)?;
        self.done(found);
        Ok(module)
    }

    fn calibrate(&mut self, examined: &Examined) -> Result<Candidate, Cause> {
        let Examined { name, release, module, .. } = examined;
        self.at(Step::Calibrate)?;
        let deployer = self.deployer;
        let known = deployer.inspect(|state| state.models[name].settings.clone());
        let settings = self.request.settings.clone().unwrap_or(known);
        let trial = &deployer.config.trial;
        let claims = trial::claims(module, deployer.sandbox.engine_hash(), trial);
        let kept = &deployer.calibrations;
        let holds = |known: &Calibration| {
            !self.request.recalibrate && deployer.is_as_streams_run(&known.real_time)
        };
        let known = quietly(|| kept.load(&claims).ok().filter(holds))?;
        let anew = known.is_none();
        let (calibration, found) = match known {
            Some(known) => (known, "it was calibrated on this device before".to_owned()),
            None => trial::measured(module, claims, kept, trial, self.cancel)?,
        };
        let (bound, version) = quietly(|| {
            let watch = deployer.watch(&calibration);
            if anew {
                watch.renew(calibration);
            }
            let bound = watch.calibrated().0.time;
            let version = deployer.version(release, module.clone(), Some(watch), &settings)?;
            Ok::<_, Cause>((bound, version))
        })??;
        self.done(format!("{found}; at most {bound:.1?} is promised"));
        Ok(Candidate { version, settings })
    }

    /// Tests the whole set with the candidate and makes it active. One at a time:
    /// the set must not change in between.
    fn switch(&mut self, examined: &Examined, candidate: Candidate) -> Result<Deployed, Cause> {
        let Examined { name, release, accepted, .. } = examined;
        self.at(Step::Admit)?;
        let deployer = self.deployer;
        let Candidate { version, settings } = candidate;
        let _switching = lock(&deployer.switching);
        let serves = deployer.serving.model(name).map(|model| model.routing());
        let same = serves.as_ref().is_some_and(|r| r.primary.digest() == release.digest);
        let canary = settings.rollout.canary.filter(|_| serves.is_some() && !same);
        let beside = serves.as_deref().map(|routing| &routing.primary).filter(|_| !same);
        let shadow = settings.rollout.shadow > 0.0;
        let load = match (beside, canary, shadow) {
            (Some(beside), Some(_), false) => Load::of(beside, &settings).with_canary(&version),
            (Some(beside), Some(_), true) => {
                Load::of(beside, &settings).with_canary(&version).with_shadow(beside)
            }
            (Some(beside), None, true) => Load::of(&version, &settings).with_shadow(beside),
            _ => Load::of(&version, &settings),
        };
        let mut next = lock(&deployer.loads).clone();
        next.insert(name.clone(), load);
        let ready = deployer.ready(next, name)?;
        self.done(format!("{} streams keep their deadlines", ready.admitted()));

        self.at(Step::Switch)?;
        let (digest, reason) = (release.digest, self.request.reason.as_str());
        deployer.change(|state| {
            state.still_wants(name, digest, self.request.goal)?;
            state.newest_signature = state.newest_signature.max(accepted.signed_at);
            if self.request.goal.is_some() {
                let desired = state.desired.iter_mut();
                desired.for_each(|desired| desired.tried(name, Some(digest), canary.is_none()));
            }
            let slots = state.slots(name);
            slots.settings = settings.clone();
            match canary {
                // It stays the candidate until it has proven itself.
                Some(_) => slots.propose(release.clone()),
                None => {
                    if self.request.allow_older {
                        slots.highest_counter = release.counter.unwrap_or(slots.highest_counter);
                    }
                    slots.activate(clock(), digest, reason)
                }
            }
        })?;
        deployer.go_over(ready);
        match canary {
            Some(share) => {
                deployer.serve_canary(name, version, share, &settings);
            }
            None => {
                let proven = deployer.inspect(|state| state.models[name].proven);
                let before = self.before(name, serves, &version);
                deployer.serve(name, version, before, &settings, !proven);
            }
        }
        self.done(if canary.is_some() { "it answers a share" } else { "it answers" });
        let (model, version) = (name.clone(), release.version.clone());
        Ok(Deployed { model, version, digest: release.digest, canary: canary.is_some() })
    }

    /// The version to fall back to, by the state, of those that are loaded.
    fn before(
        &self,
        name: &str,
        routing: Option<Arc<Routing>>,
        version: &Version,
    ) -> Option<Arc<Version>> {
        let previous = self.deployer.inspect(|state| state.models[name].previous.clone())?;
        let routing = routing?;
        let before = routing.versions().find(|v| v.digest() == previous.digest)?;
        (before.digest() != version.digest()).then(|| Arc::clone(before))
    }
}
