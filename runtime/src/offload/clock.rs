//! Time behind a trait, so that everything that decides by it can be tested in
//! simulated time.
//!
//! A time is a [`Duration`] since the clock's own start. It means nothing on
//! another machine, and no clock of another machine is ever read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A clock that never goes backwards.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time since the clock's start.
    fn now(&self) -> Duration;

    /// Returns at the time `at`, at once if that is over.
    fn sleep_until(&self, at: Duration);
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, at: Duration) {
        std::thread::sleep(at.saturating_sub(self.now()));
    }
}

/// Simulated time: it passes only when it is told to. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    now: Arc<Mutex<Duration>>,
}

impl VirtualClock {
    /// A clock at time zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `time` pass.
    pub fn advance(&self, time: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(time);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the time until `at` pass.
    fn sleep_until(&self, at: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (*now).max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_passes_for_all_clones_and_never_back() {
        let clock = VirtualClock::new();
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        other.sleep_until(Duration::from_secs(1));
        assert_eq!(other.now(), Duration::from_secs(2));
        other.sleep_until(Duration::from_secs(5));
        assert_eq!(clock.now(), Duration::from_secs(5));
    }

    #[test]
    fn the_machines_clock_reaches_the_time_slept_for() {
        let clock = MonotonicClock::new();
        let at = clock.now() + Duration::from_millis(2);
        clock.sleep_until(at);
        assert!(clock.now() >= at);
    }
}
