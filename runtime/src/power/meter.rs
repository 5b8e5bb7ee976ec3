//! Samples sensors on a thread of its own, for as long as something runs.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::integral::{Integral, Total};
use super::sensor::Sensor;

/// How often sensors are read by default: more often than most of them change.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// Readings further apart than so many intervals are not joined: the machine
/// slept, or the thread did not get a processor.
const LONGEST_GAP_INTERVALS: u32 = 50;

/// Integrates sensors from its start.
#[derive(Debug)]
pub struct Meter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    sensors: Vec<Sensor>,
    interval: Duration,
    start: Instant,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    integrals: Vec<Integral>,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sample(&self, state: &mut State) {
        let longest_gap = self.interval.saturating_mul(LONGEST_GAP_INTERVALS);
        for (sensor, integral) in self.sensors.iter().zip(&mut state.integrals) {
            match sensor.sample() {
                Ok(sample) => integral.add(self.start.elapsed(), sample, longest_gap),
                Err(error) => {
                    if integral.total().failures == 0 {
                        tracing::warn!(%sensor, %error, "a power sensor cannot be read");
                    }
                    integral.fail();
                }
            }
        }
    }
}

impl Meter {
    /// Starts to sample these sensors.
    pub fn start(sensors: &[Sensor], interval: Duration) -> std::io::Result<Self> {
        let integrals = vec![Integral::default(); sensors.len()];
        let shared = Arc::new(Shared {
            sensors: sensors.to_vec(),
            interval,
            start: Instant::now(),
            state: Mutex::new(State { integrals, ended: false }),
            ended: Condvar::new(),
        });
        shared.sample(&mut shared.state());
        let own = Arc::clone(&shared);
        let serve = move || {
            let mut state = own.state();
            while !state.ended {
                let waited = own.ended.wait_timeout(state, own.interval);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                own.sample(&mut state);
            }
        };
        let thread = std::thread::Builder::new().name("leeway-power".into()).spawn(serve)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What each sensor has measured up to now, and the time since the start.
    pub fn read(&self) -> (Vec<Total>, Duration) {
        let mut state = self.shared.state();
        self.shared.sample(&mut state);
        let totals = state.integrals.iter().map(Integral::total).collect();
        (totals, self.shared.start.elapsed())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.ended.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
