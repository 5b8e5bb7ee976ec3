//! Total time of each policy over one link, as bars from zero.

use super::policy_class;
use super::scale::Scale;
use super::svg::{Anchor, Svg};
use crate::report::summary::Summary;
use crate::report::units::{duration, short_duration};

const WIDTH: f64 = 206.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 178.0;

/// The bars of `link`.
pub(in super::super) fn total(summary: &Summary, link: &str) -> String {
    let of_link: Vec<_> = summary.totals.iter().filter(|t| t.link == link).collect();
    let max = of_link.iter().map(|t| t.figures.total_ns).max().unwrap_or(0);
    let scale = Scale::linear_from_zero(max as f64, [BOTTOM, TOP]);
    let mut svg = Svg::new(WIDTH, HEIGHT);
    for tick in scale.ticks(4) {
        let y = scale.at(tick);
        svg.line([LEFT, y, WIDTH, y], "grid", "");
        let label = if tick == 0.0 { "0".to_owned() } else { short_duration(tick as u64) };
        svg.text([LEFT - 6.0, y + 4.0], Anchor::End, "tick", &label);
    }
    let slot = (WIDTH - LEFT) / of_link.len().max(1) as f64;
    let bar = (slot * 0.62).min(46.0);
    for (i, total) in of_link.iter().enumerate() {
        let middle = LEFT + slot * (i as f64 + 0.5);
        let ns = total.figures.total_ns;
        let top = scale.at(ns as f64);
        let class = format!("fill {}", policy_class(&summary.policies, &total.policy));
        let tip = format!("{} over {link}: {}", total.policy, duration(ns));
        svg.rect([middle - bar / 2.0, top, bar, BOTTOM - top], &class, &tip);
        svg.text([middle, top - 6.0], Anchor::Middle, "value", &duration(ns));
        svg.text([middle, BOTTOM + 17.0], Anchor::Middle, "tick small", &total.policy);
    }
    svg.line([LEFT, BOTTOM, WIDTH, BOTTOM], "axis", "");
    svg.finish(&format!("Total time of each policy over {link}"))
}
