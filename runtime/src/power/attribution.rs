//! The joules of one inference, from the energy of a time in which many ran.
//!
//! Sensors are slower than inferences (a counter of RAPL changes each millisecond,
//! a power monitor each few to hundred), and see the whole machine. So the energy
//! above idle of a time that is filled with inferences is shared out among them by
//! their execution times. Idle power is measured on the same sensors right before.
//! What else the machine does counts as the inferences' where it began only then.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::integral::Total;
use super::model::PowerModel;
use super::sensor::Domain;

/// How joules are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// By sensors, without what the device takes when idle.
    Measured,
    /// By sensors, with it, where it was not measured.
    MeasuredWithIdle,
    /// By a declared power model.
    Modelled,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::Measured => "measured, above idle",
            Basis::MeasuredWithIdle => "measured, idle power included",
            Basis::Modelled => "modelled, above idle",
        })
    }
}

/// The power above idle of one core that computes, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Computing {
    /// Watts.
    pub watts: f64,
    /// How they are known.
    pub basis: Basis,
}

impl Computing {
    /// The joules of computing for this time.
    pub fn joules(&self, time: Duration) -> f64 {
        self.watts * time.as_secs_f64()
    }
}

/// The energy of one inference on the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerInference {
    /// Joules, on average.
    pub joules: f64,
    /// How they are known.
    pub basis: Basis,
    /// The device's mean power while it ran inferences.
    pub busy_watts: f64,
    /// Its mean power before, when idle, where that is known.
    pub idle_watts: Option<f64>,
    /// The mean execution time.
    #[serde(rename = "execution_ns", with = "crate::nanos")]
    pub execution: Duration,
    /// How many inferences they are averaged over.
    pub runs: u64,
    /// The time over which they were measured; zero where nothing was.
    #[serde(rename = "window_ns", with = "crate::nanos")]
    pub window: Duration,
    /// What was measured: the sensors' domain, and their names.
    pub domain: Option<Domain>,
    /// The sensors.
    pub sensors: Vec<String>,
    /// Where joules are modelled: why they are not measured.
    pub instead: Option<String>,
}

/// Inferences that filled a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many.
    pub runs: u64,
    /// Their execution times together.
    pub busy: Duration,
}

impl Load {
    fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.busy.as_secs_f64() / self.runs.max(1) as f64)
    }
}

/// Why the sensors do not tell the joules of an inference.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresolved {
    /// They changed too rarely.
    #[error(
        "the power sensors changed {changes} times in {window:?}, wanted at least {wanted}; \
         measure for longer"
    )]
    TooSlow {
        /// How often one of them did.
        changes: u64,
        /// The time.
        window: Duration,
        /// How often it should have.
        wanted: u64,
    },
    /// They failed, or were read too rarely, for a large part of the time.
    #[error(
        "the power sensors were readable for {covered:?} of {window:?}, {failures} readings failed"
    )]
    Unreadable {
        /// The time that is covered.
        covered: Duration,
        /// All of it.
        window: Duration,
        /// Readings that failed.
        failures: u64,
    },
    /// The device takes no more when it runs inferences.
    #[error(
        "the device took {busy_watts:.3} W with inferences and {idle_watts:.3} W without; \
         something else was busy, or the sensors do not see the processor"
    )]
    NoSignal {
        /// With inferences.
        busy_watts: f64,
        /// Without.
        idle_watts: f64,
    },
    /// No inference ran.
    #[error("no inference ran")]
    NoRuns,
}

/// A power monitor that shows the same value all the time may be right; a counter
/// that stands still, or changes once, tells nothing.
const FEWEST_CHANGES: u64 = 5;

/// Joules by sensors: `busy` over a time `window` that `load` filled, `idle`
/// before it. Each has the totals of all sensors, in one order.
pub fn measured(
    idle: Option<&[Total]>,
    busy: &[Total],
    window: Duration,
    load: Load,
    counters: bool,
) -> Result<(f64, f64, Option<f64>), Unresolved> {
    if load.runs == 0 || load.busy.is_zero() {
        return Err(Unresolved::NoRuns);
    }
    let changes = busy.iter().map(|total| total.changes).min().unwrap_or(0);
    if counters && changes < FEWEST_CHANGES {
        return Err(Unresolved::TooSlow { changes, window, wanted: FEWEST_CHANGES });
    }
    let watts = watts(busy, window)?;
    let before = idle.and_then(|idle| self::watts(idle, Duration::ZERO).ok());
    let above = watts - before.unwrap_or(0.0);
    if above <= 0.0 {
        let idle_watts = before.unwrap_or(0.0);
        return Err(Unresolved::NoSignal { busy_watts: watts, idle_watts });
    }
    Ok((above * load.mean().as_secs_f64(), watts, before))
}

