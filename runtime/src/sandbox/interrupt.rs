//! Ending a run from another thread, whose result nobody wants any more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::engine::Inner;

/// The error with which a store's epoch callback ends a call.
#[derive(Debug, thiserror::Error)]
#[error("the run was interrupted")]
pub(super) struct Interrupted;

/// Ends the run that it is given to, or keeps it from beginning. A clone is the
/// same one.
#[derive(Clone)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    sandbox: Arc<Inner>,
}

impl Interrupt {
    pub(super) fn new(sandbox: Arc<Inner>) -> Self {
        Self { asked: Arc::default(), sandbox }
    }

    /// Ends the run. Where there is none yet, the one to come ends at once.
    pub fn interrupt(&self) {
        // Before the epoch: whoever sees the epoch advance must see this.
        self.asked.store(true, Ordering::SeqCst);
        self.sandbox.watchdog.advance();
    }

    /// Whether somebody has asked.
    pub fn is_interrupted(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("asked", &self.asked).finish_non_exhaustive()
    }
}
