//! The response times under one policy, over all streams and scenarios, as parts of
//! the deadline, with the deadline drawn in.

use super::class;
use crate::deadlines::{DeadlineStudy, Histogram};
use crate::report::figures::scale::Scale;
use crate::report::figures::svg::{Anchor, Svg};
use crate::report::units::count;

const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 528.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 148.0;

/// The histogram of `policy`, on a scale on which `most` is the highest bar of any.
pub(in super::super::super) fn responses(study: &DeadlineStudy, policy: &str, most: u64) -> String {
    let histogram = total(study, policy);
    let bins = histogram.bins();
    let x = Scale::linear(0.0, bins.len() as f64, [LEFT, RIGHT]);
    let y = Scale::linear_from_zero(most as f64, [BOTTOM, TOP]);
    let mut svg = Svg::new(WIDTH, HEIGHT);
    for tick in y.ticks(3) {
        svg.line([LEFT, y.at(tick), RIGHT, y.at(tick)], "grid", "");
        svg.text([LEFT - 7.0, y.at(tick) + 4.0], Anchor::End, "tick", &count(tick as u64));
    }
    let parts = bins.len() / 4;
    let ticks = ["≤ 0.1 %", "1 %", "10 %", "the deadline", "10 times"];
    for (i, text) in ticks.iter().enumerate() {
        let at = x.at((i * parts) as f64);
        svg.line([at, BOTTOM, at, BOTTOM + 4.0], "axis", "");
        let anchor = if i + 1 == ticks.len() { Anchor::End } else { Anchor::Middle };
        svg.text([at, BOTTOM + 18.0], anchor, "tick", text);
    }
    let middle = [(LEFT + RIGHT) / 2.0, BOTTOM + 37.0];
    svg.text(middle, Anchor::Middle, "label", "response time, log scale");
    let class = class(study, policy);
    for (bin, &inputs) in bins.iter().enumerate().filter(|&(_, &inputs)| inputs > 0) {
        let (left, right) = (x.at(bin as f64), x.at(bin as f64 + 1.0));
        let height = (BOTTOM - y.at(inputs as f64)).max(1.5);
        let tip = format!(
            "{} inputs from {:.1} % of the deadline",
            count(inputs),
            100.0 * Histogram::begins(bin)
        );
        let shape = [left + 0.5, BOTTOM - height, right - left - 1.0, height];
        svg.rect(shape, &format!("plain fill {class}"), &tip);
    }
    svg.line([LEFT, BOTTOM, RIGHT, BOTTOM], "axis", "");
    let deadline = x.at(Histogram::kept() as f64);
    svg.line([deadline, TOP - 12.0, deadline, BOTTOM], "deadline", "");
    let late: u64 = bins[Histogram::kept()..].iter().sum();
    let text = if late == 0 { "none late".to_owned() } else { format!("{} late", count(late)) };
    svg.text([deadline + 6.0, TOP - 2.0], Anchor::Start, "deadline-label", &text);
    svg.finish(&format!("Response times under {policy}, as parts of the deadline: {text}"))
}

/// Over all streams and scenarios.
pub(in super::super::super) fn total(study: &DeadlineStudy, policy: &str) -> Histogram {
    let mut sum = Histogram::default();
    let of_policy = study.outcomes.iter().filter(|outcome| outcome.policy == policy);
    of_policy.for_each(|outcome| sum.merge(&outcome.responses));
    sum
}
