//! Ends an exchange before its limit: once the device has answered, the fog host's
//! answer is of no use, and neither the radio nor a thread need wait for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What an exchange runs over.
pub(super) trait Connection: Send + Sync {
    /// Closes it, if the exchange of this handle is the one that uses it.
    fn close(&self, by: &Abort);
}

/// The handle of one exchange, shared by who makes it and who may end it.
#[derive(Default)]
pub struct Abort(Mutex<State>);

#[derive(Default)]
struct State {
    aborted: bool,
    connection: Option<Weak<dyn Connection>>,
}

impl fmt::Debug for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abort").field("aborted", &self.is_aborted()).finish_non_exhaustive()
    }
}

impl Abort {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the exchange: its connection is closed, and what waits on it returns. One
    /// that is over is not touched.
    pub fn abort(&self) {
        let mut state = self.state();
        state.aborted = true;
        let connection = state.connection.take();
        // Whoever closes asks the connection, which may be asking us.
        drop(state);
        if let Some(connection) = connection.and_then(|connection| connection.upgrade()) {
            connection.close(self);
        }
    }

    /// Whether it was called.
    pub fn is_aborted(&self) -> bool {
        self.state().aborted
    }

    /// The exchange uses this connection now. False if it is not to any more.
    pub(super) fn uses(&self, connection: &Arc<impl Connection + 'static>) -> bool {
        let mut state = self.state();
        let connection: Weak<dyn Connection> = Arc::<_>::downgrade(connection) as _;
        state.connection = Some(connection);
        !state.aborted
    }

    /// The exchange is over.
    pub(super) fn over(&self) {
        self.state().connection = None;
    }
}
