//! What the device tells its fog host of itself, so that somebody who looks at the
//! fog host sees where the fleet's inputs are answered. Nothing depends on it: a
//! report that does not arrive is dropped, and decisions never wait for one.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use leeway_protocol::device::{Decisions, DeviceReport, MOST_MODELS, ModelReport};

use super::fog::{FogError, HttpFog, Traffic};
use super::record::{DecisionRecord, Outcome};

/// When to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportRule {
    /// At most so often.
    pub interval: Duration,
    /// Both directions, on average; a report that was larger has the next one wait.
    pub bytes_per_s: u32,
    /// The time limit of one.
    pub limit: Duration,
}

impl Default for ReportRule {
    /// Every 5 s, and 256 B/s: a model's report and its headers take about 800 bytes.
    fn default() -> Self {
        let (interval, limit) = (Duration::from_secs(5), Duration::from_secs(2));
        Self { interval, bytes_per_s: 256, limit }
    }
}

impl ReportRule {
    /// How long to wait after a report that moved this.
    fn wait(&self, traffic: Traffic) -> Duration {
        let bytes = traffic.up_bytes + traffic.down_bytes;
        let earned = bytes as f64 / f64::from(self.bytes_per_s.max(1));
        self.interval.max(Duration::from_secs_f64(earned))
    }
}

/// What happened since the last report.
#[derive(Debug, Default)]
pub struct Reports(Mutex<BTreeMap<String, ModelReport>>);

impl Reports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ModelReport>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An input was answered.
    pub fn note(&self, record: &DecisionRecord) {
        self.note_of(&record.task, record);
    }

    /// An input of this model was answered, whatever the task is named.
    pub fn note_of(&self, model: &str, record: &DecisionRecord) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut models = self.lock();
        if models.len() >= MOST_MODELS && !models.contains_key(model) {
            return;
        }
        let model = models.entry(model.to_owned()).or_insert_with(|| ModelReport {
            name: model.to_owned(),
            digest: record.module,
            policy: String::new(),
            decisions: Decisions::default(),
            wcet_ns: 0,
            transfer_ns: None,
            fog_ns: None,
            latency_ns: 0,
            deadline_ns: None,
        });
        let decisions = &mut model.decisions;
        *match record.outcome {
            Outcome::Local => &mut decisions.local,
            Outcome::Fog => &mut decisions.fog,
            Outcome::Fallback => &mut decisions.fallback,
            Outcome::Compensated => &mut decisions.compensated,
        } += 1;
        decisions.missed += u64::from(record.missed());
        if model.policy != record.policy {
            model.policy.clone_from(&record.policy);
        }
        model.digest = record.module;
        model.wcet_ns = nanos(record.estimates.wcet);
        model.transfer_ns = record.estimates.transfer.map(nanos);
        model.fog_ns = record.estimates.fog.map(nanos);
        model.latency_ns = model.latency_ns.max(nanos(record.latency));
        model.deadline_ns = record.deadline.map(nanos);
    }

    /// What happened since this was last called.
    pub fn take(&self) -> DeviceReport {
        DeviceReport { models: std::mem::take(&mut *self.lock()).into_values().collect() }
    }

    /// Has a thread report to the fog host under the device's name, until the
    /// returned handle is dropped.
    ///
    /// # Errors
    /// Where there is no room for a thread.
    pub fn spawn(
        self: &Arc<Self>,
        device: String,
        fog: Arc<HttpFog>,
        rule: ReportRule,
    ) -> io::Result<ReportThread> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (seen, reports) = (Arc::clone(&stop), Arc::clone(self));
        let thread = std::thread::Builder::new().name("leeway-report".into()).spawn(move || {
            let (stopped, changed) = &*seen;
            let mut wait = rule.interval;
            loop {
                let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                let stopped = changed.wait_timeout_while(stopped, wait, |stopped| !*stopped);
                if *stopped.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                wait = reports.send(&device, &fog, rule);
            }
        })?;
        Ok(ReportThread { stop, thread: Some(thread) })
    }

    /// Sends a report, also one of nothing: the device is there. Says how long to
    /// wait for the next.
    fn send(&self, device: &str, fog: &HttpFog, rule: ReportRule) -> Duration {
        match fog.report(device, &self.take(), rule.limit) {
            Ok(traffic) => rule.wait(traffic),
            Err(error @ FogError::Refused { .. }) => {
                tracing::warn!(%error, "the fog host takes no reports");
                rule.interval * 12
            }
            Err(error) => {
                tracing::debug!(%error, "a report was dropped");
                rule.interval
            }
        }
    }
}

/// The thread that reports. It ends when this is dropped.
#[derive(Debug)]
pub struct ReportThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ReportThread {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_report_has_the_next_one_wait() {
        let rule = ReportRule { bytes_per_s: 100, ..ReportRule::default() };
        let wait = |up_bytes| rule.wait(Traffic { up_bytes, down_bytes: 100 });
        assert_eq!(wait(300), rule.interval);
        assert_eq!(wait(2_900), Duration::from_secs(30));
    }
}
