//! Wall-clock deadlines: one thread per sandbox, which sleeps until the nearest
//! armed deadline and then advances the engines' epochs. Without a deadline it
//! sleeps without end: an idle device is never woken.
//!
//! Each store looks at its own deadline when the epoch advances, so one store's
//! deadline interrupts no other store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::config::WatchdogHook;

/// The error with which a store's epoch callback ends a call.
#[derive(Debug, thiserror::Error)]
#[error("the deadline of {deadline:?} passed")]
pub(super) struct DeadlinePassed {
    pub(super) deadline: Duration,
}

/// A deadline of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) after: Duration,
}

impl Deadline {
    /// `None` where the clock does not reach so far: as good as no deadline.
    pub(super) fn new(start: Instant, after: Duration) -> Option<Self> {
        start.checked_add(after).map(|at| Self { at, after })
    }
}

/// How long after a deadline the epoch advances again, while it is still armed.
/// A store that looked at the clock just before its deadline, because of
/// another store's, may take the new epoch for the old one.
const RETRY: Duration = Duration::from_millis(1);

struct Entry {
    at: Instant,
    id: u64,
}

#[derive(Default)]
struct State {
    /// As many as there are runs with a deadline at this moment: a few.
    armed: Vec<Entry>,
    /// When the thread wakes up by itself, if it does.
    wakes_at: Option<Instant>,
    stopped: bool,
}

impl State {
    fn nearest(&self) -> Option<Instant> {
        self.armed.iter().map(|entry| entry.at).min()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the set stays valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread and what it waits for.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    next: AtomicU64,
    engines: Vec<wasmtime::Engine>,
    on_start: Option<WatchdogHook>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Watchdog {
    pub(super) fn new(engines: Vec<wasmtime::Engine>, on_start: Option<WatchdogHook>) -> Self {
        let shared = Arc::default();
        Self { shared, next: AtomicU64::new(0), engines, on_start, thread: Mutex::new(None) }
    }

    /// Makes the epoch advance at `at`, unless the guard is dropped before.
    pub(super) fn arm(&self, at: Instant) -> std::io::Result<Armed<'_>> {
        self.start_once()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.shared.lock();
        let wake = state.wakes_at.is_none_or(|wakes_at| at < wakes_at);
        state.armed.push(Entry { at, id });
        drop(state);
        if wake {
            self.shared.changed.notify_one();
        }
        Ok(Armed { shared: &self.shared, id })
    }

    /// Makes the epoch advance now, so that each running store looks around.
    pub(super) fn advance(&self) {
        for engine in &self.engines {
            engine.increment_epoch();
        }
    }

    fn start_once(&self) -> std::io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (shared, engines) = (Arc::clone(&self.shared), self.engines.clone());
            let on_start = self.on_start.clone();
            let watch = move || {
                if let Some(hook) = on_start {
                    hook.call();
                }
                watch(&shared, &engines);
            };
            *thread = Some(thread::Builder::new().name("leeway-watchdog".into()).spawn(watch)?);
        }
        Ok(())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It can only have panicked in the hook, which has reported so.
            let _ = thread.join();
        }
    }
}

/// An armed deadline. Dropping it disarms.
pub(super) struct Armed<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        // Without waking the thread: if it sleeps for this entry, it wakes up
        // once, finds nothing due and sleeps on. Short runs with long deadlines,
        // one after the other, so wake it once in a deadline's time, not once
        // in each run.
        self.shared.lock().armed.retain(|entry| entry.id != self.id);
    }
}

fn watch(shared: &Shared, engines: &[wasmtime::Engine]) {
    let mut state = shared.lock();
    while !state.stopped {
        let now = Instant::now();
        let mut due = false;
        for entry in state.armed.iter_mut().filter(|entry| entry.at <= now) {
            entry.at = now + RETRY;
            due = true;
        }
        if due {
            for engine in engines {
                engine.increment_epoch();
            }
        }
        state.wakes_at = state.nearest();
        state = match state.wakes_at {
            Some(at) => {
                let wait = at.saturating_duration_since(now);
                shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
