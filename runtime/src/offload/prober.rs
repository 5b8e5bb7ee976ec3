//! Keeps an offloader's estimates fresh, off the inference path: probes, measures
//! throughput, and sends the fog host the modules that it lacks.
//!
//! A [`Prober`] is stepped by whoever has time to spare (between two inputs, or
//! in simulated time), or by a thread of its own.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use leeway_contract::Digest;

use super::beliefs::Due;
use super::fog::{FogError, Traffic};
use super::host::Host;

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What was due.
    pub due: Due,
    /// The time that it took and what crossed the link, or why it failed.
    pub result: Result<(Duration, Traffic), FogError>,
}

/// Makes the exchanges that are due for one offloader.
#[derive(Debug)]
pub struct Prober {
    host: Arc<Host>,
    components: HashMap<Digest, Arc<[u8]>>,
}

impl Prober {
    /// For this host, which can be sent these components.
    pub fn new(host: Arc<Host>, components: HashMap<Digest, Arc<[u8]>>) -> Self {
        Self { host, components }
    }

    /// Makes at most one exchange, if one is due.
    pub fn step(&mut self) -> Option<Probed> {
        let host = &*self.host;
        let rule = &host.options.probe;
        let start = host.clock.now();
        let due = host.beliefs().due(start, rule)?;
        let fog = &*host.fog;
        let result = match due {
            Due::Connect | Due::Probe => fog.probe(rule.limit),
            Due::Throughput(body_bytes) => fog.probe_throughput(body_bytes, rule.limit),
            Due::Push(module) => match self.components.get(&module) {
                Some(bytes) => fog.push(module, bytes, rule.push_limit).map(|_| Traffic::default()),
                None => Err(FogError::Malformed(format!("{module} cannot be pushed from here"))),
            },
        };
        let now = host.clock.now();
        let elapsed = now.saturating_sub(start);
        if let Err(error) = &result {
            tracing::debug!(%error, "probe failed");
        }
        host.beliefs().exchanged(now, due, &result, elapsed, rule);
        Some(Probed { due, result: result.map(|traffic| (elapsed, traffic)) })
    }

    /// Makes all exchanges that are due now, at most `at_most` of them.
    pub fn catch_up(&mut self, at_most: usize) -> Vec<Probed> {
        std::iter::from_fn(|| self.step()).take(at_most).collect()
    }

    /// Steps on a thread of its own, looking every `interval` whether something
    /// is due, until the returned handle is dropped.
    pub fn spawn(mut self, interval: Duration) -> std::io::Result<ProbeThread> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("leeway-prober".into()).spawn(move || {
            let (stopped, changed) = &*seen;
            loop {
                let probed = self.step().is_some_and(|probed| probed.result.is_ok());
                let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                let wait = if probed { Duration::ZERO } else { interval };
                let stopped = changed.wait_timeout_while(stopped, wait, |stopped| !*stopped);
                if *stopped.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
            }
        })?;
        Ok(ProbeThread { stop, thread: Some(thread) })
    }
}

/// A prober's thread. It ends when this is dropped, after the exchange under
/// way.
#[derive(Debug)]
pub struct ProbeThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ProbeThread {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}
