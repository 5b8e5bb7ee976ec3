//! A model goes: it serves no longer, and its modules are removed.

use leeway_contract::Digest;

use super::{Deployer, clock, lock};
use crate::state::{SlotError, StateError};

impl Deployer {
    /// A model serves no longer. What is remembered of it is its history, and how far
    /// its releases had come: an older one does not come back by this way. `goal`: as
    /// for [`Request::goal`](crate::transaction::Request::goal).
    pub fn remove(&self, name: &str, reason: &str, goal: Option<u64>) -> Result<(), StateError> {
        let _switching = lock(&self.switching);
        self.change(|state| {
            state.still_wants(name, Digest::from_bytes([0; 32]), goal)?;
            if goal.is_some() {
                state.desired.iter_mut().for_each(|desired| desired.tried(name, None, true));
            }
            match state.models.get_mut(name) {
                Some(slots) => slots.remove(clock(), reason),
                None => Err(SlotError::NothingActive),
            }
        })?;
        self.serving.remove(name);
        lock(&self.broken).remove(name);
        self.readmit(|loads| {
            loads.remove(name);
        });
        if let Err(error) = self.collect() {
            tracing::warn!(%error, "what is not needed is not removed");
        }
        Ok(())
    }
}
