//! How long an offloaded inference takes, as a distribution: T_L, T_F, and
//! whether there is an answer at all.

use std::time::Duration;

use super::spread::{POINTS, Spread};

/// The time from sending an input to having its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OffloadedTime {
    /// T_L, in seconds.
    pub transfer: Spread,
    /// T_F, in seconds.
    pub fog: Spread,
    /// The probability that there is an answer.
    pub answered: f64,
}

impl OffloadedTime {
    /// Each T_L with each T_F: they are taken as independent of each other.
    fn sums(&self) -> impl Iterator<Item = f64> {
        let transfer = self.transfer.points();
        self.fog.points().iter().flat_map(move |fog| transfer.iter().map(move |t| t + fog))
    }

    /// The probability of an answer within `limit`.
    pub fn within(&self, limit: Duration) -> f64 {
        let limit = limit.as_secs_f64();
        let fast = self.sums().filter(|&time| time <= limit).count();
        self.answered * fast as f64 / (POINTS * POINTS) as f64
    }

    /// The expected time, where it counts as `limit` when it is longer or there
    /// is no answer.
    pub fn mean_up_to(&self, limit: Duration) -> Duration {
        let longest = limit.as_secs_f64();
        let sum: f64 = self.sums().map(|time| time.min(longest)).sum();
        let mean = sum / (POINTS * POINTS) as f64;
        let mean = self.answered * mean + (1.0 - self.answered) * longest;
        Duration::try_from_secs_f64(mean).unwrap_or(limit)
    }

    /// The longest time that is expected at all, of an answer.
    pub fn longest(&self) -> Duration {
        let longest = self.transfer.largest() + self.fog.largest();
        Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_answer_that_may_not_come_counts_as_the_limit() {
        let time = OffloadedTime {
            transfer: Spread::constant(0.010),
            fog: Spread::constant(0.005),
            answered: 0.5,
        };
        assert_eq!(time.within(14 * MS), 0.0);
        assert_eq!(time.within(16 * MS), 0.5);
        assert_eq!(time.mean_up_to(25 * MS), 20 * MS);
        assert_eq!(time.mean_up_to(10 * MS), 10 * MS);
        assert_eq!(time.longest(), 15 * MS);
        let certain = OffloadedTime { answered: 1.0, ..time };
        assert!(certain.mean_up_to(Duration::MAX) < 16 * MS);
    }
}
