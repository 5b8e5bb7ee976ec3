//! What each policy costs over the hindsight oracle: a mark for each scenario, on a
//! logarithmic axis.

use super::class;
use crate::deadlines::DeadlineStudy;
use crate::report::deadlines::{Sums, sums};
use crate::report::figures::scale::Scale;
use crate::report::figures::svg::{Anchor, Svg};

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 132.0;
const RIGHT: f64 = 1076.0;
const TOP: f64 = 14.0;
const ROW: f64 = 46.0;

/// The figure; `None` without outcomes.
pub(in super::super::super) fn regret(study: &DeadlineStudy) -> Option<String> {
    let rows: Vec<(&str, Vec<(&str, f64)>)> = study
        .policies
        .iter()
        .filter(|policy| policy.name != "hindsight")
        .map(|policy| (&*policy.name, ratios(study, &policy.name)))
        .collect();
    let all = || rows.iter().flat_map(|(_, ratios)| ratios.iter().map(|&(_, ratio)| ratio));
    all().next()?;
    let scale = Scale::log(all().chain([0.95, 2.0]), [LEFT, RIGHT]);
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 44.0);
    for tick in scale.ticks(10) {
        svg.line([scale.at(tick), TOP, scale.at(tick), bottom], "grid", "");
        let text = if tick < 10.0 { format!("{tick} x") } else { format!("{tick:.0} x") };
        svg.text([scale.at(tick), bottom + 17.0], Anchor::Middle, "tick", &text);
    }
    let label = "sum of the response times, over that of the hindsight oracle, log scale";
    svg.text([(LEFT + RIGHT) / 2.0, bottom + 38.0], Anchor::Middle, "label", label);
    svg.line([scale.at(1.0), TOP, scale.at(1.0), bottom], "axis", "");
    for (row, (policy, ratios)) in rows.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        svg.text([LEFT - 12.0, y + 4.0], Anchor::End, "name", policy);
        svg.line([LEFT, y + ROW / 2.0, RIGHT, y + ROW / 2.0], "grid", "");
        let class = class(study, policy);
        for (i, (scenario, ratio)) in ratios.iter().enumerate() {
            // Apart from each other, where several are the same.
            let offset = (i % 5) as f64 * 5.0 - 10.0;
            let tip = format!("{policy}, {scenario}: {ratio:.2} times the oracle's");
            svg.circle([scale.at(*ratio), y + offset, 4.2], &format!("mark fill {class}"), &tip);
        }
        let mut sorted: Vec<f64> = ratios.iter().map(|&(_, ratio)| ratio).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let tip = format!("{policy}: median {median:.2}");
        svg.line([scale.at(median), y - 18.0, scale.at(median), y + 18.0], "middle", &tip);
    }
    Some(svg.finish("Response times of each policy over the hindsight oracle's, by scenario"))
}

/// Of each scenario, its name and the ratio.
fn ratios<'a>(study: &'a DeadlineStudy, policy: &str) -> Vec<(&'a str, f64)> {
    let ratio = |scenario: &'a crate::deadlines::ScenarioInfo| {
        let of = |outcome: &&crate::deadlines::Outcome| {
            outcome.policy == policy && outcome.scenario == scenario.name
        };
        let Sums { total_ns, hindsight_ns, .. } = sums(study.outcomes.iter().filter(of));
        (hindsight_ns > 0).then(|| (&*scenario.name, total_ns as f64 / hindsight_ns as f64))
    };
    study.scenarios.iter().filter_map(ratio).collect()
}
