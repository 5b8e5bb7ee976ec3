//! The bound at run time: every execution is counted, and one that exceeds what
//! was promised raises the promise.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::bound::{Bound, BoundRule};
use super::calibration::{Calibration, Claims, Seen};
use super::store::Store;
use super::summary::times;
use crate::nanos;
use crate::power::PerInference;
use crate::realtime::RealTimeReport;

/// The longest time that the histogram tells from a longer one: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Watches the executions of one model on this device. Shared between threads.
#[derive(Debug)]
pub struct Watch {
    rule: BoundRule,
    state: Mutex<State>,
    keeper: Option<Arc<Keeper>>,
}

#[derive(Debug)]
struct State {
    calibration: Calibration,
    /// Those at other clocks of the processor that it has had.
    others: Vec<Calibration>,
    /// Which of them is at the clock that there is; none where the first one is.
    at: Option<usize>,
    bound: Bound,
    /// By how much slower the processor is than when it was calibrated.
    slowdown: f64,
    /// Two digits, a few kilobytes, never reallocated.
    times: Histogram<u32>,
}

impl State {
    /// The calibration at the clock that there is.
    fn current(&mut self) -> &mut Calibration {
        match self.at {
            Some(other) => &mut self.others[other],
            None => &mut self.calibration,
        }
    }
}

impl Watch {
    /// Watches by this calibration; a bound that is raised is forgotten in the end.
    pub fn new(calibration: Calibration, rule: BoundRule) -> Self {
        let bound = calibration.bound(&rule);
        let times = Histogram::new_with_max(LONGEST_NS, 2)
            .expect("an hour and two digits are what the crate takes");
        let (others, at, slowdown) = (Vec::new(), None, 1.0);
        let state = State { calibration, others, at, bound, slowdown, times };
        let state = Mutex::new(state);
        Self { rule, state, keeper: None }
    }

    /// Watches by this calibration, and keeps what is seen: a bound that is raised
    /// at once, the counts when the watch ends. A thread of its own writes.
    pub fn kept(calibration: Calibration, rule: BoundRule, store: Store) -> std::io::Result<Self> {
        Ok(Self::kept_by(calibration, rule, &Arc::new(Keeper::start(store)?)))
    }

    /// The same, by a keeper that others use as well.
    pub fn kept_by(calibration: Calibration, rule: BoundRule, keeper: &Arc<Keeper>) -> Self {
        let mut watch = Self::new(calibration, rule);
        watch.keeper = Some(Arc::clone(keeper));
        watch
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is promised at the moment.
    pub fn bound(&self) -> Bound {
        let state = self.state();
        Bound { time: times(state.bound.time, state.slowdown), ..state.bound }
    }

    /// The model was measured anew, at the clock that it was calibrated at before: from
    /// now on that is what it goes by, and what was seen until now is forgotten.
    pub fn renew(&self, calibration: Calibration) {
        let mut state = self.state();
        state.calibration = calibration;
        state.times.reset();
        state.bound = state.current().bound(&self.rule);
    }

    /// The processor is slower than when it was calibrated, so many times
    /// ([`crate::thermal::Validity::factor`]); 1 ends it. Until then more is promised.
    pub fn slow_down(&self, factor: f64) {
        self.at_clock(None, factor.max(1.0));
    }

    /// The processor has another clock, at which the model was calibrated as well. What
    /// is seen from now on is seen of that calibration, until [`Self::slow_down`].
    pub fn go_by(&self, calibration: Calibration) {
        self.at_clock(Some(calibration), 1.0);
    }

    fn at_clock(&self, other: Option<Calibration>, slowdown: f64) {
        let mut state = self.state();
        if let (Some(keeper), Some(left)) = (&self.keeper, state.at) {
            keeper.keep(state.others[left].clone());
        }
        // One that it has had knows more than one that was read again.
        state.at = other.map(|other| {
            let known = state.others.iter().position(|known| known.claims == other.claims);
            known.unwrap_or_else(|| {
                state.others.push(other);
                state.others.len() - 1
            })
        });
        state.slowdown = slowdown;
        state.bound = state.current().bound(&self.rule);
    }

    /// What the calibration that it began with holds for.
    pub fn claims(&self) -> Claims {
        self.state().calibration.claims.clone()
    }

    /// What is promised at the clock that it was calibrated at: what streams are admitted
    /// with. Of the whole model, and of each stage.
    pub fn calibrated(&self) -> (Bound, Vec<Bound>) {
        let calibration = &self.state().calibration;
        (calibration.bound(&self.rule), calibration.stage_bounds(&self.rule))
    }

    /// The execution time of the worst input, as it was calibrated.
    pub fn worst_input(&self) -> Duration {
        self.state().calibration.warm.whole.worst_input
    }

    /// The joules of one inference, as they were found when it was calibrated.
    pub fn energy(&self) -> Option<PerInference> {
        self.state().calibration.energy.clone()
    }

    /// The real-time set-up under which it was calibrated.
    pub fn real_time(&self) -> RealTimeReport {
        self.state().calibration.real_time.clone()
    }

    /// A run took longer than `at_least` when it was stopped: more than was promised of
    /// what it ran, whatever the whole model's time is. True where the promise is raised.
    pub fn stopped(&self, at_least: Duration) -> bool {
        let over = self.bound().time.saturating_add(Duration::from_nanos(1));
        self.observe(at_least.max(over))
    }

    /// What has been seen at the present clock, also by earlier watches that kept it.
    pub fn seen(&self) -> Seen {
        self.state().current().seen
    }

    /// The time that the part `quantile` of the executions of this watch did not
    /// exceed, to two digits; `None` before the first.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let state = self.state();
        let any = !state.times.is_empty();
        any.then(|| Duration::from_nanos(state.times.value_at_quantile(quantile)))
    }

