//! What becomes of an answer after its run: it waits for the thread that writes it, and
//! is encoded. A deadline is the client's, so both are taken off the time that the run
//! has.
//!
//! The wait is as long as the longest of late. Encoding costs what it cost before for the
//! same outputs, in time that grows with their size and with JSON many times over.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use leeway_contract::{Digest, Fuel};

use super::cost::Costs;
use super::lag::Lag;

/// What became of an execution until it could be sent.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The module that ran.
    pub(crate) digest: Digest,
    /// Which of its stages.
    pub(crate) range: RangeInclusive<u32>,
    /// How long it waited for the thread that writes it.
    pub(crate) waited: Duration,
    /// How long that took to encode it.
    pub(crate) encoding: Duration,
}

/// What was seen of answers.
#[derive(Default)]
pub(super) struct Answers {
    encoding: Costs,
    writing: Lag,
}

impl Answers {
    /// Takes in what became of an execution.
    pub(super) fn written(&mut self, now: Instant, written: &Written) {
        let Written { digest, range, waited, encoding } = written;
        self.writing.observe(now, *waited);
        self.encoding.observe(now, *digest, range, Fuel(0), *encoding);
    }

    /// What encoding the answer of a run may take.
    pub(super) fn encoding(
        &self,
        now: Instant,
        digest: Digest,
        range: &RangeInclusive<u32>,
    ) -> Duration {
        self.encoding.expect(now, digest, range, None)
    }

    /// What an answer may wait for another thread to write it.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.writing.expect(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_of_late_counts_and_encoding_by_what_is_encoded() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let (digest, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut answers = Answers::default();
        assert_eq!((answers.wait(now), answers.encoding(now, digest, &(0..=1))), (ms(0), ms(0)));
        for waited in [3, 5, 1] {
            let written = Written { digest, range: 0..=1, waited: ms(waited), encoding: ms(2) };
            answers.written(now, &written);
        }
        assert_eq!(answers.wait(now), ms(5));
        assert_eq!(answers.encoding(now, digest, &(0..=1)), ms(2));
        assert_eq!(answers.encoding(now, digest, &(0..=0)), ms(0));
        assert_eq!(answers.encoding(now, other, &(0..=1)), ms(0));
        // A wait for the other thread is forgotten soon, what encoding costs later.
        let later = now + ms(200);
        assert!(answers.wait(later) < ms(1));
        assert!(answers.encoding(later, digest, &(0..=1)) > ms(1));
    }
}