/// The power of all sensors together, where each covers half of the time.
fn watts(totals: &[Total], window: Duration) -> Result<f64, Unresolved> {
    let covered = totals.iter().map(|total| total.covered).min().unwrap_or_default();
    let watts: Option<f64> = totals.iter().map(Total::watts).sum();
    watts.filter(|_| covered >= window / 2).ok_or_else(|| Unresolved::Unreadable {
        covered,
        window,
        failures: totals.iter().map(|total| total.failures).sum(),
    })
}

impl PerInference {
    /// Joules by a declared model, because of this.
    pub fn modelled(model: &PowerModel, load: Load, why: String) -> Self {
        let execution = load.mean();
        Self {
            joules: model.computing_joules(execution),
            basis: Basis::Modelled,
            busy_watts: model.busy_watts,
            idle_watts: Some(model.idle_watts),
            execution,
            runs: load.runs,
            window: Duration::ZERO,
            domain: None,
            sensors: Vec::new(),
            instead: Some(why),
        }
    }

    /// Joules by sensors of this domain and these names; the arguments of
    /// [`measured`].
    pub fn measured(
        idle: Option<&[Total]>,
        busy: &[Total],
        window: Duration,
        load: Load,
        chosen: &super::Chosen,
    ) -> Result<Self, Unresolved> {
        let counters = chosen.sensors.iter().any(super::Sensor::is_counter);
        let (joules, busy_watts, idle_watts) = measured(idle, busy, window, load, counters)?;
        Ok(Self {
            joules,
            basis: match idle_watts {
                Some(_) => Basis::Measured,
                None => Basis::MeasuredWithIdle,
            },
            busy_watts,
            idle_watts,
            execution: load.mean(),
            runs: load.runs,
            window,
            domain: Some(chosen.domain),
            sensors: chosen.sensors.iter().map(|sensor| sensor.name.clone()).collect(),
            instead: None,
        })
    }

    /// The power above idle of computing, by which joules follow from a time.
    pub fn computing(&self) -> Computing {
        let watts = self.busy_watts - self.idle_watts.unwrap_or(0.0);
        Computing { watts, basis: self.basis }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LOAD: Load = Load { runs: 100, busy: Duration::from_millis(900) };

    fn total(joules: f64, covered: Duration) -> Total {
        Total { joules, covered, samples: 50, changes: 40, failures: 0 }
    }

    #[test]
    fn the_energy_above_idle_is_shared_out_by_execution_time() {
        let (idle, busy) = ([total(2.0, SECOND)], [total(5.0, SECOND)]);
        let (joules, watts, before) = measured(Some(&idle), &busy, SECOND, LOAD, true).unwrap();
        // 3 W for 9 ms.
        assert!((joules - 0.027).abs() < 1e-9, "{joules}");
        assert_eq!((watts, before), (5.0, Some(2.0)));
        // Without idle, all of it.
        let (joules, _, before) = measured(None, &busy, SECOND, LOAD, true).unwrap();
        assert!((joules - 0.045).abs() < 1e-9 && before.is_none());
        // Rails add up.
        let rails = [total(1.0, SECOND), total(2.5, SECOND)];
        let (joules, ..) = measured(None, &rails, SECOND, LOAD, false).unwrap();
        assert!((joules - 0.0315).abs() < 1e-9);
    }

    #[test]
    fn sensors_that_do_not_tell_say_why() {
        let busy = [total(5.0, SECOND)];
        let idle = [total(6.0, SECOND)];
        let error = |idle: Option<&[Total]>, busy: &[Total], load| {
            measured(idle, busy, SECOND, load, true).unwrap_err()
        };
        assert!(matches!(error(Some(&idle), &busy, LOAD), Unresolved::NoSignal { .. }));
        assert_eq!(error(None, &busy, Load::default()), Unresolved::NoRuns);
        let slow = [Total { changes: 1, ..busy[0] }];
        assert!(matches!(error(None, &slow, LOAD), Unresolved::TooSlow { changes: 1, .. }));
        let gone = [total(1.0, SECOND / 4), total(5.0, SECOND)];
        assert!(matches!(error(None, &gone, LOAD), Unresolved::Unreadable { .. }));
        // An idle time without a reading is as none.
        assert_eq!(
            measured(Some(&[total(0.0, Duration::ZERO)]), &busy, SECOND, LOAD, true).unwrap().2,
            None
        );
    }

    #[test]
    fn modelled_joules_are_marked() {
        let model = PowerModel {
            idle_watts: 1.0,
            busy_watts: 3.0,
            transmit_watts: 2.0,
            receive_watts: 2.0,
        };
        let one = PerInference::modelled(&model, LOAD, "no sensor".into());
        assert_eq!(one.computing(), Computing { watts: 2.0, basis: Basis::Modelled });
        assert!((one.joules - 0.018).abs() < 1e-12);
    }
}
