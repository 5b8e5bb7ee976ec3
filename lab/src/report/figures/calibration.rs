//! How long one model took in calibration, as a histogram with median and WCET.

use super::scale::Scale;
use super::svg::{Anchor, Svg};
use crate::report::units::{duration, short_duration};
use crate::study::ModelInfo;

const WIDTH: f64 = 540.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = 168.0;
const BINS: usize = 60;

/// The figure; `None` if there was no execution.
pub(in super::super) fn calibration(model: &ModelInfo) -> Option<String> {
    let times = &model.calibration_ns;
    let min = *times.iter().min()? as f64;
    let max = (*times.iter().max()?).max(model.wcet_ns) as f64;
    let x = Scale::linear(min, max, [LEFT, RIGHT]);
    let bins = histogram(times, x);
    let most = bins.iter().max().copied().unwrap_or(0);
    let y = Scale::linear_from_zero(most as f64, [BOTTOM, TOP]);

    let mut svg = Svg::new(WIDTH, 208.0);
    for tick in y.ticks(3) {
        svg.line([LEFT, y.at(tick), RIGHT, y.at(tick)], "grid", "");
        svg.text([LEFT - 6.0, y.at(tick) + 4.0], Anchor::End, "tick", &format!("{tick}"));
    }
    let width = (RIGHT - LEFT) / BINS as f64;
    for (i, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let top = y.at(count as f64).min(BOTTOM - 1.0);
        let bar = [LEFT + width * i as f64 + 0.4, top, width - 0.8, BOTTOM - top];
        svg.rect(bar, "bar", &format!("{count} executions"));
    }
    svg.line([LEFT, BOTTOM, RIGHT, BOTTOM], "axis", "");
    for tick in x.ticks(5) {
        svg.line([x.at(tick), BOTTOM, x.at(tick), BOTTOM + 4.0], "axis", "");
        svg.text([x.at(tick), BOTTOM + 18.0], Anchor::Middle, "tick", &short_duration(tick as u64));
    }
    svg.text([(LEFT + RIGHT) / 2.0, BOTTOM + 36.0], Anchor::Middle, "label", "execution time");
    svg.text_upwards([14.0, (TOP + BOTTOM) / 2.0], "label", "executions");
    marker(&mut svg, x, model.median_ns, "median", TOP - 14.0);
    marker(&mut svg, x, model.wcet_ns, "WCET", TOP - 30.0);
    Some(svg.finish(&format!("Calibration of {}", model.name)))
}

fn histogram(times: &[u64], x: Scale) -> [usize; BINS] {
    let [from, to] = x.domain();
    let mut bins = [0; BINS];
    for &time in times {
        let share = (time as f64 - from) / (to - from);
        bins[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    bins
}

/// A line at `ns`, with its name at the height `at`.
fn marker(svg: &mut Svg, x: Scale, ns: u64, name: &str, at: f64) {
    let line = x.at(ns as f64);
    let class = if name == "WCET" { "wcet" } else { "diagonal" };
    svg.line([line, at + 4.0, line, BOTTOM], class, "");
    let (anchor, shift) = match line > (LEFT + RIGHT) / 2.0 {
        true => (Anchor::End, 4.0),
        false => (Anchor::Start, -4.0),
    };
    let class = format!("{class}-label");
    svg.text([line + shift, at], anchor, &class, &format!("{name} {}", duration(ns)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_execution_is_in_one_bin_and_the_longest_in_the_last() {
        let times: Vec<u64> = (100..=200).collect();
        let bins = histogram(&times, Scale::linear(100.0, 200.0, [0.0, 1.0]));
        assert_eq!(bins.iter().sum::<usize>(), times.len());
        assert!(bins.iter().all(|&n| n > 0));
    }
}
