//! Whether the link and a module on the fog host can be relied on at the
//! moment: failures in a row, and how long to leave them alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exponential back-off: after the n-th failure in a row, wait
/// `base * 2^(n-1)`, at most `ceiling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOffRule {
    /// After the first failure.
    pub base: Duration,
    /// At most.
    pub ceiling: Duration,
}

impl Default for BackOffRule {
    /// 200 ms to 10 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(200), ceiling: Duration::from_secs(10) }
    }
}

/// The failures in a row of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
    until: Duration,
}

impl BackOff {
    /// A failure at the time `now`.
    pub fn failed(&mut self, now: Duration, rule: &BackOffRule) {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.until = now.saturating_add(rule.base.saturating_mul(factor).min(rule.ceiling));
    }

    /// It works again.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it may be tried: it has not failed, or the wait is over.
    pub fn may_try(&self, now: Duration) -> bool {
        self.failures == 0 || now >= self.until
    }
}

/// A circuit breaker (M. T. Nygard, "Release It!", 2007): closed while all is
/// well; open after a failure, when nothing is sent; half-open when the back-off is
/// over, when probes are sent and no inputs. A few successes in a row close it, one
/// failure opens it for longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    back_off: BackOff,
    /// In a row, while it is not closed.
    successes: u32,
}

impl Breaker {
    /// A failure at the time `now`.
    pub fn failed(&mut self, now: Duration, rule: &BackOffRule) {
        self.successes = 0;
        self.back_off.failed(now, rule);
    }

    /// A success; `wanted` of them in a row close it.
    pub fn succeeded(&mut self, wanted: u32) {
        self.successes = self.successes.saturating_add(1);
        if self.successes >= wanted {
            *self = Self::default();
        }
    }

    /// Failures since it was last closed; none while it is.
    pub fn failures(&self) -> u32 {
        self.back_off.failures()
    }

    /// Whether a probe may be sent: it is closed or half-open.
    pub fn may_probe(&self, now: Duration) -> bool {
        self.back_off.may_try(now)
    }
}

/// The state of the link, from the last contact with the fog host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum LinkHealth {
    /// No contact yet.
    Unknown,
    /// The last contact succeeded.
    Up {
        /// How long ago that was.
        #[serde(rename = "age_ns", with = "crate::nanos")]
        age: Duration,
    },
    /// The last contacts failed.
    Down {
        /// How many in a row.
        failures: u32,
    },
}

/// How the fog host has served one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum ModuleHealth {
    /// The last inference succeeded, or there was none.
    Good,
    /// The last inferences failed, for example because the fog host refused.
    Failing {
        /// How many in a row.
        failures: u32,
        /// Whether the back-off is over, so that one may try again.
        retry: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_breaker_closes_after_successes_in_a_row_and_opens_for_longer_each_time() {
        let rule = BackOffRule { base: 100 * MS, ceiling: 1_000 * MS };
        let mut breaker = Breaker::default();
        assert!(breaker.may_probe(Duration::ZERO) && breaker.failures() == 0);
        breaker.failed(Duration::ZERO, &rule);
        assert!(!breaker.may_probe(99 * MS) && breaker.may_probe(100 * MS));
        // Half-open: one success is not enough, and a failure opens it again.
        breaker.succeeded(2);
        assert_eq!(breaker.failures(), 1);
        breaker.failed(100 * MS, &rule);
        assert!(!breaker.may_probe(299 * MS) && breaker.may_probe(300 * MS));
        breaker.succeeded(2);
        assert_eq!(breaker.failures(), 2);
        breaker.succeeded(2);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn waits_double_up_to_the_ceiling_and_end_with_a_success() {
        let rule = BackOffRule { base: 100 * MS, ceiling: 1_000 * MS };
        let mut back_off = BackOff::default();
        let mut waits = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..40 {
            assert!(back_off.may_try(now));
            back_off.failed(now, &rule);
            let wait = (0..).map(|ms| ms * MS).find(|&w| back_off.may_try(now + w)).unwrap();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits[..5], [100 * MS, 200 * MS, 400 * MS, 800 * MS, 1_000 * MS]);
        assert_eq!(waits[39], 1_000 * MS);
        back_off.succeeded();
        assert_eq!(back_off, BackOff::default());
    }
}
