//! Energy over time from samples of sensors. Pure: it is told the time.
//!
//! Power is integrated by the trapezoidal rule. A counter's difference is taken
//! modulo its range: it must be read at least once each time it wraps around. Over
//! a longer gap than is allowed, nothing is assumed: that time is not covered.

use std::time::Duration;

use super::sensor::Sample;

/// The energy of one sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Integral {
    last: Option<(Duration, Sample)>,
    total: Total,
}

/// What has been integrated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// The energy over the time that is covered.
    pub joules: f64,
    /// The time that is covered.
    pub covered: Duration,
    /// Samples that were taken.
    pub samples: u64,
    /// Of these, those that differ from the one before.
    pub changes: u64,
    /// Samples that failed.
    pub failures: u64,
}

impl Total {
    /// The mean power over the time that is covered.
    pub fn watts(&self) -> Option<f64> {
        (!self.covered.is_zero()).then(|| self.joules / self.covered.as_secs_f64())
    }
}

impl Integral {
    /// A sample was taken at the time `now`. Those further apart than `longest_gap`
    /// are not joined.
    pub fn add(&mut self, now: Duration, sample: Sample, longest_gap: Duration) {
        self.total.samples += 1;
        if let Some((at, before)) = self.last {
            self.total.changes += u64::from(before != sample);
            let gap = now.saturating_sub(at);
            if let Some(joules) = joules(before, sample, gap).filter(|_| gap <= longest_gap) {
                self.total.joules += joules;
                self.total.covered += gap;
            }
        }
        self.last = Some((now, sample));
    }

    /// The sensor could not be read.
    pub fn fail(&mut self) {
        self.total.failures += 1;
    }

    /// All of it so far.
    pub fn total(&self) -> Total {
        self.total
    }
}

/// The energy between two samples of a sensor; `None` where it cannot be told.
fn joules(before: Sample, after: Sample, gap: Duration) -> Option<f64> {
    match (before, after) {
        (Sample::Watts(before), Sample::Watts(after)) => {
            Some((before + after) / 2.0 * gap.as_secs_f64())
        }
        (Sample::Counter { microjoules: before, .. }, Sample::Counter { microjoules, range }) => {
            let used = match microjoules.checked_sub(before) {
                Some(used) => used,
                // Without a range, a counter that goes back was reset.
                None => range?.checked_sub(before)?.saturating_add(microjoules),
            };
            Some(used as f64 * 1e-6)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(2);

    fn integrate(samples: &[(u64, Sample)]) -> Total {
        let mut integral = Integral::default();
        for &(ms, sample) in samples {
            integral.add(Duration::from_millis(ms), sample, GAP);
        }
        integral.total()
    }

    fn count(microjoules: u64) -> Sample {
        Sample::Counter { microjoules, range: Some(1_000_000) }
    }

    #[test]
    fn a_ramp_of_power_is_integrated_exactly() {
        let total = integrate(&[(0, Sample::Watts(1.0)), (500, Sample::Watts(3.0))]);
        assert!((total.joules - 1.0).abs() < 1e-12, "{total:?}");
        assert_eq!(total.watts(), Some(2.0));
        assert_eq!((total.samples, total.changes), (2, 1));
    }

    #[test]
    fn a_counter_wraps_around_at_its_range() {
        let total = integrate(&[(0, count(900_000)), (100, count(950_000)), (200, count(10_000))]);
        assert!((total.joules - 0.11).abs() < 1e-12, "{total:?}");
        // One that is above its own range, or that has none, was reset.
        let reset = Sample::Counter { microjoules: 5, range: None };
        let before = Sample::Counter { microjoules: 2_000_000, range: None };
        assert_eq!(integrate(&[(0, before), (100, reset)]).covered, Duration::ZERO);
        assert_eq!(integrate(&[(0, count(2_000_000)), (100, count(5))]).joules, 0.0);
    }

    #[test]
    fn a_gap_is_not_covered_and_nothing_is_assumed_in_it() {
        let watts = Sample::Watts(4.0);
        let total = integrate(&[(0, watts), (1_000, watts), (5_000, watts), (6_000, watts)]);
        assert_eq!(total.covered, Duration::from_secs(2));
        assert_eq!((total.joules, total.watts()), (8.0, Some(4.0)));
        assert_eq!(integrate(&[(0, watts)]).watts(), None);
    }
}
