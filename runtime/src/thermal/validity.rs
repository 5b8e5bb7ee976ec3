//! Whether a calibration holds at the clock that there is.
//!
//! Execution takes a number of cycles. At a lower clock of the core these take
//! longer in proportion, and those that wait for memory, whose clock is another, at
//! most so: the ratio of the clocks bounds the slowdown. It does not where the
//! governor is another one, for a calibration has seen how fast that one reacts.

use serde::Serialize;

use super::frequency::Frequency;
use crate::timing::Device;

/// Whether what a calibration says holds now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Validity {
    /// It does.
    Holds,
    /// The clock is slower: its times hold when they are multiplied.
    Slower {
        /// By this, which is above 1.
        factor: f64,
    },
    /// It does not, in a way that no factor makes good. Calibrate again.
    Broken {
        /// What differs.
        property: &'static str,
        /// When it was calibrated.
        calibrated: String,
        /// Now.
        seen: String,
        /// The slowdown at the lowest clock of the processor, to go by until then;
        /// 1 where the kernel does not tell.
        factor: f64,
    },
}

impl Validity {
    /// Of what was calibrated on `calibrated`, at the clock `present`.
    /// `throttled` says that the processor has throttled since it was last asked.
    pub fn of(calibrated: &Device, present: &Frequency, throttled: bool) -> Self {
        let highest = calibrated.frequency_khz.map(|[_, highest]| highest);
        let slowdown = |khz: Option<u64>| match (highest, khz) {
            (Some(highest), Some(khz)) if khz > 0 => (highest as f64 / khz as f64).max(1.0),
            _ => 1.0,
        };
        if calibrated.governor.is_some() && calibrated.governor != present.governor {
            let name = |governor: &Option<String>| governor.clone().unwrap_or("none".into());
            return Validity::Broken {
                property: "governor",
                calibrated: name(&calibrated.governor),
                seen: name(&present.governor),
                factor: slowdown(present.hardware_khz.map(|[lowest, _]| lowest)),
            };
        }
        let mut factor = slowdown(present.limits_khz.map(|[_, highest]| highest));
        if throttled || present.throttling.now == Some(true) {
            factor = factor.max(slowdown(present.current_khz));
        }
        if factor > 1.0 { Validity::Slower { factor } } else { Validity::Holds }
    }

    /// By what execution times are multiplied.
    pub fn factor(&self) -> f64 {
        match *self {
            Validity::Holds => 1.0,
            Validity::Slower { factor } | Validity::Broken { factor, .. } => factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thermal::Throttling;

    fn calibrated() -> Device {
        let governor = Some("performance".into());
        Device { governor, frequency_khz: Some([600_000, 1_800_000]), ..Device::default() }
    }

    fn present() -> Frequency {
        Frequency {
            governor: Some("performance".into()),
            current_khz: Some(1_800_000),
            limits_khz: Some([600_000, 1_800_000]),
            hardware_khz: Some([600_000, 1_800_000]),
            throttling: Throttling::default(),
        }
    }

    #[test]
    fn the_same_clock_holds_and_a_lower_limit_is_a_factor() {
        assert_eq!(Validity::of(&calibrated(), &present(), false), Validity::Holds);
        let cooled = Frequency { limits_khz: Some([600_000, 1_200_000]), ..present() };
        assert_eq!(Validity::of(&calibrated(), &cooled, false), Validity::Slower { factor: 1.5 });
        // A faster one than calibrated keeps what is promised.
        let faster = Frequency { limits_khz: Some([600_000, 2_000_000]), ..present() };
        assert_eq!(Validity::of(&calibrated(), &faster, false), Validity::Holds);
        // Of a machine without cpufreq, nothing is known, now as then.
        let none = Validity::of(&Device::default(), &Frequency::default(), true);
        assert_eq!(none, Validity::Holds);
    }

    #[test]
    fn a_clock_that_idles_is_no_slowdown_and_one_that_is_throttled_is() {
        let idle = Frequency { current_khz: Some(600_000), ..present() };
        assert_eq!(Validity::of(&calibrated(), &idle, false), Validity::Holds);
        assert_eq!(Validity::of(&calibrated(), &idle, true).factor(), 3.0);
        let now = Throttling { now: Some(true), ..Throttling::default() };
        let by_firmware = Frequency { current_khz: Some(900_000), throttling: now, ..present() };
        assert_eq!(Validity::of(&calibrated(), &by_firmware, false).factor(), 2.0);
    }

    #[test]
    fn another_governor_breaks_it_and_the_lowest_clock_is_assumed() {
        let other = Frequency { governor: Some("powersave".into()), ..present() };
        let seen = Validity::of(&calibrated(), &other, false);
        assert_eq!(seen.factor(), 3.0);
        assert!(matches!(seen, Validity::Broken { property: "governor", .. }), "{seen:?}");
    }
}
