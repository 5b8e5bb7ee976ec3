//! What every thread of a relay waits at: until a moment, until the link is up
//! again, or until the relay is shut down.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    down: bool,
    closed: bool,
}

/// The relay was shut down: stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// The gate, and the clock that counts from the start of the link.
pub(super) struct Gate {
    start: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// A gate that is open, at time zero.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Time since the start of the link.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until the time `at`, and on while the link is down.
    ///
    /// As exact as the kernel's timers: see [`sharpen_timers`].
    pub(super) fn pass_at(&self, at: Duration) -> Result<(), Closed> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Closed);
            }
            let left = at.saturating_sub(self.now());
            state = match (state.down, left) {
                (false, Duration::ZERO) => return Ok(()),
                (true, _) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                (false, left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits while the link is down.
    pub(super) fn pass(&self) -> Result<(), Closed> {
        self.pass_at(Duration::ZERO)
    }

    pub(super) fn set_down(&self, down: bool) {
        self.lock().down = down;
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the kernel to wake this thread, and those it starts, on time: by
/// default it may be up to 50 us late. Without effect elsewhere than on Linux.
pub(super) fn sharpen_timers() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!(%error, "timer slack stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_below_a_millisecond_are_kept() {
        sharpen_timers();
        let gate = Gate::new();
        let mut late: Vec<Duration> = (0..200)
            .map(|_| {
                let at = gate.now() + MS * 3 / 10;
                gate.pass_at(at).unwrap();
                gate.now() - at
            })
            .collect();
        late.sort();
        assert!(late[10] < MS / 4, "one in twenty within {:?}", late[10]);
    }

    #[test]
    fn nothing_passes_while_the_link_is_down() {
        let gate = Arc::new(Gate::new());
        gate.set_down(true);
        let waiting = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.pass().map(|()| gate.now())
        });
        thread::sleep(MS * 20);
        let raised = gate.now();
        gate.set_down(false);
        assert!(waiting.join().unwrap().unwrap() >= raised);
    }

    #[test]
    fn a_shutdown_ends_every_wait() {
        let gate = Arc::new(Gate::new());
        let waiting = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.pass_at(Duration::from_secs(3_600))
        });
        thread::sleep(MS * 5);
        gate.close();
        assert_eq!(waiting.join().unwrap(), Err(Closed));
        assert_eq!(gate.pass(), Err(Closed));
    }
}
