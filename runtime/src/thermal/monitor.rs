//! Reads temperatures and clocks, follows the rules, and tells each model's watch
//! how much slower its processor is than when it was calibrated.

use std::sync::Arc;
use std::time::Duration;

use super::frequency::Frequency;
use super::machine::{Advice, Machine};
use super::validity::Validity;
use super::zone::{self, Zone};
use crate::sysfs::Root;
use crate::timing::{Device, Watch};

/// Watches one machine. Whoever owns it polls it, about once a second.
#[derive(Debug)]
pub struct Monitor {
    root: Root,
    zones: Vec<Zone>,
    core: usize,
    machine: Machine,
    calibrated: Device,
    watches: Vec<Arc<Watch>>,
    throttle_count: Option<u64>,
    validity: Validity,
    blind: bool,
}

impl Monitor {
    /// Watches the machine under `root`, on which models were calibrated as
    /// `calibrated`.
    pub fn new(root: Root, calibrated: Device, machine: Machine) -> Self {
        Self {
            zones: Zone::all(&root),
            core: calibrated.core.unwrap_or(0),
            machine,
            calibrated,
            watches: Vec::new(),
            throttle_count: None,
            validity: Validity::Holds,
            blind: false,
            root,
        }
    }

    /// Has this model's bound follow the clock.
    pub fn follow(&mut self, watch: Arc<Watch>) {
        watch.slow_down(self.validity.factor());
        self.watches.push(watch);
    }

    /// Whether calibrations hold, as of the last poll.
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    /// The streams that are degraded, as of the last poll.
    pub fn degraded(&self) -> &[String] {
        self.machine.degraded()
    }

    /// Reads everything at the time `now`.
    pub fn poll(&mut self, now: Duration) -> Advice {
        self.poll_clock();
        let (hottest, problems) = zone::hottest(&self.zones);
        let millidegrees = hottest.map(|(_, millidegrees)| millidegrees);
        if millidegrees.is_none() && !self.blind && !self.zones.is_empty() {
            let error = problems.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(error, "no temperature can be read");
        }
        self.blind = millidegrees.is_none();
        // A machine that never had a sensor is not taken for a warm one.
        if self.zones.is_empty() {
            return self.machine.advice();
        }
        let before = self.machine.advice();
        let advice = self.machine.observe(now, millidegrees);
        if advice != before {
            let degraded = self.machine.degraded();
            tracing::warn!(?advice.level, ?degraded, ?millidegrees, "the temperature's level");
        }
        advice
    }

    fn poll_clock(&mut self) {
        let present = Frequency::read(&self.root, self.core);
        let count = present.throttling.count;
        let throttled = matches!((self.throttle_count, count), (Some(a), Some(b)) if b > a);
        self.throttle_count = count;
        let validity = Validity::of(&self.calibrated, &present, throttled);
        if validity == self.validity {
            return;
        }
        tracing::warn!(?validity, "the clock is another one than when it was calibrated");
        for watch in &self.watches {
            watch.slow_down(validity.factor());
        }
        self.validity = validity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{JETSON_ORIN, RASPBERRY_PI_4, Tree};
    use crate::thermal::{Level, Rules};
    use crate::timing::BoundRule;
    use crate::timing::testing::calibration;

    fn monitor(tree: &Tree) -> Monitor {
        let root = tree.root();
        let mut rules = Rules::for_zones(&Zone::all(&root));
        rules.degrade = vec!["camera".into()];
        let calibrated = Device::read(&root.path(""), Some(0));
        Monitor::new(root, calibrated, Machine::new(rules).unwrap())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lowered_clock_lengthens_bounds_until_it_is_back() {
        let tree = Tree::parse(RASPBERRY_PI_4);
        let mut monitor = monitor(&tree);
        let watch = Arc::new(Watch::new(calibration(), BoundRule::default()));
        let bound = watch.bound().time;
        monitor.follow(Arc::clone(&watch));
        assert_eq!(monitor.poll(seconds(0)).level, Level::Normal);
        assert_eq!(watch.bound().time, bound);
        let limit = "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq";
        tree.write(limit, "1200000\n");
        monitor.poll(seconds(1));
        assert_eq!(watch.bound().time, bound.mul_f64(1.5));
        // What takes longer for that reason does not raise the bound for good.
        assert!(!watch.observe(bound.mul_f64(1.4)));
        tree.write(limit, "1800000\n");
        monitor.poll(seconds(2));
        assert_eq!(watch.bound().time, bound);
        tree.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        monitor.poll(seconds(3));
        assert!(matches!(monitor.validity(), Validity::Broken { property: "governor", .. }));
        assert_eq!(watch.bound().time, 3 * bound);
    }

    #[test]
    fn heat_degrades_and_sensors_that_disappear_are_no_panic() {
        let tree = Tree::parse(JETSON_ORIN);
        let mut monitor = monitor(&tree);
        assert_eq!(monitor.poll(seconds(0)), Advice::default());
        tree.write("sys/class/thermal/thermal_zone10/temp", "98000\n");
        assert_eq!(monitor.poll(seconds(1)), Advice { level: Level::Hot, degraded: 1 });
        assert_eq!(monitor.degraded(), ["camera"]);
        tree.remove("sys/class/thermal");
        tree.remove("sys/devices");
        assert_eq!(monitor.poll(seconds(2)).level, Level::Hot);
        assert!(matches!(monitor.validity(), Validity::Broken { .. }));
        // One without any sensor stays as it is.
        let mut none = self::monitor(&Tree::parse(""));
        assert_eq!(none.poll(seconds(100)), Advice::default());
        assert_eq!(*none.validity(), Validity::Holds);
    }
}