    /// The whole model ran on the device. True where it exceeded the promise,
    /// which is then raised.
    pub fn observe(&self, elapsed: Duration) -> bool {
        let mut state = self.state();
        state.times.saturating_record(nanos::of(elapsed));
        // As long as it would have taken at the calibrated speed, at least.
        let elapsed = times(elapsed, 1.0 / state.slowdown);
        let promised = state.bound.time;
        let seen = &mut state.current().seen;
        seen.runs = seen.runs.saturating_add(1);
        if elapsed <= promised {
            return false;
        }
        seen.exceeded = seen.exceeded.saturating_add(1);
        seen.highest = seen.highest.max(elapsed);
        let Seen { runs, exceeded, .. } = *seen;
        state.bound = state.current().bound(&self.rule);
        let raised = state.bound.time;
        let module = state.calibration.claims.module;
        tracing::warn!(
            %module, ?elapsed, ?promised, ?raised, exceeded, runs,
            "an execution exceeded its bound, which is raised"
        );
        if let Some(keeper) = &self.keeper {
            keeper.keep(state.current().clone());
        }
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            let state = self.state();
            for calibration in state.others.iter().chain([&state.calibration]) {
                keeper.keep(calibration.clone());
            }
        }
    }
}

/// A thread that writes calibrations, so that no execution waits for a disk.
#[derive(Debug)]
pub struct Keeper {
    sender: Option<mpsc::Sender<Box<Calibration>>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it; it ends with the last watch that it writes for.
    pub fn start(store: Store) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Box<Calibration>>();
        let write = move || {
            while let Ok(first) = receiver.recv() {
                // Of each clock, only the last of what has come meanwhile counts.
                let mut latest = vec![first];
                for next in receiver.try_iter() {
                    latest.retain(|kept| kept.claims != next.claims);
                    latest.push(next);
                }
                for calibration in latest {
                    if let Err(error) = store.save(&calibration) {
                        tracing::warn!(%error, "what was seen of execution times is not kept");
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("leeway-timing".into()).spawn(write)?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    fn keep(&self, calibration: Calibration) {
        if let Some(sender) = &self.sender {
            // The thread ends only after the sender is dropped.
            let _ = sender.send(Box::new(calibration));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
