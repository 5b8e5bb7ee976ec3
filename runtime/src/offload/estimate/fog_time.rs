//! The estimator of T_F, the time that an inference spends on the fog host, as
//! the fog host itself reports it: waiting for a worker plus computing.
//!
//! For a module that has run there: the clipped mean of its last 16 inferences.
//! For one that has not: its certified fuel times the fog host's nanoseconds
//! per fuel, as seen with other modules, plus their usual wait. Fuel is the
//! same number on both machines, which makes one module's run a measurement for
//! all others.
//!
//! The distribution is that of the last inferences since the level last changed
//! (the Page-Hinkley test in `change.rs`, on the logarithm of the time).

use std::collections::HashMap;
use std::time::Duration;

use leeway_contract::{Digest, Fuel};

use super::change::PageHinkley;
use super::spread::{Spread, Window};
use super::weighted::Recent;

/// What the fog host reported of one inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FogTime {
    /// Executing the module.
    pub compute: Duration,
    /// Waiting for a worker.
    pub queue: Duration,
    /// The fuel that was burned.
    pub fuel: Fuel,
}

impl FogTime {
    /// T_F: all that the fog host kept the request for.
    pub fn total(&self) -> Duration {
        self.compute.saturating_add(self.queue)
    }
}

/// What is remembered after a change of level: what has shown it.
const AFTER_CHANGE: usize = 4;

/// One module on the fog host.
#[derive(Clone, Debug, Default)]
struct Module {
    recent: Recent,
    window: Window,
    level: PageHinkley,
}

impl Module {
    fn observe(&mut self, seconds: f64) {
        self.recent.push(seconds);
        self.window.push(seconds);
        if self.level.changed(seconds.max(1e-9).ln()) {
            self.recent = Recent::default();
            self.recent.push(seconds);
            self.window.keep_last(AFTER_CHANGE);
        }
    }
}

/// Estimates T_F for each module.
#[derive(Clone, Debug, Default)]
pub struct FogTimeEstimator {
    modules: HashMap<Digest, Module>,
    seconds_per_fuel: Recent,
    queue: Recent,
}

impl FogTimeEstimator {
    /// An estimator that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one report.
    pub fn observe(&mut self, module: Digest, time: FogTime) {
        self.modules.entry(module).or_default().observe(time.total().as_secs_f64());
        self.queue.push(time.queue.as_secs_f64());
        if time.fuel.0 > 0 {
            self.seconds_per_fuel.push(time.compute.as_secs_f64() / time.fuel.0 as f64);
        }
    }

    /// T_F of an inference of `module` that burns `fuel`; `None` before the
    /// first report of any module.
    pub fn estimate(&self, module: Digest, fuel: Fuel) -> Option<Duration> {
        let own = self.modules.get(&module).and_then(|module| module.recent.clipped_mean());
        let seconds = own.or_else(|| {
            let compute = self.seconds_per_fuel.median()? * fuel.0 as f64;
            Some(compute + self.queue.median().unwrap_or_default())
        });
        Duration::try_from_secs_f64(seconds?).ok()
    }

    /// The same as a distribution, in seconds. Of a module that never ran there, it
    /// is the estimate only.
    pub fn spread(&self, module: Digest, fuel: Fuel) -> Option<Spread> {
        let own = self.modules.get(&module).and_then(|module| module.window.spread());
        own.or_else(|| Some(Spread::constant(self.estimate(module, fuel)?.as_secs_f64())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn time(compute: Duration, fuel: u64) -> FogTime {
        FogTime { compute, queue: Duration::ZERO, fuel: Fuel(fuel) }
    }

    #[test]
    fn a_module_that_never_ran_is_estimated_by_its_fuel() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut estimator = FogTimeEstimator::new();
        assert_eq!(estimator.estimate(b, Fuel(1_000)), None);
        for _ in 0..5 {
            estimator.observe(a, time(10 * MS, 1_000));
        }
        assert_eq!(estimator.estimate(b, Fuel(4_000)), Some(40 * MS));
        estimator.observe(b, time(8 * MS, 4_000));
        assert_eq!(estimator.estimate(b, Fuel(4_000)), Some(8 * MS));
        assert_eq!(estimator.estimate(a, Fuel(1_000)), Some(10 * MS));
    }

    #[test]
    fn one_slow_answer_does_not_fool_it() {
        let module = Digest::of(b"a");
        let mut estimator = FogTimeEstimator::new();
        for _ in 0..16 {
            estimator.observe(module, time(10 * MS, 1));
        }
        estimator.observe(module, time(10_000 * MS, 1));
        assert!(estimator.estimate(module, Fuel(1)).unwrap() <= 12 * MS);
    }

    #[test]
    fn a_fog_host_that_became_slower_is_believed_after_a_few_answers() {
        let module = Digest::of(b"a");
        let mut estimator = FogTimeEstimator::new();
        for i in 0..64 {
            estimator.observe(module, time(MS * (9 + i % 3), 1));
        }
        assert_eq!(estimator.spread(module, Fuel(1)).unwrap().largest(), 0.011);
        for i in 0..8 {
            estimator.observe(module, time(MS * (18 + i % 3), 1));
        }
        let spread = estimator.spread(module, Fuel(1)).unwrap();
        assert!(spread.points()[0] >= 0.018, "{spread:?}");
    }

    #[test]
    fn waiting_counts() {
        let module = Digest::of(b"a");
        let mut estimator = FogTimeEstimator::new();
        estimator.observe(module, FogTime { queue: 5 * MS, ..time(10 * MS, 1) });
        assert_eq!(estimator.estimate(module, Fuel(1)), Some(15 * MS));
    }
}
