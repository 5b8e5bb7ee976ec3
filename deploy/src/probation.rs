//! Probation: whether a version that has just begun to answer is healthy. A
//! machine without clock or thread: it is told what happened and when.
//!
//! What it is not told does not count. A device that cannot report to anybody has
//! not failed by that.

use std::time::Duration;

use leeway_contract::{DType, Digest, Tensor};
use leeway_control::slots::{ProbationCounts, ProbationRecord};

use crate::state::Rules;

/// Something that the version on probation did.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// It answered.
    Answered {
        /// Its execution took longer than was calibrated.
        overrun: bool,
        /// The answer came after the deadline.
        missed: bool,
    },
    /// It gave no answer, by its own fault.
    Failed(String),
    /// Its outputs were compared with those of the version before.
    Compared {
        /// How far they are apart ([`drift`]).
        drift: f64,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not decided.
    Going,
    /// It has proven itself.
    Passed(String),
    /// It has not, and the version before shall answer again.
    Failed(String),
}

/// A probation that is going on.
#[derive(Clone, Debug, PartialEq)]
pub struct Probation {
    rules: Rules,
    began: Duration,
    /// How long it had gone on before the device restarted.
    before: Duration,
    /// What was seen.
    pub counts: ProbationCounts,
}

impl Probation {
    /// Begins at the time `now`.
    pub fn new(rules: Rules, now: Duration) -> Self {
        Self { rules, began: now, before: Duration::ZERO, counts: ProbationCounts::default() }
    }

    /// Goes on at the time `now` where a record says that it was.
    pub fn resume(rules: Rules, now: Duration, record: &ProbationRecord) -> Self {
        let before = Duration::from_millis(record.served_ms);
        Self { before, counts: record.counts, ..Self::new(rules, now) }
    }

    /// How far it is, to be written down.
    pub fn record(&self, digest: Digest, now: Duration) -> ProbationRecord {
        let served_ms = u64::try_from(self.served(now).as_millis()).unwrap_or(u64::MAX);
        ProbationRecord { digest, served_ms, counts: self.counts }
    }

    fn served(&self, now: Duration) -> Duration {
        self.before.saturating_add(now.saturating_sub(self.began))
    }

    /// Something happened.
    pub fn observe(&mut self, now: Duration, observation: Observation) -> Verdict {
        let mut last = String::new();
        match observation {
            Observation::Answered { overrun, missed } => {
                self.counts.inferences += 1;
                self.counts.overruns += u64::from(overrun);
                self.counts.missed += u64::from(missed);
            }
            Observation::Failed(reason) => {
                self.counts.inferences += 1;
                self.counts.failures += 1;
                last = format!("; the last one: {reason}");
            }
            Observation::Compared { drift } => {
                self.counts.compared += 1;
                let rule = self.rules.drift;
                // NaN is far from everything.
                let far = rule.is_some_and(|rule| drift.is_nan() || drift > rule.tolerance);
                self.counts.drifted += u64::from(far);
                last = format!("; the last one by {drift:.3}");
            }
        }
        self.broken(&last).map_or_else(|| self.tick(now), Verdict::Failed)
    }

    /// Time has passed.
    pub fn tick(&self, now: Duration) -> Verdict {
        let (inferences, time) = (self.counts.inferences, self.served(now));
        if inferences >= self.rules.inferences || time.as_secs() >= self.rules.seconds {
            let seconds = time.as_secs();
            return Verdict::Passed(format!("{inferences} inferences in {seconds} s"));
        }
        Verdict::Going
    }

    /// The rule that is broken, in words.
    fn broken(&self, last: &str) -> Option<String> {
        let Rules { failures, overruns, deadline_misses, drift, .. } = &self.rules;
        let rules = [
            ("inferences failed", self.counts.failures, Some(*failures)),
            ("took longer than calibrated", self.counts.overruns, Some(*overruns)),
            ("missed their deadline", self.counts.missed, Some(*deadline_misses)),
            (
                "drifted from the version before",
                self.counts.drifted,
                drift.map(|rule| rule.inferences),
            ),
        ];
        rules.into_iter().find_map(|(what, seen, most)| {
            let most = most.filter(|&most| seen > most)?;
            let of = self.counts.inferences.max(self.counts.compared);
            Some(format!("{seen} of {of} {what}, at most {most} may{last}"))
        })
    }
}

/// How far outputs are from a reference: the largest difference of two elements,
/// as a part of the largest element of that output of the reference. Outputs of
/// other types than FP32 count as whole: 0 where they are equal, 1 where not.
pub fn drift(outputs: &[Tensor], reference: &[Tensor]) -> f64 {
    if outputs.len() != reference.len() {
        return f64::INFINITY;
    }
    let each = outputs.iter().zip(reference).map(|(a, b)| one_drift(a, b));
    // A NaN stays.
    each.fold(0.0, |far: f64, one| if far.is_nan() || one <= far { far } else { one })
}

