//! Reads temperatures and clocks, follows the rules, and tells each model's watch
//! which calibration to go by: the one at the clock that there is, or is to be
//! expected of a processor so hot, where there is one; otherwise the one that there
//! is, as much longer as the clock is slower.

use std::sync::Arc;
use std::time::Duration;

use super::frequency::Frequency;
use super::machine::{Advice, Machine, Rules};
use super::validity::Validity;
use super::zone::{self, Zone};
use crate::sysfs::Root;
use crate::timing::{Claims, Device, Store, Watch};

/// Watches one machine. Whoever owns it polls it, about once a second.
#[derive(Debug)]
pub struct Monitor {
    root: Root,
    zones: Vec<Zone>,
    core: usize,
    machine: Machine,
    calibrated: Device,
    watches: Vec<Arc<Watch>>,
    store: Option<Store>,
    throttle_count: Option<u64>,
    state: ClockState,
    blind: bool,
}

/// The clock, as promises have to count on it.
#[derive(Clone, Debug, PartialEq)]
struct ClockState {
    validity: Validity,
    /// What times are multiplied by where there is no calibration at this clock.
    factor: f64,
    /// The device at this clock, where it is another one than calibrated.
    device: Option<Device>,
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
            store: None,
            throttle_count: None,
            state: ClockState { validity: Validity::Holds, factor: 1.0, device: None },
            blind: false,
            root,
        }
    }

    /// Looks for calibrations at other clocks here.
    pub fn with_store(self, store: Store) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Has this model's bound follow the clock.
    pub fn follow(&mut self, watch: Arc<Watch>) {
        self.tell(&watch);
        self.watches.push(watch);
    }

    /// Has these models' bounds follow the clock, and no others.
    pub fn follow_only(&mut self, watches: Vec<Arc<Watch>>) {
        let known = |one: &Arc<Watch>, of: &[Arc<Watch>]| of.iter().any(|w| Arc::ptr_eq(w, one));
        for left in self.watches.iter().filter(|watch| !known(watch, &watches)) {
            left.slow_down(1.0);
        }
        for new in watches.iter().filter(|watch| !known(watch, &self.watches)) {
            self.tell(new);
        }
        self.watches = watches;
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        self.machine.rules()
    }

    /// Whether calibrations hold, as of the last poll.
    pub fn validity(&self) -> &Validity {
        &self.state.validity
    }

    /// The streams that are degraded, as of the last poll.
    pub fn degraded(&self) -> &[String] {
        self.machine.degraded()
    }

    /// Reads everything at the time `now`.
    pub fn poll(&mut self, now: Duration) -> Advice {
        let advice = self.poll_temperature(now);
        self.poll_clock(advice);
        advice
    }

    fn poll_temperature(&mut self, now: Duration) -> Advice {
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

    fn poll_clock(&mut self, advice: Advice) {
        let present = Frequency::read(&self.root, self.core);
        let count = present.throttling.count;
        let throttled = matches!((self.throttle_count, count), (Some(a), Some(b)) if b > a);
        self.throttle_count = count;
        let validity = Validity::of(&self.calibrated, &present, throttled);
        let state = self.clock_state(validity, &present, advice.prefers_fog());
        if state == self.state {
            return;
        }
        tracing::warn!(
            validity = ?state.validity,
            factor = state.factor,
            "the clock is another one than before"
        );
        self.state = state;
        self.watches.iter().for_each(|watch| self.tell(watch));
    }

    /// What to count on at this clock, which is still to become slower where the device
    /// is `warm`.
    fn clock_state(&self, validity: Validity, present: &Frequency, warm: bool) -> ClockState {
        let lowest = present.hardware_khz.map(|[lowest, _]| lowest);
        let expected = warm.then(|| self.rules().throttled_khz.or(lowest)).flatten();
        let calibrated = self.calibrated.frequency_khz.map(|[_, highest]| highest);
        let slowdown = match (calibrated, expected) {
            (Some(highest), Some(khz)) if khz > 0 => highest as f64 / khz as f64,
            _ => 1.0,
        };
        let limits = present.limits_khz.map(|[low, high]| {
            let high = expected.map_or(high, |khz| high.min(khz));
            [low.min(high), high]
        });
        let governor = present.governor.clone();
        let device = Device { governor, frequency_khz: limits, ..self.calibrated.clone() };
        ClockState {
            factor: validity.factor().max(slowdown),
            validity,
            device: (device != self.calibrated).then_some(device),
        }
    }

    /// Which calibration to go by.
    fn tell(&self, watch: &Watch) {
        let at_this_clock = self.store.as_ref().zip(self.state.device.as_ref());
        let calibration = at_this_clock.and_then(|(store, device)| {
            store.load(&Claims { device: device.clone(), ..watch.claims() }).ok()
        });
        match calibration {
            Some(calibration) => watch.go_by(calibration),
            None => watch.slow_down(self.state.factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{JETSON_ORIN, RASPBERRY_PI_4, Tree};
    use crate::thermal::Level;
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
    #[test]
    fn above_the_soft_limit_the_throttled_calibration_counts() {
        let tree = Tree::parse(RASPBERRY_PI_4);
        let mut monitor = monitor(&tree);
        let watch = Arc::new(Watch::new(calibration(), BoundRule::default()));
        let bound = watch.bound().time;
        monitor.follow(Arc::clone(&watch));
        let temperature = "sys/class/thermal/thermal_zone0/temp";
        let soft = monitor.rules().soft_celsius;
        tree.write(temperature, &format!("{}\n", (1e3 * (soft + 1.0)) as i64));
        assert_eq!(monitor.poll(seconds(0)).level, Level::Warm);
        // The clock is still what it was; the lowest is 600 MHz of 1800.
        assert_eq!(*monitor.validity(), Validity::Holds);
        assert_eq!(watch.bound().time, 3 * bound);
        tree.write(temperature, "40000\n");
        monitor.poll(seconds(1));
        assert_eq!(monitor.poll(seconds(60)).level, Level::Normal);
        assert_eq!(watch.bound().time, bound);
    }

    #[test]
    fn a_calibration_at_another_clock_takes_the_place_of_a_factor() {
        let tree = Tree::parse(RASPBERRY_PI_4);
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path()).unwrap();
        let root = tree.root();
        let device = Device::read(&root.path(""), Some(0));
        let at = |khz: u64, factor: u32| {
            let mut one = calibration();
            one.claims.device = Device { frequency_khz: Some([600_000, khz]), ..device.clone() };
            one.warm.whole.highest_observed *= factor;
            one
        };
        // Memory is as fast as before, so that half the clock is not half the speed.
        let mut slower = at(900_000, 1);
        slower.warm.whole.highest_observed = slower.warm.whole.highest_observed.mul_f64(1.5);
        store.save(&slower).unwrap();
        let mut monitor = monitor(&tree).with_store(store.clone());
        let watch = Watch::kept(at(1_800_000, 1), BoundRule::default(), store.clone()).unwrap();
        let watch = Arc::new(watch);
        let bound = watch.bound().time;
        monitor.follow(Arc::clone(&watch));
        let limit = "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq";
        tree.write(limit, "900000\n");
        monitor.poll(seconds(0));
        assert_eq!(watch.bound().time, bound.mul_f64(1.5));
        // What is seen now is seen of that one.
        assert!(watch.observe(2 * bound) && watch.seen().exceeded == 1);
        tree.write(limit, "1200000\n");
        monitor.poll(seconds(1));
        assert_eq!(watch.bound().time, bound.mul_f64(1.5), "by the factor, as there is none");
        tree.write(limit, "1800000\n");
        monitor.poll(seconds(2));
        assert_eq!((watch.bound().time, watch.seen().exceeded), (bound, 0));
        tree.write(limit, "900000\n");
        monitor.poll(seconds(3));
        drop((monitor, watch));
        assert_eq!(store.load(&slower.claims).unwrap().seen.exceeded, 1);
    }
}
