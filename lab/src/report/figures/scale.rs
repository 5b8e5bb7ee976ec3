//! From values to coordinates, and the ticks between: 1, 2 and 5 times the powers
//! of ten.

/// An axis: a linear or logarithmic range of values, and where it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    log: bool,
    domain: [f64; 2],
    range: [f64; 2],
}

impl Scale {
    /// From zero to a round number that is no less than `max`.
    pub(super) fn linear_from_zero(max: f64, range: [f64; 2]) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let step = step(max, 4.0);
        Self { log: false, domain: [0.0, (max / step).ceil() * step], range }
    }

    /// From `min` to `max` as they are; a little more where they are equal.
    pub(super) fn linear(min: f64, max: f64, range: [f64; 2]) -> Self {
        let max = if max > min { max } else { min + min.abs().max(1.0) * 0.01 };
        Self { log: false, domain: [min, max], range }
    }

    /// Logarithmic, over all of the values that are above zero, widened to round
    /// numbers; at least one octave.
    pub(super) fn log(values: impl Iterator<Item = f64> + Clone, range: [f64; 2]) -> Self {
        let values = values.filter(|v| v.is_finite() && *v > 0.0);
        let min = values.clone().fold(f64::INFINITY, f64::min);
        let max = values.fold(0.0, f64::max);
        let [min, max] = if max > 0.0 { [min, max] } else { [1.0, 10.0] };
        let domain = [round_down(min), round_up(max)];
        let domain = if domain[1] > domain[0] { domain } else { [domain[0], domain[0] * 2.0] };
        Self { log: true, domain, range }
    }

    /// Where `value` is drawn; at the end of the axis where it lies outside.
    pub(super) fn at(self, value: f64) -> f64 {
        let f = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let [from, to] = self.domain.map(f);
        let share = ((f(value) - from) / (to - from)).clamp(0.0, 1.0);
        self.range[0] + share * (self.range[1] - self.range[0])
    }

    /// The values at the two ends.
    pub(super) fn domain(self) -> [f64; 2] {
        self.domain
    }

    /// Whether `value` lies on the axis.
    pub(super) fn contains(self, value: f64) -> bool {
        (self.domain[0]..=self.domain[1]).contains(&value)
    }

    /// Round values along the axis, about `wanted` of them.
    pub(super) fn ticks(self, wanted: usize) -> Vec<f64> {
        let [from, to] = self.domain;
        if !self.log {
            let step = step(to - from, wanted.max(1) as f64);
            let first = (from / step - 1e-9).ceil() as i64;
            let last = (to / step + 1e-9).floor() as i64;
            return (first..=last).map(|i| i as f64 * step).collect();
        }
        let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
        // The finest subdivision that does not give many more than wanted.
        for mantissas in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
            let ticks: Vec<f64> = (first..=last)
                .flat_map(|e| mantissas.iter().map(move |m| m * 10f64.powi(e)))
                .filter(|t| (from * 0.999..=to * 1.001).contains(t))
                .collect();
            if ticks.len() <= wanted + 1 {
                return ticks;
            }
        }
        let decades = (last - first).max(1) as usize;
        let stride = decades.div_ceil(wanted.max(1));
        (first..=last)
            .step_by(stride)
            .map(|e| 10f64.powi(e))
            .filter(|&t| self.contains(t))
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that about `wanted` of them make `span`.
fn step(span: f64, wanted: f64) -> f64 {
    let raw = span / wanted;
    let power = 10f64.powf(raw.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= raw * 0.999);
    round.unwrap_or(10.0) * power
}

fn round_down(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|m| m * power).find(|r| *r <= x).unwrap_or(power)
}

fn round_up(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|r| *r >= x).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_ends_at_a_round_number() {
        let scale = Scale::linear_from_zero(83.0, [100.0, 0.0]);
        assert_eq!(scale.domain(), [0.0, 100.0]);
        assert_eq!(scale.ticks(4), [0.0, 50.0, 100.0]);
        assert_eq!(scale.at(25.0), 75.0);
        assert_eq!(scale.at(1e9), 0.0);
    }

    #[test]
    fn a_log_axis_covers_its_values_with_round_ticks() {
        let scale = Scale::log([0.7, 0.0, 30.0].into_iter(), [0.0, 200.0]);
        assert_eq!(scale.domain(), [0.5, 50.0]);
        assert_eq!(scale.ticks(8), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert!((scale.at(5.0) - 100.0).abs() < 1e-9);
        assert_eq!(scale.ticks(2).len(), 2);
    }

    #[test]
    fn degenerate_values_give_an_axis_all_the_same() {
        for scale in [
            Scale::linear_from_zero(0.0, [0.0, 1.0]),
            Scale::linear_from_zero(f64::NAN, [0.0, 1.0]),
            Scale::linear(3.0, 3.0, [0.0, 1.0]),
            Scale::log([].into_iter(), [0.0, 1.0]),
            Scale::log([1.0, 1.0].into_iter(), [0.0, 1.0]),
            Scale::log([1e-300, 1e300].into_iter(), [0.0, 1.0]),
        ] {
            assert!(scale.domain()[0] < scale.domain()[1]);
            assert!(scale.at(1.0).is_finite() && scale.ticks(5).len() < 50, "{scale:?}");
        }
    }
}
