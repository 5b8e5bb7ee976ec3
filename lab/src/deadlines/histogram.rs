//! Response times as parts of the deadline, in bins of equal width on a logarithmic
//! axis.

use serde::{Deserialize, Serialize};

/// From a thousandth of the deadline to ten times.
const FROM: f64 = 0.001;
const TO: f64 = 10.0;
/// A bin ends at the deadline, so that none has both kept and missed.
const BINS: usize = 80;

/// Counts by bin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; BINS])
    }
}

impl Histogram {
    /// Counts a response time of this part of the deadline.
    pub fn add(&mut self, part: f64) {
        let place = (part.max(FROM) / FROM).log10() / (TO / FROM).log10() * BINS as f64;
        // What ends exactly at the deadline is kept.
        let place = if part <= 1.0 { place.min(Self::kept() as f64 - 0.5) } else { place };
        self.0[(place as usize).min(BINS - 1)] += 1;
    }

    /// How many of the bins are up to the deadline.
    pub fn kept() -> usize {
        BINS * 3 / 4
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Histogram) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += b);
    }

    /// The counts.
    pub fn bins(&self) -> &[u64] {
        &self.0
    }

    /// The part of the deadline that this part of the counts does not exceed: where the
    /// bin ends. Zero where the bin is the first, and without counts.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let wanted = quantile * self.0.iter().sum::<u64>() as f64;
        let mut sum = 0;
        let reaches = self.0.iter().position(|&count| {
            sum += count;
            sum as f64 >= wanted
        });
        reaches.filter(|&bin| bin > 0).map_or(0.0, |bin| Self::begins(bin + 1))
    }

    /// The part of the deadline at which a bin begins.
    pub fn begins(bin: usize) -> f64 {
        FROM * (TO / FROM).powf(bin as f64 / BINS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_between_two_bins() {
        let mut histogram = Histogram::default();
        for part in [0.0, 0.5, 0.999_999, 1.0] {
            histogram.add(part);
        }
        assert_eq!(histogram.bins()[..Histogram::kept()].iter().sum::<u64>(), 4);
        for part in [1.000_001, 3.0, 1e9] {
            histogram.add(part);
        }
        assert_eq!(histogram.bins()[Histogram::kept()..].iter().sum::<u64>(), 3);
        assert!((Histogram::begins(Histogram::kept()) - 1.0).abs() < 1e-12);
        assert_eq!(histogram.quantile(0.1), 0.0);
        assert!((histogram.quantile(0.5) - 1.0).abs() < 1e-12);
        assert_eq!(Histogram::default().quantile(0.5), 0.0);
        let once = histogram.clone();
        histogram.merge(&once);
        assert_eq!(histogram.bins().iter().sum::<u64>(), 14);
    }
}
