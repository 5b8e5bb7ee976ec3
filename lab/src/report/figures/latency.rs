//! The spread of one model's latencies, for each link and policy: from the
//! fastest to the slowest input, with quartiles, median and 99 %, on a log axis
//! with the deadline.

use super::policy_class;
use super::scale::Scale;
use super::svg::{Anchor, Svg};
use crate::report::quantile::nearest_rank;
use crate::report::summary::Summary;
use crate::report::units::{duration, short_duration};
use crate::study::{ModelInfo, Study};

const WIDTH: f64 = 540.0;
const LEFT: f64 = 82.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 26.0;
/// Height of one policy's line, and what lies between links.
const LINE: f64 = 15.0;
const GAP: f64 = 12.0;

/// The figure of `model`; `None` if it was never run.
pub(in super::super) fn latency(
    study: &Study,
    summary: &Summary,
    model: &ModelInfo,
) -> Option<String> {
    let spreads = spreads(study, summary, model);
    if spreads.is_empty() {
        return None;
    }
    let ends = spreads.iter().flat_map(|s| [s.min, s.max]).chain([model.deadline_ns]);
    let scale = Scale::log(ends.map(|ns| ns as f64), [LEFT, RIGHT]);
    let links = spreads.chunk_by(|a, b| a.link == b.link);
    let bottom = TOP + spreads.len() as f64 * LINE + links.clone().count() as f64 * GAP;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);

    for tick in scale.ticks(7) {
        let x = scale.at(tick);
        svg.line([x, TOP, x, bottom], "grid", "");
        svg.text([x, bottom + 16.0], Anchor::Middle, "tick", &short_duration(tick as u64));
    }
    svg.text([(LEFT + RIGHT) / 2.0, bottom + 34.0], Anchor::Middle, "label", "latency, log scale");
    let mut y = TOP;
    for link in links {
        let height = link.len() as f64 * LINE + GAP;
        svg.text([LEFT - 10.0, y + height / 2.0 + 4.0], Anchor::End, "name", link[0].link);
        for (i, spread) in link.iter().enumerate() {
            draw(&mut svg, scale, spread, y + GAP / 2.0 + (i as f64 + 0.5) * LINE, summary);
        }
        y += height;
        svg.line([LEFT, y, RIGHT, y], "grid", "");
    }
    let deadline = scale.at(model.deadline_ns as f64);
    svg.line([deadline, TOP - 6.0, deadline, bottom], "deadline", "");
    let label = format!("deadline {}", short_duration(model.deadline_ns));
    // On whichever side there is more room.
    let (anchor, x) = match deadline > (LEFT + RIGHT) / 2.0 {
        true => (Anchor::End, deadline + 4.0),
        false => (Anchor::Start, deadline - 4.0),
    };
    svg.text([x, TOP - 11.0], anchor, "deadline-label", &label);
    Some(svg.finish(&format!("Latencies of {} by link and policy", model.name)))
}

/// The latencies of one model under one policy over one link.
struct Spread<'a> {
    link: &'a str,
    policy: &'a str,
    min: u64,
    quarter: u64,
    median: u64,
    three_quarters: u64,
    p99: u64,
    max: u64,
}

fn spreads<'a>(study: &Study, summary: &'a Summary, model: &ModelInfo) -> Vec<Spread<'a>> {
    let mut spreads = Vec::new();
    for row in summary.rows.iter().filter(|r| r.model == model.name) {
        let of_row = study
            .decisions
            .iter()
            .filter(|d| d.model == row.model && d.link == row.link && d.policy == row.policy);
        let mut latencies: Vec<u64> = of_row.map(|d| d.latency_ns).collect();
        latencies.sort_unstable();
        let at = |q| nearest_rank(&latencies, q).unwrap_or(0);
        spreads.push(Spread {
            link: &row.link,
            policy: &row.policy,
            min: at(0.0),
            quarter: at(0.25),
            median: at(0.5),
            three_quarters: at(0.75),
            p99: at(0.99),
            max: at(1.0),
        });
    }
    spreads
}

fn draw(svg: &mut Svg, scale: Scale, s: &Spread<'_>, y: f64, summary: &Summary) {
    let class = policy_class(&summary.policies, s.policy);
    let x = |ns: u64| scale.at(ns as f64);
    let tip = format!(
        "{} over {}: fastest {}, median {}, 99 % within {}, slowest {}",
        s.policy,
        s.link,
        duration(s.min),
        duration(s.median),
        duration(s.p99),
        duration(s.max)
    );
    svg.line([x(s.min), y, x(s.max), y], &format!("whisker {class}"), "");
    svg.line([x(s.p99), y - 4.0, x(s.p99), y + 4.0], &format!("whisker {class}"), "");
    // A box is never too narrow to be seen.
    let (from, to) = (x(s.quarter), x(s.three_quarters));
    let width = (to - from).max(5.0);
    let box_ = [(from + to - width) / 2.0, y - 4.5, width, 9.0];
    svg.rect(box_, &format!("fill {class}"), &tip);
    svg.line([x(s.median), y - 4.5, x(s.median), y + 4.5], "median", "");
    svg.circle([x(s.max), y, 2.2], &format!("fill {class}"), &tip);
}
