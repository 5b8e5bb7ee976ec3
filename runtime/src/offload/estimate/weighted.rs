//! Medians and clipped means: averages that one outlier cannot move far.

/// The smallest value that at least half of the weight does not exceed; `None`
/// without any weight.
pub(super) fn weighted_median(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let mut values: Vec<(f64, f64)> = values.filter(|(v, w)| v.is_finite() && *w > 0.0).collect();
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, w)| w).sum::<f64>() / 2.0;
    let mut seen = 0.0;
    values.into_iter().find_map(|(v, w)| {
        seen += w;
        (seen >= half).then_some(v)
    })
}

/// The last few observations of a quantity, and their clipped mean: the mean in
/// which nothing counts for more than three times the median. Unlike the median
/// it follows the mean of a skewed distribution, unlike the mean no single
/// observation of `n` moves it by more than `3/n` of the median.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    values: Vec<f64>,
    next: usize,
    median: Option<f64>,
    clipped_mean: Option<f64>,
}

/// How many observations are remembered.
const REMEMBERED: usize = 16;
const CLIP: f64 = 3.0;

impl Recent {
    /// Adds an observation, which displaces the oldest.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.values.len() < REMEMBERED {
            self.values.push(value);
        } else {
            self.values[self.next] = value;
            self.next = (self.next + 1) % REMEMBERED;
        }
        self.summarise();
    }

    fn summarise(&mut self) {
        self.median = weighted_median(self.values.iter().map(|&v| (v, 1.0)));
        self.clipped_mean = self.median.map(|median| {
            let sum: f64 = self.values.iter().map(|v| v.min(CLIP * median)).sum();
            sum / self.values.len() as f64
        });
    }

    /// The median; `None` before the first observation.
    pub fn median(&self) -> Option<f64> {
        self.median
    }

    /// The clipped mean; `None` before the first observation.
    pub fn clipped_mean(&self) -> Option<f64> {
        self.clipped_mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weighted_median_weighs() {
        assert_eq!(weighted_median([(1.0, 1.0), (2.0, 1.0), (9.0, 1.0)].into_iter()), Some(2.0));
        assert_eq!(weighted_median([(1.0, 1.0), (2.0, 1.0), (9.0, 3.0)].into_iter()), Some(9.0));
        assert_eq!(weighted_median([(f64::NAN, 1.0), (1.0, 0.0)].into_iter()), None);
    }

    #[test]
    fn one_outlier_moves_the_clipped_mean_by_a_bounded_part() {
        let mut recent = Recent::default();
        for _ in 0..REMEMBERED {
            recent.push(1.0);
        }
        recent.push(1e9);
        let mean = recent.clipped_mean().unwrap();
        assert!(mean <= 1.0 + CLIP / REMEMBERED as f64, "{mean}");
    }

    #[test]
    fn old_observations_are_forgotten() {
        let mut recent = Recent::default();
        (0..40).for_each(|i| recent.push(if i < 20 { 1.0 } else { 5.0 }));
        assert_eq!(recent.clipped_mean(), Some(5.0));
    }
}
