//! What the schedulability tests see of a stream: a sporadic task with release
//! jitter, whose jobs are chains of segments that are not preempted inside.
//!
//! All times are nanoseconds. Sums are in `u128`, which no number of jobs that
//! the tests look at can overflow.

/// A sporadic task on one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The worst-case execution time of a job.
    pub cost: u64,
    /// The longest segment of it.
    pub longest: u64,
    /// Its last segment.
    pub last: u64,
    /// The minimum time between two arrivals.
    pub period: u64,
    /// From a job's arrival.
    pub deadline: u64,
    /// How long after its arrival a job may become ready.
    pub jitter: u64,
}

impl Load {
    /// The jobs that can become ready within `window`, its end included, if the
    /// first one does so at its start after the longest jitter.
    pub fn ready_within(&self, window: u128) -> u128 {
        (window + u128::from(self.jitter)) / u128::from(self.period) + 1
    }

    /// The jobs that can become ready before the end of `window`.
    pub fn ready_before(&self, window: u128) -> u128 {
        (window + u128::from(self.jitter)).div_ceil(u128::from(self.period))
    }

    /// The part of the core's time that it wants.
    pub fn utilisation(&self) -> f64 {
        self.cost as f64 / self.period as f64
    }
}

/// Who holds up a job that is more urgent, and for how long: one segment that has
/// just begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocking {
    /// At most.
    pub time: u64,
    /// The load whose segment it is.
    pub by: Option<usize>,
}

impl Blocking {
    /// The longest segment of these loads, less the nanosecond that it must have
    /// begun before.
    pub fn of(loads: &[Load], lower: impl Iterator<Item = usize>) -> Self {
        let longest = lower.map(|l| (loads[l].longest.saturating_sub(1), l));
        match longest.max_by_key(|&(time, l)| (time, std::cmp::Reverse(l))) {
            Some((time, by)) if time > 0 => Self { time, by: Some(by) },
            _ => Self::default(),
        }
    }
}

/// Why a test has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endless {
    /// The core is wanted for more than all of its time, or so nearly that it is
    /// never seen to be idle.
    Overloaded,
    /// The periods are so far apart that the test would take too long.
    TooManySteps,
}

/// What is left of the steps that one test may take.
#[derive(Debug)]
pub struct Steps(u32);

impl Steps {
    /// Enough for any set that is not hostile, and less than a second.
    pub fn new() -> Self {
        Self(2_000_000)
    }

    /// Takes one.
    pub fn take(&mut self) -> Result<(), Endless> {
        self.0 = self.0.checked_sub(1).ok_or(Endless::TooManySteps)?;
        Ok(())
    }
}

/// A busy time longer than this is taken for endless: an hour.
pub const HORIZON: u128 = 3_600_000_000_000;

/// The smallest fixed point at or above `start` of a function that never
/// decreases.
pub fn fixed_point(
    start: u128,
    steps: &mut Steps,
    next: impl Fn(u128) -> u128,
) -> Result<u128, Endless> {
    let mut at = start;
    loop {
        let then = next(at);
        if then <= at {
            return Ok(at);
        }
        at = then;
        if at > HORIZON {
            return Err(Endless::Overloaded);
        }
        steps.take()?;
    }
}
