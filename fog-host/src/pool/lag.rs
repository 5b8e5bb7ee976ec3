//! How long an answer waits for the thread that writes it: as long as requests waited to
//! be read, at the most, lately. What was seen fades, so that one hiccup keeps nobody out
//! for long.

use std::time::{Duration, Instant};

/// What was seen is half of it after so long.
const HALF_LIFE: Duration = Duration::from_millis(20);

/// The longest wait of late.
#[derive(Debug, Default)]
pub(super) struct Lag {
    longest: Duration,
    seen: Option<Instant>,
}

impl Lag {
    /// Takes in what a request waited, and says what its answer may wait.
    pub(super) fn observe(&mut self, now: Instant, waited: Duration) -> Duration {
        let age = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        let faded = self.longest.mul_f64((-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2());
        self.longest = waited.max(faded);
        self.seen = Some(now);
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_counts_and_fades() {
        let (mut lag, now, ms) = (Lag::default(), Instant::now(), Duration::from_millis);
        assert_eq!(lag.observe(now, ms(1)), ms(1));
        assert_eq!(lag.observe(now, ms(8)), ms(8));
        assert_eq!(lag.observe(now, ms(2)), ms(8));
        assert_eq!(lag.observe(now + HALF_LIFE, ms(2)), ms(4));
        assert!(lag.observe(now + HALF_LIFE * 20, ms(0)) < ms(1));
    }
}
