//! When a link is not there: windows of random place and length, drawn from the
//! link's seed.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How often a link is gone, and for how long. Both are means: each gap and
/// each window is drawn evenly from half to one and a half times its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outages {
    /// Mean time from the end of one window (or from the start) to the next.
    pub every: Duration,
    /// Mean length of a window.
    pub lasting: Duration,
}

impl fmt::Display for Outages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lasting, every] = [self.lasting, self.every].map(|t| t.as_secs_f64());
        write!(f, "an outage of {lasting} s about every {every} s")
    }
}

/// The windows of one link, as times since its start; drawn as far as they are
/// asked for, the same ones for the same seed whatever is asked in between.
#[derive(Clone, Debug)]
pub struct OutageSchedule {
    outages: Option<Outages>,
    rng: ChaCha8Rng,
    /// Apart from each other, in order.
    windows: Vec<Range<Duration>>,
}

impl OutageSchedule {
    /// The schedule of `outages`, drawn from `rng`.
    pub fn new(outages: Option<Outages>, rng: ChaCha8Rng) -> Self {
        // Without a gap between them the windows would never come to an end.
        let outages = outages.filter(|o| !o.every.is_zero() && !o.lasting.is_zero());
        Self { outages, rng, windows: Vec::new() }
    }

    /// The first window that ends after `t`; `None` if there are no outages.
    fn next(&mut self, t: Duration) -> Option<Range<Duration>> {
        let outages = self.outages?;
        while self.windows.last().is_none_or(|w| w.end <= t) {
            let from = self.windows.last().map_or(Duration::ZERO, |w| w.end);
            let start = from + outages.every.mul_f64(self.rng.random_range(0.5..1.5));
            let end = start + outages.lasting.mul_f64(self.rng.random_range(0.5..1.5));
            self.windows.push(start..end);
        }
        let first = self.windows.partition_point(|w| w.end <= t);
        Some(self.windows[first].clone())
    }

    /// `t`, or the end of the window that it falls into.
    pub fn resume(&mut self, t: Duration) -> Duration {
        match self.next(t) {
            Some(window) if window.contains(&t) => window.end,
            _ => t,
        }
    }

    /// When work of length `work` ends that starts at `start` and rests during
    /// the windows.
    pub fn advance(&mut self, start: Duration, work: Duration) -> Duration {
        let (mut t, mut left) = (self.resume(start), work);
        while let Some(window) = self.next(t).filter(|w| w.start < t + left) {
            left -= window.start - t;
            t = window.end;
        }
        t + left
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const OUTAGES: Outages =
        Outages { every: Duration::from_secs(10), lasting: Duration::from_secs(2) };

    fn schedule(seed: u64) -> OutageSchedule {
        OutageSchedule::new(Some(OUTAGES), ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn gaps_and_windows_are_within_half_of_their_means() {
        let mut schedule = schedule(1);
        schedule.resume(Duration::from_secs(1_000));
        let mut end = Duration::ZERO;
        for window in &schedule.windows {
            let (gap, length) = (window.start - end, window.end - window.start);
            assert!((5.0..15.0).contains(&gap.as_secs_f64()), "{gap:?}");
            assert!((1.0..3.0).contains(&length.as_secs_f64()), "{length:?}");
            end = window.end;
        }
        assert!(schedule.windows.len() > 50);
    }

    #[test]
    fn the_windows_do_not_depend_on_the_order_of_the_questions() {
        let (mut far, mut near) = (schedule(7), schedule(7));
        far.resume(Duration::from_secs(500));
        for s in 0..500 {
            let t = Duration::from_secs(s);
            assert_eq!(far.resume(t), near.resume(t));
        }
    }

    #[test]
    fn work_rests_during_a_window() {
        let mut schedule = schedule(3);
        let window = schedule.next(Duration::ZERO).unwrap();
        let s = Duration::from_secs(1);
        assert_eq!(schedule.advance(window.start - s, s), window.start);
        assert_eq!(schedule.advance(window.start - s, s * 2), window.end + s);
        assert_eq!(schedule.advance(window.start, s), window.end + s);
        assert_eq!(schedule.resume(window.end), window.end);
    }

    #[test]
    fn a_link_without_outages_is_always_there() {
        let mut never = OutageSchedule::new(None, ChaCha8Rng::seed_from_u64(0));
        let t = Duration::from_secs(1_000_000);
        assert_eq!(never.resume(t), t);
        assert_eq!(never.advance(t, t), t * 2);
    }
}
