//! Segments: the runs of stages between which a job may be preempted.
//!
//! A model's stages are its possible preemption points. To stop at each of them
//! costs time and makes others wait less; as in M. Bertogna, O. Xhani, M.
//! Marinoni, F. Esposito, G. Buttazzo, "Optimal selection of preemption points to
//! minimize preemption overhead", ECRTS 2011, only those are taken that the
//! deadlines of others need.

use std::ops::RangeInclusive;

/// A model's stages grouped into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The worst-case execution time of each stage, in nanoseconds.
    stages: Vec<u64>,
    /// The stages of each segment.
    ranges: Vec<RangeInclusive<u32>>,
    /// What each segment costs over its stages.
    over: u64,
}

impl Segments {
    /// The whole model as a single segment.
    pub fn whole(stages: Vec<u64>, over: u64) -> Self {
        let last = stages.len().saturating_sub(1) as u32;
        Self { stages, ranges: vec![0..=last], over }
    }

    fn time(&self, range: &RangeInclusive<u32>) -> u64 {
        let stages = &self.stages[*range.start() as usize..=*range.end() as usize];
        stages.iter().fold(self.over, |sum, &stage| sum.saturating_add(stage))
    }

    /// The stages of each segment.
    pub fn ranges(&self) -> &[RangeInclusive<u32>] {
        &self.ranges
    }

    /// The time of each segment.
    pub fn times(&self) -> Vec<u64> {
        self.ranges.iter().map(|range| self.time(range)).collect()
    }

    /// The longest segment.
    pub fn longest(&self) -> u64 {
        self.times().into_iter().max().unwrap_or_default()
    }

    /// The last segment.
    pub fn last(&self) -> u64 {
        self.ranges.last().map(|range| self.time(range)).unwrap_or_default()
    }

    /// All segments together.
    pub fn cost(&self) -> u64 {
        self.times().into_iter().fold(0, u64::saturating_add)
    }

    /// Makes every segment shorter than the longest one is now, with as few
    /// segments as that takes. False, and nothing is changed, where the longest is
    /// a single stage.
    pub fn shorten(&mut self) -> bool {
        let limit = self.longest().saturating_sub(1);
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
        for stage in 0..self.stages.len() as u32 {
            if self.time(&(stage..=stage)) > limit {
                return false;
            }
            match ranges.last_mut() {
                Some(last) if self.time(&(*last.start()..=stage)) <= limit => {
                    *last = *last.start()..=stage;
                }
                _ => ranges.push(stage..=stage),
            }
        }
        self.ranges = ranges;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_become_as_short_as_their_stages_and_no_shorter() {
        let mut segments = Segments::whole(vec![5, 1, 4, 2], 1);
        let mut seen = vec![segments.times()];
        while segments.shorten() {
            assert_eq!(segments.ranges().first().map(|r| *r.start()), Some(0));
            assert_eq!(segments.ranges().last().map(|r| *r.end()), Some(3));
            seen.push(segments.times());
        }
        assert_eq!(seen, [vec![13], vec![11, 3], vec![7, 7], vec![6, 6, 3]]);
        assert_eq!((segments.longest(), segments.last(), segments.cost()), (6, 3, 15));
    }
}
