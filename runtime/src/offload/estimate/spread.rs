//! A distribution as a few equally probable values, and the exact quantiles of a
//! window of observations.
//!
//! The window is kept sorted as it slides (the exact alternative to a sketch
//! such as R. Jain, I. Chlamtac's P², CACM 28, 1985, DOI 10.1145/4372.4378: a
//! window of 64 values is smaller than most sketches, and forgets).

use std::collections::VecDeque;

/// How many values stand for a distribution.
pub const POINTS: usize = 16;
/// How many observations a window remembers.
pub const WINDOW: usize = 64;

/// A distribution: [`POINTS`] equally probable values, ascending. The last is the
/// largest that was seen, so that the tail is over- rather than underestimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread([f64; POINTS]);

impl Spread {
    /// Always this value.
    pub fn constant(value: f64) -> Self {
        Self([value; POINTS])
    }

    /// Of sorted values; `None` of none.
    fn of_sorted(sorted: &[f64]) -> Option<Self> {
        let largest = *sorted.last()?;
        let middle = |i: usize| {
            let rank = (i as f64 + 0.5) / POINTS as f64 * sorted.len() as f64;
            sorted[(rank as usize).min(sorted.len() - 1)]
        };
        let mut points: [f64; POINTS] = std::array::from_fn(middle);
        points[POINTS - 1] = largest;
        Some(Self(points))
    }

    /// Every value times `factor`, which is not negative.
    pub fn times(self, factor: f64) -> Self {
        Self(self.0.map(|value| value * factor))
    }

    /// The values.
    pub fn points(&self) -> &[f64; POINTS] {
        &self.0
    }

    /// The largest value.
    pub fn largest(&self) -> f64 {
        self.0[POINTS - 1]
    }
}

/// The last [`WINDOW`] observations of a quantity.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// In the order in which they came.
    values: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl Window {
    /// Adds an observation, which displaces the oldest.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.values.len() == WINDOW
            && let Some(oldest) = self.values.pop_front()
        {
            self.sorted.remove(self.place(oldest));
        }
        self.values.push_back(value);
        self.sorted.insert(self.place(value), value);
    }

    fn place(&self, value: f64) -> usize {
        self.sorted.partition_point(|&other| other < value)
    }

    /// Forgets all but the last `count`.
    pub fn keep_last(&mut self, count: usize) {
        let before = self.values.len().saturating_sub(count);
        self.values.drain(..before);
        self.sorted = self.values.iter().copied().collect();
        self.sorted.sort_unstable_by(f64::total_cmp);
    }

    /// Their distribution; `None` before the first.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of_sorted(&self.sorted)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_window_has_the_quantiles_of_what_it_remembers() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut window = Window::default();
        let mut all = Vec::new();
        assert_eq!(window.spread(), None);
        for _ in 0..500 {
            let value = (rng.random_range(0..40) as f64).powi(2);
            window.push(value);
            all.push(value);
            let mut last = all[all.len().saturating_sub(WINDOW)..].to_vec();
            last.sort_unstable_by(f64::total_cmp);
            assert_eq!(window.sorted, last);
            let spread = window.spread().unwrap();
            assert!(spread.points().is_sorted());
            assert_eq!(spread.largest(), last[last.len() - 1]);
        }
        window.push(f64::NAN);
        window.keep_last(1);
        assert_eq!(window.spread(), Some(Spread::constant(all[499])));
    }

    #[test]
    fn the_points_are_equally_probable() {
        let sorted: Vec<f64> = (0..64).map(f64::from).collect();
        let spread = Spread::of_sorted(&sorted).unwrap();
        for (i, point) in spread.points().iter().enumerate().take(POINTS - 1) {
            assert_eq!(*point, 4.0 * i as f64 + 2.0);
        }
        assert_eq!(spread.times(2.0).largest(), 126.0);
    }
}
