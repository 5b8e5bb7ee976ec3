//! How long an answer waits for a thread that does not compute, to be written. The longest
//! of late counts, and fades, so that one hiccup keeps nobody out for long.

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
    /// Takes in a wait, and says what the next one may be.
    pub(super) fn observe(&mut self, now: Instant, waited: Duration) -> Duration {
        self.longest = waited.max(self.expect(now));
        self.seen = Some(now);
        self.longest
    }

    /// What the next wait may be.
    pub(super) fn expect(&self, now: Instant) -> Duration {
        let age = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        self.longest.mul_f64((-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2())
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
