//! The thread that acts on what probations come to.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{Deployer, clock, lock};
use crate::probation::Verdict;
use crate::serving::{Outcome, Trial};
use crate::state::State;

/// How often time passes for probations.
const TICK: Duration = Duration::from_millis(200);

/// Starts the thread; it ends with the deployer.
pub(super) fn start(deployer: &Arc<Deployer>, outcomes: Receiver<Outcome>) -> std::io::Result<()> {
    let deployer = Arc::downgrade(deployer);
    std::thread::Builder::new().name("keeper".into()).spawn(move || keep(&deployer, &outcomes))?;
    Ok(())
}

/// How often it is written down at most how far probations are, where nothing bad
/// happens: a disk wears out.
const RECORD: Duration = Duration::from_secs(30);

fn keep(deployer: &Weak<Deployer>, outcomes: &Receiver<Outcome>) {
    let (mut recorded, mut bad) = (Instant::now(), 0);
    loop {
        let outcome = outcomes.recv_timeout(TICK);
        let Some(deployer) = deployer.upgrade() else { return };
        match outcome {
            Ok(outcome) => deployer.conclude(&outcome),
            Err(RecvTimeoutError::Timeout) => {
                deployer.serving.tick();
                let now = deployer.bad_so_far();
                if now != bad || recorded.elapsed() >= RECORD {
                    (recorded, bad) = (Instant::now(), now);
                    deployer.record_probations();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Deployer {
    /// What speaks against all versions on probation.
    fn bad_so_far(&self) -> u64 {
        let models = self.serving.names().into_iter().filter_map(|name| self.serving.model(&name));
        let counts = models.filter_map(|model| model.probation_counts());
        counts.map(|seen| seen.failures + seen.overruns + seen.missed + seen.drifted).sum()
    }

    /// Writes down how far probations are: a restart goes on there.
    pub fn record_probations(&self) {
        let now = self.serving.now();
        let record = |name: String| {
            let record = self.serving.model(&name)?.probation_record(now)?;
            Some((name, record))
        };
        let records: Vec<_> = self.serving.names().into_iter().filter_map(record).collect();
        let kept = self.change(|state| {
            for (name, record) in records {
                state.slots(&name).record(record);
            }
            Ok(())
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "it is not written down how far probations are");
        }
    }

    /// Acts on what a probation came to.
    pub(super) fn conclude(&self, outcome: &Outcome) {
        let Outcome { model, digest, verdict } = outcome;
        // A candidate whose transaction is under way answers nothing yet: what comes of
        // its module then is from when that was active before.
        let canary = self.answers_a_share(outcome)
            && self.inspect(|state| is_candidate(state, model, outcome));
        let result = match (verdict, canary) {
            (Verdict::Going, _) => return,
            (Verdict::Passed(reason), true) => self.promote(model, *digest, reason),
            (Verdict::Passed(reason), false) => self.settle(model, outcome, reason),
            (Verdict::Failed(reason), true) => self.withdraw(model, *digest, reason),
            (Verdict::Failed(reason), false) => {
                let active = self.inspect(|state| is_active(state, model, outcome));
                match active.then(|| self.roll_back(model, reason)) {
                    Some(Err(error)) => Err(error.to_string()),
                    _ => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            tracing::error!(model, %digest, ?verdict, error, "what a probation came to is not kept");
        }
    }

    /// Whether an outcome is of the version that answers a share of the inputs.
    fn answers_a_share(&self, outcome: &Outcome) -> bool {
        let Some(served) = self.serving.model(&outcome.model) else { return false };
        let routing = served.routing();
        routing.trial == Trial::Other
            && routing.on_trial().is_some_and(|version| version.digest() == outcome.digest)
    }

    /// The active version has proven itself.
    fn settle(&self, model: &str, outcome: &Outcome, reason: &str) -> Result<(), String> {
        tracing::info!(model, digest = %outcome.digest, reason, "a version has proven itself");
        let _switching = lock(&self.switching);
        if let Some(served) = self.serving.model(model) {
            let routing = served.routing();
            if routing.primary.digest() == outcome.digest {
                let next = crate::serving::Routing {
                    trial: Trial::None,
                    shadow: 0.0,
                    ..(*routing).clone()
                };
                let settings = self.inspect(|state| state.models[model].settings.clone());
                self.load_is(model, &next.primary, &settings);
                self.serving.route(model, next, None);
            }
        }
        self.change(|state| match is_active(state, model, outcome) {
            true => state.slots(model).prove(clock(), reason),
            false => Ok(()),
        })
        .map_err(|error| error.to_string())
    }
}

fn is_candidate(state: &State, model: &str, outcome: &Outcome) -> bool {
    let slots = state.models.get(model);
    let candidate = slots.and_then(|slots| slots.candidate.as_ref());
    candidate.is_some_and(|candidate| candidate.digest == outcome.digest)
}

fn is_active(state: &State, model: &str, outcome: &Outcome) -> bool {
    let active = state.models.get(model).and_then(|slots| slots.active.as_ref());
    active.is_some_and(|active| active.digest == outcome.digest)
}
