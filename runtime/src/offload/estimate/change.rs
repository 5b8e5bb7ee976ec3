//! Whether a quantity has changed its level: the Page-Hinkley test (E. S. Page,
//! "Continuous inspection schemes", Biometrika 41, 1954, DOI
//! 10.1093/biomet/41.1-2.100; D. V. Hinkley, "Inference about the change-point from
//! cumulative sum tests", Biometrika 58, 1971, DOI 10.1093/biomet/58.3.509), to both
//! sides, on standardised values.
//!
//! It finds what a run of surprises does not: a fog host that is half as fast as
//! before, where each answer by itself would be an ordinary one.

/// Shifts of less than this many deviations are no change.
const TOLERATED: f64 = 0.5;
/// The cumulative sum, in deviations, that is an alarm. Without a change its
/// excursions reach it about once in e^10.
const ALARM: f64 = 10.0;
/// No single value counts for more than this many deviations.
const CLIP: f64 = 4.0;
/// The deviation is taken for no less than this.
const LEAST_DEVIATION: f64 = 0.05;
/// Before so many values, mean and deviation are not known.
const WARM_UP: u32 = 8;
/// Mean and deviation follow with this weight in the end.
const SLOWEST: f64 = 0.02;

/// The state of the test.
#[derive(Clone, Debug, Default)]
pub(super) struct PageHinkley {
    seen: u32,
    mean: f64,
    /// Mean absolute deviation.
    deviation: f64,
    /// What has come together above and below the mean.
    above: f64,
    below: f64,
}

impl PageHinkley {
    /// Takes in a value; true where the level has changed. The test then starts
    /// again.
    pub fn changed(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        // 1.2533: a normal distribution's standard deviation over its mean
        // absolute one.
        let deviation = (1.2533 * self.deviation).max(LEAST_DEVIATION);
        let standardised = ((value - self.mean) / deviation).clamp(-CLIP, CLIP);
        self.seen = self.seen.saturating_add(1);
        let warm = self.seen > WARM_UP;
        if warm {
            self.above = (self.above + standardised - TOLERATED).max(0.0);
            self.below = (self.below - standardised - TOLERATED).max(0.0);
        }
        if self.above.max(self.below) > ALARM {
            *self = Self { seen: 1, mean: value, ..Self::default() };
            return true;
        }
        let weight = (1.0 / f64::from(self.seen)).max(SLOWEST);
        let limited = if warm { self.mean + standardised * deviation } else { value };
        self.deviation += weight * ((limited - self.mean).abs() - self.deviation);
        self.mean += weight * (limited - self.mean);
        false
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// About normal, with this mean and a deviation of 1.
    fn draw(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
        mean + (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    #[test]
    fn a_shift_is_found_soon_and_no_shift_hardly_ever() {
        let (mut false_alarms, mut delay) = (0, 0);
        for seed in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut test = PageHinkley::default();
            false_alarms += (0..400).filter(|_| test.changed(draw(&mut rng, 3.0))).count();
            let shifted = if seed % 2 == 0 { 5.5 } else { 0.5 };
            let found = (0..40).find(|_| test.changed(draw(&mut rng, shifted)));
            delay += found.unwrap_or_else(|| panic!("seed {seed}: not found"));
        }
        assert!(false_alarms <= 10, "{false_alarms} in 20 000");
        assert!(delay < 50 * 10, "{delay} in 50");
    }

    #[test]
    fn one_outlier_is_no_change() {
        let mut test = PageHinkley::default();
        for i in 0..200 {
            let value = if i % 50 == 49 { 1e9 } else { f64::from(i % 3) };
            assert!(!test.changed(value), "{i}");
        }
        assert!(!test.changed(f64::NAN));
    }
}
