//! How a link degrades, goes and comes back, and which part of the inputs each policy
//! offloads meanwhile.

use super::class;
use crate::deadlines::DeadlineStudy;
use crate::report::figures::scale::Scale;
use crate::report::figures::svg::{Anchor, Svg};
use crate::report::units::percent;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 132.0;
const RIGHT: f64 = 1076.0;
const TOP: f64 = 22.0;
/// Height of the link's rate, and of each policy's share.
const RATE: f64 = 96.0;
const ROW: f64 = 52.0;
const GAP: f64 = 12.0;
/// What the axis of the rate begins with, in bits per second.
const SLOWEST: f64 = 1e5;

/// The figure; `None` without such a scenario.
pub(in super::super::super) fn timeline(study: &DeadlineStudy) -> Option<String> {
    let timeline = study.timeline.as_ref()?;
    let seconds = timeline.bits_per_s.len();
    let x = Scale::linear(0.0, seconds as f64, [LEFT, RIGHT]);
    let shown: Vec<&(String, Vec<f64>)> = timeline
        .sent
        .iter()
        .filter(|(policy, _)| !matches!(&**policy, "all-local" | "all-fog"))
        .collect();
    let bottom = TOP + RATE + (ROW + GAP) * shown.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 44.0);
    for tick in x.ticks(12) {
        svg.line([x.at(tick), TOP, x.at(tick), bottom], "grid", "");
        svg.text([x.at(tick), bottom + 17.0], Anchor::Middle, "tick", &format!("{tick} s"));
    }
    svg.text([(LEFT + RIGHT) / 2.0, bottom + 37.0], Anchor::Middle, "label", "simulated time");

    let rates = || timeline.bits_per_s.iter().map(|&rate| rate as f64);
    let y = Scale::log(rates().chain([SLOWEST]), [TOP + RATE, TOP]);
    for tick in y.ticks(3) {
        svg.text([LEFT - 10.0, y.at(tick) + 4.0], Anchor::End, "tick", &rate(tick));
    }
    let name = "rate of the link";
    svg.text([LEFT, TOP - 8.0], Anchor::Start, "label", name);
    for (second, bits_per_s) in rates().enumerate().filter(|(_, rate)| *rate > 0.0) {
        let (left, right) = (x.at(second as f64), x.at(second as f64 + 1.0));
        let top = y.at(bits_per_s);
        let tip = format!("{second} s: {}", rate(bits_per_s));
        svg.rect([left, top, right - left, TOP + RATE - top], "bar", &tip);
    }
    svg.line([LEFT, TOP + RATE, RIGHT, TOP + RATE], "axis", "");

    for (row, (policy, sent)) in shown.iter().enumerate() {
        let base = TOP + RATE + (ROW + GAP) * (row as f64 + 1.0);
        svg.text([LEFT - 12.0, base - ROW / 2.0 + 4.0], Anchor::End, "name", policy);
        svg.line([LEFT, base - ROW, RIGHT, base - ROW], "grid", "");
        for (second, part) in sent.iter().enumerate().filter(|&(_, &part)| part > 0.0) {
            let (left, right) = (x.at(second as f64), x.at(second as f64 + 1.0));
            let tip = format!(
                "{policy}, {second} s: {} offloaded",
                percent((1e3 * part) as usize, 1_000)
            );
            let shape = [left, base - ROW * part, right - left, ROW * part];
            svg.rect(shape, &format!("plain fill {}", class(study, policy)), &tip);
        }
        svg.line([LEFT, base, RIGHT, base], "axis", "");
    }
    Some(svg.finish("Share of the inputs offloaded over time, as the link degrades and recovers"))
}

fn rate(bits_per_s: f64) -> String {
    match bits_per_s {
        rate if rate >= 1e6 => format!("{} Mbit/s", (rate / 1e5).round() / 10.0),
        rate => format!("{} kbit/s", (rate / 1e3).round()),
    }
}
