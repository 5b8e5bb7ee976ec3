//! The clock of a processor core (Documentation/admin-guide/pm/cpufreq.rst), and
//! how often heat has slowed it down.
//!
//! The kernel's thermal management lowers `scaling_max_freq`. Processors and
//! firmware that throttle by themselves tell it elsewhere: x86 counts it in
//! `thermal_throttle`, the Raspberry Pi's firmware has bits in `get_throttled`.

use serde::{Deserialize, Serialize};

use crate::sysfs::{self, Root};

/// The clock of a core at one moment. `None` is what the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frequency {
    /// What chooses it.
    pub governor: Option<String>,
    /// At the moment, in kHz.
    pub current_khz: Option<u64>,
    /// What the governor may choose at the moment, in kHz.
    pub limits_khz: Option<[u64; 2]>,
    /// What the processor is capable of, in kHz.
    pub hardware_khz: Option<[u64; 2]>,
    /// Throttling by the processor or its firmware.
    pub throttling: Throttling,
}

/// What a processor or its firmware tells of throttling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// How often it happened since the start, where it is counted.
    pub count: Option<u64>,
    /// Whether it is slowed down at the moment, where that is told.
    pub now: Option<bool>,
    /// Whether the supply's voltage is too low at the moment, where that is told.
    pub under_voltage: Option<bool>,
}

impl Frequency {
    /// Reads it for a core.
    pub fn read(root: &Root, core: usize) -> Self {
        let directory = format!("sys/devices/system/cpu/cpu{core}");
        let khz =
            |name: &str| sysfs::natural(&root.path(format!("{directory}/cpufreq/{name}"))).ok();
        let pair = |low: &str, high: &str| khz(low).zip(khz(high)).map(|(low, high)| [low, high]);
        Self {
            governor: root.text(format!("{directory}/cpufreq/scaling_governor")),
            current_khz: khz("scaling_cur_freq"),
            limits_khz: pair("scaling_min_freq", "scaling_max_freq"),
            hardware_khz: pair("cpuinfo_min_freq", "cpuinfo_max_freq"),
            throttling: Throttling::read(root, &directory),
        }
    }
}

impl Throttling {
    fn read(root: &Root, directory: &str) -> Self {
        let count = |name: &str| {
            sysfs::natural(&root.path(format!("{directory}/thermal_throttle/{name}"))).ok()
        };
        let counts = [count("core_throttle_count"), count("package_throttle_count")];
        let bits = root
            .text("sys/devices/platform/soc/soc:firmware/get_throttled")
            .and_then(|bits| u64::from_str_radix(bits.trim_start_matches("0x"), 16).ok());
        Self {
            count: counts.iter().any(Option::is_some).then(|| counts.into_iter().flatten().sum()),
            // Bit 1: the clock is capped; 2: throttled; 3: at the soft limit.
            now: bits.map(|bits| bits & 0b1110 != 0),
            under_voltage: bits.map(|bits| bits & 1 != 0),
        }
    }
}

/// The clock while something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedSeen {
    /// The lowest that was seen, in kHz.
    pub lowest_khz: u64,
    /// The highest.
    pub highest_khz: u64,
    /// How often it was throttled: counted, or seen.
    pub throttled: u64,
}

/// Collects [`SpeedSeen`].
#[derive(Debug, Default)]
pub struct SpeedWatch {
    first_count: Option<u64>,
    seen: Option<SpeedSeen>,
    seen_throttled: u64,
}

impl SpeedWatch {
    /// The clock was so.
    pub fn see(&mut self, frequency: &Frequency) {
        let throttling = frequency.throttling;
        self.seen_throttled += u64::from(throttling.now == Some(true));
        let first = *self.first_count.get_or_insert(throttling.count.unwrap_or_default());
        let counted = throttling.count.unwrap_or_default().saturating_sub(first);
        let Some(khz) = frequency.current_khz else { return };
        let seen =
            self.seen.get_or_insert(SpeedSeen { lowest_khz: khz, highest_khz: khz, throttled: 0 });
        seen.lowest_khz = seen.lowest_khz.min(khz);
        seen.highest_khz = seen.highest_khz.max(khz);
        seen.throttled = counted.max(self.seen_throttled);
    }

    /// What was seen, where the kernel tells the clock.
    pub fn seen(&self) -> Option<SpeedSeen> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{RASPBERRY_PI_4, Tree, X86_LAPTOP};

    #[test]
    fn the_clock_and_its_throttling_are_read() {
        let tree = Tree::parse(RASPBERRY_PI_4);
        let read = || Frequency::read(&tree.root(), 0);
        let seen = read();
        assert_eq!(seen.governor.as_deref(), Some("ondemand"));
        assert_eq!(seen.limits_khz, Some([600_000, 1_800_000]));
        assert_eq!(seen.throttling.now, Some(false));
        tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
        let throttling = read().throttling;
        assert_eq!((throttling.now, throttling.under_voltage), (Some(true), Some(true)));
        tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "what\n");
        assert_eq!(read().throttling.now, None);

        let laptop = Frequency::read(&Tree::parse(X86_LAPTOP).root(), 0);
        assert_eq!(laptop.throttling.count, Some(40));
        // Of a machine that tells nothing, nothing is known.
        assert_eq!(Frequency::read(&Tree::parse("").root(), 0), Frequency::default());
    }

    #[test]
    fn a_watch_keeps_extremes_and_counts_throttling() {
        let at = |khz, count| Frequency {
            current_khz: Some(khz),
            throttling: Throttling { count: Some(count), ..Throttling::default() },
            ..Frequency::default()
        };
        let mut watch = SpeedWatch::default();
        assert_eq!(watch.seen(), None);
        for frequency in [at(1_500, 7), at(600, 7), at(1_800, 9)] {
            watch.see(&frequency);
        }
        let seen = SpeedSeen { lowest_khz: 600, highest_khz: 1_800, throttled: 2 };
        assert_eq!(watch.seen(), Some(seen));
    }
}
