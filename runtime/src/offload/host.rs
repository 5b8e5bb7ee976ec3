//! A device's one fog host, and what is believed of it: shared by everything that asks
//! it, so that what one of them learns, all know, and one prober is enough.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::beliefs::Beliefs;
use super::clock::{Clock, MonotonicClock};
use super::energy::EnergyModel;
use super::fog::{Fog, NoFog};
use super::offloader::Options;

/// A fog host as a device sees it. The lock on what is believed is never held during an
/// exchange.
pub struct Host {
    pub(super) fog: Arc<dyn Fog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    pub(super) requests: AtomicU64,
    pub(super) beliefs: Arc<Mutex<Beliefs>>,
}

impl Host {
    /// A host of which nothing is known. All times that are believed of it are by this
    /// clock.
    pub fn new(fog: Arc<dyn Fog>, clock: Arc<dyn Clock>, options: Options) -> Self {
        Self { fog, clock, options, requests: AtomicU64::new(0), beliefs: Arc::default() }
    }

    /// No fog host at all.
    pub fn none() -> Self {
        Self::new(Arc::new(NoFog), Arc::new(MonotonicClock::new()), Options::default())
    }

    pub(super) fn beliefs(&self) -> MutexGuard<'_, Beliefs> {
        self.beliefs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is believed at the moment.
    pub fn inspect<T>(&self, look: impl FnOnce(&Beliefs) -> T) -> T {
        look(&self.beliefs())
    }

    /// Lets records and policies know what each choice takes of the device's energy.
    pub fn set_energy(&self, model: Arc<dyn EnergyModel>) {
        self.beliefs().set_energy(model);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("fog", &self.fog).finish_non_exhaustive()
    }
}
