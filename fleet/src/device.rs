//! One device: the module is sent and deployed there, and watched until it has proven
//! itself.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use leeway_client::{Client, ClientError};
use leeway_contract::Digest;
use leeway_control::slots::Slots;
use leeway_control::{DeployEvent, DeployRequest, Status, Step};

use crate::rollout::Outcome;

/// A module for the devices.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file with its bytes.
    pub path: PathBuf,
    /// The texts of its signatures' files; each device believes one.
    pub signatures: Vec<String>,
    /// What is asked of each device; the signature is filled in.
    pub request: DeployRequest,
    /// The longest that a device may take to prove it.
    pub health: Duration,
}

/// How far a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has so many bytes of the module, of so many.
    Sent(u64, u64),
    /// It is done with a step.
    Done(Step),
    /// The version is on probation, after so many inferences.
    Probation(u64),
}

/// Between two looks at a device's probation: short at first, for those that are quick.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LATEST_LOOK: Duration = Duration::from_secs(5);

impl Module {
    fn digest(&self) -> Digest {
        self.request.digest
    }

    /// Brings the module to a device and waits until it has proven itself there. A
    /// device that has it already is only watched.
    pub fn bring(&self, client: &Client, phase: &mut dyn FnMut(Phase)) -> Outcome {
        match self.try_bring(client, phase) {
            Ok(outcome) => outcome,
            Err(error) if error.is_unreachable() => {
                Outcome::Unreachable { reason: error.to_string() }
            }
            Err(error) => Outcome::Failed { reason: error.to_string() },
        }
    }

    fn try_bring(
        &self,
        client: &Client,
        phase: &mut dyn FnMut(Phase),
    ) -> Result<Outcome, ClientError> {
        let status = client.status()?;
        let model = match self.serves_at(&status) {
            Some(model) => model,
            None => {
                let mut file = File::open(&self.path).map_err(ClientError::Source)?;
                let mut sent = |bytes, total| phase(Phase::Sent(bytes, total));
                client.send_from(self.digest(), &mut file, &mut sent)?;
                let told = |event: &DeployEvent| {
                    if let DeployEvent::Progress(progress) = event {
                        phase(Phase::Done(progress.step));
                    }
                };
                client.deploy_signed(&self.request, &self.signatures, told)?.model
            }
        };
        self.watch(client, &model, phase)
    }

    /// The model whose active version or canary it is there.
    fn serves_at(&self, status: &Status) -> Option<String> {
        let is = |slots: &Slots| {
            let releases = [&slots.active, &slots.candidate];
            releases.into_iter().flatten().any(|release| release.digest == self.digest())
        };
        let model = status.models.iter().find(|(_, model)| {
            is(&model.slots) && model.broken.is_none() && model.serving.is_some()
        });
        model.map(|(name, _)| name.clone())
    }

    /// Waits for the end of the probation. A device may be away meanwhile: what counts
    /// is what it says in the end.
    fn watch(
        &self,
        client: &Client,
        model: &str,
        phase: &mut dyn FnMut(Phase),
    ) -> Result<Outcome, ClientError> {
        let (begin, mut look) = (Instant::now(), FIRST_LOOK);
        loop {
            let seen = client.status();
            if let Some(outcome) = seen.as_ref().ok().and_then(|seen| self.verdict(seen, model)) {
                return Ok(outcome);
            }
            if let Ok(status) = &seen {
                let probation = status.models.get(model).and_then(|m| m.probation.as_ref());
                phase(Phase::Probation(probation.map_or(0, |probation| probation.inferences)));
            }
            if begin.elapsed() >= self.health {
                seen?;
                let seconds = self.health.as_secs();
                let reason = format!("it did not prove itself within {seconds} s");
                return Ok(Outcome::Failed { reason });
            }
            std::thread::sleep(look.min(self.health.saturating_sub(begin.elapsed())));
            look = (look * 2).min(LATEST_LOOK);
        }
    }

    /// What came of the version on a device; `None` while that is open.
    fn verdict(&self, status: &Status, model: &str) -> Option<Outcome> {
        let failed = |reason: String| Some(Outcome::Failed { reason });
        let Some(model) = status.models.get(model) else {
            return failed("the device knows the model no more".into());
        };
        let is = |release: &Option<leeway_control::slots::Release>| {
            release.as_ref().is_some_and(|release| release.digest == self.digest())
        };
        if let Some(reason) = &model.broken {
            return failed(reason.clone());
        }
        if is(&model.slots.active) {
            return model.slots.proven.then_some(Outcome::Healthy);
        }
        if is(&model.slots.candidate) {
            return None;
        }
        let last = model.slots.history.iter().rfind(|entry| entry.digest == self.digest());
        failed(last.map_or("another version serves".into(), |entry| entry.reason.clone()))
    }
}

#[cfg(test)]
mod tests {
    use leeway_control::ModelStatus;
    use leeway_control::slots::Release;

    use super::*;

    fn module() -> Module {
        Module {
            path: PathBuf::new(),
            signatures: vec![],
            request: DeployRequest::new(Digest::of(b"new")),
            health: Duration::ZERO,
        }
    }

    fn release(bytes: &[u8]) -> Release {
        let digest = Digest::of(bytes);
        Release { digest, version: "1".into(), counter: None, signed_by: vec![] }
    }

    fn status(slots: Slots) -> Status {
        let serving = slots.active.as_ref().map(|release| release.digest);
        let model =
            ModelStatus { slots, serving, broken: None, probation: None, calibration: None };
        Status {
            version: String::new(),
            models: [("m".to_owned(), model)].into(),
            read_only: None,
            store_bytes: None,
            quota_bytes: 0,
            streams: Default::default(),
            conditions: Default::default(),
            desired: None,
            cut: false,
        }
    }

    #[test]
    fn a_version_is_healthy_once_proven_and_has_failed_once_it_is_neither_active_nor_candidate() {
        let module = module();
        let verdict = |slots: &Slots| module.verdict(&status(slots.clone()), "m");
        let mut slots = Slots::default();
        slots.propose(release(b"old")).unwrap();
        slots.activate(0, Digest::of(b"old"), "").unwrap();
        slots.prove(0, "").unwrap();
        slots.propose(release(b"new")).unwrap();
        assert_eq!(verdict(&slots), None);
        assert_eq!(module.serves_at(&status(slots.clone())), Some("m".into()));
        let mut withdrawn = slots.clone();
        withdrawn.refuse(0, Digest::of(b"new"), "as a canary: drift");
        let drift = Outcome::Failed { reason: "as a canary: drift".into() };
        assert_eq!(verdict(&withdrawn), Some(drift));
        assert_eq!(module.serves_at(&status(withdrawn)), None);
        slots.activate(0, Digest::of(b"new"), "").unwrap();
        assert_eq!(verdict(&slots), None);
        let mut proven = slots.clone();
        proven.prove(0, "").unwrap();
        assert_eq!(verdict(&proven), Some(Outcome::Healthy));
        slots.roll_back(0, "3 failures, at most 0 may").unwrap();
        let failures = Outcome::Failed { reason: "3 failures, at most 0 may".into() };
        assert_eq!(verdict(&slots), Some(failures));
    }
}
