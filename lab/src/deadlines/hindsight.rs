//! The hindsight oracle: knows of each input how long either choice will take, and
//! takes the better. What any policy's regret is measured against.
//!
//! It chooses for each input by itself. That an input on the device delays the next
//! one it does not see, so that a policy may now and then do better.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leeway_runtime::offload::policy::{Context, Decision, Policy, Reason};

/// What the world knows of the next input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Future {
    /// Its execution time on the device.
    pub local: Duration,
    /// The time to the fog host's answer.
    pub offloaded: Duration,
}

/// Where the world leaves it for the oracle.
#[derive(Clone, Debug, Default)]
pub(super) struct Foresight(Arc<Mutex<Option<Future>>>);

impl Foresight {
    pub fn tell(&self, future: Future) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(future);
    }
}

/// The policy.
#[derive(Debug)]
pub(super) struct Hindsight(pub Foresight);

impl Policy for Hindsight {
    fn name(&self) -> &'static str {
        "hindsight"
    }

    fn decide(&mut self, context: &Context) -> Decision {
        let future = *self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Future { local, offloaded }) = future else {
            return Decision::local(Reason::LinkUnknown);
        };
        let here = context.backlog.saturating_add(local);
        let compensated = context.armed.unwrap_or_default().saturating_add(here);
        match offloaded.min(compensated) < here {
            true => Decision::fog(Reason::FogIsFaster),
            false => Decision::local(Reason::DeviceIsFaster),
        }
    }
}
