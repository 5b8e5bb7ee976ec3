//! Measures the energy of inferences: idle first, then nothing but inferences.

use std::time::{Duration, Instant};

use super::attribution::{Load, PerInference, Unresolved};
use super::discover::{Chosen, Found, NoSuchSensor};
use super::meter::{INTERVAL, Meter};
use super::model::PowerModel;
use crate::sysfs::Root;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureRule {
    /// Idle, before. Zero leaves it out: idle power is then counted in.
    pub idle: Duration,
    /// Running inferences, and at least one.
    pub busy: Duration,
    /// Between two readings.
    pub interval: Duration,
}

impl Default for MeasureRule {
    /// One second idle, two busy.
    fn default() -> Self {
        Self { idle: Duration::from_secs(1), busy: Duration::from_secs(2), interval: INTERVAL }
    }
}

/// Why the energy of inferences is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError<E: std::error::Error + 'static> {
    /// An inference failed.
    #[error(transparent)]
    Run(E),
    /// The meter's thread did not start.
    #[error("the power meter did not start: {0}")]
    Meter(std::io::Error),
    /// A sensor that was asked for is not there.
    #[error(transparent)]
    NoSuchSensor(NoSuchSensor),
    /// Nothing measures, and nothing is declared.
    #[error("{0}; declare the device's power, and joules are modelled")]
    NotKnown(String),
}

/// The joules of one inference: by the sensors of these names, or the best that
/// there are under `root`; by the model, if there is one, where sensors do not tell.
pub fn joules<E: std::error::Error + 'static>(
    root: &Root,
    names: &[String],
    model: Option<&PowerModel>,
    rule: &MeasureRule,
    run: &mut dyn FnMut() -> Result<Duration, E>,
) -> Result<PerInference, MeasureError<E>> {
    let found = Found::under(root);
    let chosen = match names {
        [] => found.choose(),
        names => Some(found.named(names).map_err(MeasureError::NoSuchSensor)?),
    };
    let (why, load) = match chosen {
        Some(chosen) => match measure(&chosen, rule, run)? {
            (Ok(measured), _) => return Ok(measured),
            (Err(unresolved), load) => (unresolved.to_string(), load),
        },
        None => {
            let why = match found.problems.first() {
                Some(problem) => problem.to_string(),
                None => "there is no power sensor".to_owned(),
            };
            let Some(_) = model else { return Err(MeasureError::NotKnown(why)) };
            // Of a model, the time of an inference is all that is wanted.
            (why, fill(rule.busy / 10, run).map_err(MeasureError::Run)?)
        }
    };
    match model {
        Some(model) => Ok(PerInference::modelled(model, load, why)),
        None => Err(MeasureError::NotKnown(why)),
    }
}

/// Runs inferences for a while and measures their energy; `run` runs one and tells
/// its execution time. The load is told in any case, for a model to be used where
/// the sensors do not tell.
pub fn measure<E: std::error::Error + 'static>(
    chosen: &Chosen,
    rule: &MeasureRule,
    run: &mut dyn FnMut() -> Result<Duration, E>,
) -> Result<(Result<PerInference, Unresolved>, Load), MeasureError<E>> {
    let start = || Meter::start(&chosen.sensors, rule.interval).map_err(MeasureError::Meter);
    let idle = match rule.idle.is_zero() {
        true => None,
        false => {
            let meter = start()?;
            std::thread::sleep(rule.idle);
            Some(meter.read().0)
        }
    };
    let meter = start()?;
    let load = fill(rule.busy, run).map_err(MeasureError::Run)?;
    let (busy, window) = meter.read();
    Ok((PerInference::measured(idle.as_deref(), &busy, window, load, chosen), load))
}

/// Runs inferences one after another for this time.
pub fn fill<E>(time: Duration, run: &mut dyn FnMut() -> Result<Duration, E>) -> Result<Load, E> {
    let (mut load, start) = (Load::default(), Instant::now());
    while load.runs == 0 || start.elapsed() < time {
        load.busy += run()?;
        load.runs += 1;
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::power::{Basis, Found};
    use crate::recorded::Tree;

    /// A long interval, so that a thread that gets no processor for a while makes no
    /// gap: sensors are read at both ends in any case.
    const RULE: MeasureRule = MeasureRule {
        idle: Duration::ZERO,
        busy: Duration::from_millis(20),
        interval: Duration::from_millis(500),
    };

    /// Runs that tell a millisecond, however long they take.
    fn millisecond() -> Result<Duration, Infallible> {
        std::thread::sleep(Duration::from_micros(200));
        Ok(Duration::from_millis(1))
    }

    #[test]
    fn a_steady_rail_gives_its_power_by_the_execution_time() {
        let tree = Tree::parse(crate::recorded::JETSON_ORIN);
        let chosen = Found::under(&tree.root()).choose().unwrap();
        let (measured, load) = measure(&chosen, &RULE, &mut millisecond).unwrap();
        let measured = measured.unwrap();
        assert!((measured.joules - 4.968e-3).abs() < 1e-9, "{measured:?}");
        assert_eq!((measured.basis, measured.runs), (Basis::MeasuredWithIdle, load.runs));
        // The same power idle is no signal.
        let rule = MeasureRule { idle: Duration::from_millis(10), ..RULE };
        let unresolved = measure(&chosen, &rule, &mut millisecond).unwrap().0.unwrap_err();
        assert!(matches!(unresolved, Unresolved::NoSignal { .. }), "{unresolved}");
    }

    #[test]
    fn a_sensor_that_disappears_is_told_and_no_panic() {
        let tree = Tree::parse(crate::recorded::JETSON_ORIN);
        let chosen = Found::under(&tree.root()).choose().unwrap();
        std::fs::remove_dir_all(tree.root().path("sys/class/hwmon")).unwrap();
        let unresolved = measure(&chosen, &RULE, &mut millisecond).unwrap().0.unwrap_err();
        assert!(matches!(unresolved, Unresolved::Unreadable { failures: 1.., .. }), "{unresolved}");
    }

    #[test]
    fn without_a_sensor_it_is_modelled_or_refused() {
        let root = Tree::parse(crate::recorded::RASPBERRY_PI_4);
        let model = PowerModel {
            idle_watts: 2.0,
            busy_watts: 5.0,
            transmit_watts: 3.0,
            receive_watts: 3.0,
        };
        let of =
            |names: &[String], model| joules(&root.root(), names, model, &RULE, &mut millisecond);
        let one = of(&[], Some(&model)).unwrap();
        assert_eq!(
            (one.basis, one.instead),
            (Basis::Modelled, Some("there is no power sensor".into()))
        );
        assert!((one.joules - 0.003).abs() < 1e-12);
        let error = of(&[], None).unwrap_err().to_string();
        assert!(error.contains("no power sensor; declare"), "{error}");
        let error = of(&["ina226:1".into()], Some(&model)).unwrap_err();
        assert!(matches!(error, MeasureError::NoSuchSensor(_)), "{error}");
    }

    #[test]
    fn a_counter_that_stands_still_is_too_slow() {
        let tree = Tree::parse(crate::recorded::X86_LAPTOP);
        let names = ["rapl:package-0".to_owned()];
        let chosen = Found::under(&tree.root()).named(&names).unwrap();
        let unresolved = measure(&chosen, &RULE, &mut millisecond).unwrap().0.unwrap_err();
        assert!(matches!(unresolved, Unresolved::TooSlow { changes: 0, .. }), "{unresolved}");
    }
}
