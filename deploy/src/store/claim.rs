//! Who brings a module: the newest upload of it, and no other one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leeway_contract::Digest;

use super::StoreError;

/// The newest upload of each module that is on its way: whether it still counts.
pub(super) type Arrivals = BTreeMap<Digest, Arc<Mutex<bool>>>;

/// An upload's right to write, until a newer one takes it, or it is dropped.
pub(super) struct Claim {
    all: Arc<Mutex<Arrivals>>,
    digest: Digest,
    counts: Arc<Mutex<bool>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// Takes it from whoever has it. When this returns, that one writes nothing more.
    pub(super) fn take(all: &Arc<Mutex<Arrivals>>, digest: Digest) -> Self {
        let counts = Arc::new(Mutex::new(true));
        let before = lock(all).insert(digest, Arc::clone(&counts));
        if let Some(before) = before {
            *lock(&before) = false;
        }
        Self { all: Arc::clone(all), digest, counts }
    }

    /// Does something that no other upload of the module may do at the same time.
    pub(super) fn exercise<T>(
        &self,
        act: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let counts = lock(&self.counts);
        if *counts { act() } else { Err(StoreError::TakenOver { digest: self.digest }) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if all.get(&self.digest).is_some_and(|newest| Arc::ptr_eq(newest, &self.counts)) {
            all.remove(&self.digest);
        }
    }
}
