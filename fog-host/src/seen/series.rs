//! What happened in the last ten minutes, in steps of five seconds: a ring that is
//! told the time, as a duration since the host began.

use std::collections::VecDeque;
use std::time::Duration;

/// The length of a step.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// The steps that are kept.
pub(crate) const STEPS: usize = 120;

/// Values by step. A step without any takes no room until a later one has some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series<T> {
    steps: VecDeque<T>,
    /// The number of the last step in `steps`.
    last: u64,
}

fn number(now: Duration) -> u64 {
    now.as_secs() / STEP.as_secs()
}

impl<T: Clone + Default> Series<T> {
    /// The value of the step that `now` is in.
    pub(super) fn at(&mut self, now: Duration) -> &mut T {
        // Two threads may ask for the time in one order and come here in the other.
        let now = number(now).max(self.last);
        let new = if self.steps.is_empty() { 1 } else { now - self.last };
        let new = usize::try_from(new).unwrap_or(STEPS).min(STEPS);
        self.steps.extend(std::iter::repeat_n(T::default(), new));
        self.steps.drain(..self.steps.len().saturating_sub(STEPS));
        self.last = now;
        self.steps.back_mut().expect("one was just pushed if there was none")
    }

    /// The last `steps` before `now` and the one that it is in, oldest first; those
    /// in which nothing happened are `None`.
    pub(super) fn last(
        &self,
        steps: usize,
        now: Duration,
    ) -> impl ExactSizeIterator<Item = Option<&T>> {
        let later = number(now).saturating_sub(self.last);
        (0..steps).rev().map(move |age| {
            let back = usize::try_from((age as u64).checked_sub(later)?).ok()?;
            self.steps.get(self.steps.len().checked_sub(back + 1)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(series: &Series<u32>, steps: usize, seconds: u64) -> Vec<u32> {
        let last = series.last(steps, Duration::from_secs(seconds));
        last.map(|value| value.copied().unwrap_or_default()).collect()
    }

    #[test]
    fn steps_move_on_with_time_and_old_ones_go() {
        let mut series = Series::default();
        assert_eq!(values(&series, 2, 100), [0, 0]);
        for (second, value) in [(2, 1), (4, 1), (5, 10), (17, 100)] {
            *series.at(Duration::from_secs(second)) += value;
        }
        assert_eq!(values(&series, 5, 19), [0, 2, 10, 0, 100]);
        assert_eq!(values(&series, 3, 25), [100, 0, 0]);
        *series.at(Duration::from_secs(16)) += 1;
        *series.at(Duration::from_secs(3)) += 1;
        assert_eq!(values(&series, 1, 17), [102]);
        *series.at(Duration::from_secs(1_000_000)) += 7;
        assert_eq!(values(&series, STEPS, 1_000_001).iter().sum::<u32>(), 7);
        assert_eq!(series.steps.len(), STEPS);
    }
}