fn one_drift(a: &Tensor, b: &Tensor) -> f64 {
    if a == b {
        return 0.0;
    }
    if a.dtype != b.dtype || a.shape != b.shape || a.dtype != DType::F32 {
        return if a.shape == b.shape { 1.0 } else { f64::INFINITY };
    }
    let (Some(a), Some(b)) = (a.to_f32(), b.to_f32()) else { return f64::INFINITY };
    let largest = b.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
    let difference = a.iter().zip(&b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).abs());
    let difference =
        difference.fold(0.0, |far: f64, d| if far.is_nan() || d <= far { far } else { d });
    difference / largest.max(f64::from(f32::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::DriftRule;

    const FINE: Observation = Observation::Answered { overrun: false, missed: false };

    fn probation() -> Probation {
        let drift = Some(DriftRule { tolerance: 0.1, inferences: 1 });
        let rules = Rules {
            inferences: 10,
            seconds: 60,
            overruns: 2,
            deadline_misses: 1,
            drift,
            ..Rules::default()
        };
        Probation::new(rules, Duration::from_secs(100))
    }

    fn failed(verdict: Verdict) -> String {
        match verdict {
            Verdict::Failed(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn enough_healthy_inferences_or_enough_time_pass() {
        let now = Duration::from_secs(101);
        let mut one = probation();
        assert!((0..9).all(|_| one.observe(now, FINE) == Verdict::Going));
        assert_eq!(one.observe(now, FINE), Verdict::Passed("10 inferences in 1 s".into()));
        let one = probation();
        assert_eq!(one.tick(Duration::from_secs(159)), Verdict::Going);
        assert!(matches!(one.tick(Duration::from_secs(160)), Verdict::Passed(_)));
    }

    #[test]
    fn each_rule_fails_it_and_is_named() {
        let now = Duration::from_secs(101);
        let many = |observation: Observation, times: usize| {
            let mut one = probation();
            for _ in 1..times {
                assert_eq!(one.observe(now, observation.clone()), Verdict::Going);
            }
            failed(one.observe(now, observation))
        };
        let trap = many(Observation::Failed("it trapped".into()), 1);
        assert!(trap.contains("1 of 1 inferences failed") && trap.contains("it trapped"), "{trap}");
        let overrun = many(Observation::Answered { overrun: true, missed: false }, 3);
        assert!(overrun.contains("longer than calibrated, at most 2"), "{overrun}");
        let missed = many(Observation::Answered { overrun: false, missed: true }, 2);
        assert!(missed.contains("missed their deadline, at most 1"), "{missed}");
        let drifted = many(Observation::Compared { drift: 0.2 }, 2);
        assert!(drifted.contains("2 of 2 drifted") && drifted.contains("0.200"), "{drifted}");
        failed(probation_after(Observation::Compared { drift: f64::NAN }, 2));
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        let at = Duration::from_secs;
        let mut one = probation();
        assert!((0..6).all(|_| one.observe(at(130), FINE) == Verdict::Going));
        let record = one.record(Digest::of(b"module"), at(130));
        assert_eq!((record.served_ms, record.counts.inferences), (30_000, 6));
        let mut again = Probation::resume(one.rules.clone(), at(2), &record);
        assert_eq!(again.tick(at(31)), Verdict::Going);
        assert!(matches!(again.tick(at(32)), Verdict::Passed(_)));
        assert!((0..3).all(|_| again.observe(at(3), FINE) == Verdict::Going));
        assert_eq!(again.observe(at(3), FINE), Verdict::Passed("10 inferences in 31 s".into()));
    }

    fn probation_after(observation: Observation, times: usize) -> Verdict {
        let mut one = probation();
        let mut verdict = Verdict::Going;
        (0..times)
            .for_each(|_| verdict = one.observe(Duration::from_secs(101), observation.clone()));
        verdict
    }

    #[test]
    fn drift_is_relative_to_the_largest_element() {
        let tensor = |values: &[f32]| vec![Tensor::from_f32(&[values.len() as u32], values)];
        assert_eq!(drift(&tensor(&[1.0, 8.0]), &tensor(&[1.0, 8.0])), 0.0);
        assert_eq!(drift(&tensor(&[2.0, 8.0]), &tensor(&[1.0, 8.0])), 0.125);
        assert!(drift(&tensor(&[f32::NAN, 8.0]), &tensor(&[1.0, 8.0])).is_nan());
        assert_eq!(drift(&tensor(&[1.0]), &tensor(&[1.0, 8.0])), f64::INFINITY);
        assert_eq!(drift(&[], &tensor(&[1.0])), f64::INFINITY);
    }
}
