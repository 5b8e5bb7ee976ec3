//! What the device spends on an input under each policy, over being idle.

use super::class;
use crate::deadlines::DeadlineStudy;
use crate::report::deadlines::{Sums, sums};
use crate::report::figures::scale::Scale;
use crate::report::figures::svg::{Anchor, Svg};

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 132.0;
const RIGHT: f64 = 1010.0;
const TOP: f64 = 8.0;
const ROW: f64 = 30.0;

/// Bars from zero, in millijoules.
pub(in super::super::super) fn energy(study: &DeadlineStudy) -> String {
    let mean = |policy: &str| {
        let of_policy = study.outcomes.iter().filter(|outcome| outcome.policy == policy);
        let Sums { joules, inputs, .. } = sums(of_policy);
        1e3 * joules / inputs.max(1) as f64
    };
    let means: Vec<(&str, f64)> =
        study.policies.iter().map(|policy| (&*policy.name, mean(&policy.name))).collect();
    let most = means.iter().map(|&(_, mean)| mean).fold(0.0, f64::max);
    let scale = Scale::linear_from_zero(most, [LEFT, RIGHT]);
    let bottom = TOP + ROW * means.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    for tick in scale.ticks(6) {
        svg.line([scale.at(tick), TOP, scale.at(tick), bottom], "grid", "");
        let text = format!("{}", (tick * 1e6).round() / 1e6);
        svg.text([scale.at(tick), bottom + 17.0], Anchor::Middle, "tick", &text);
    }
    let label = "millijoules for each input";
    svg.text([(LEFT + RIGHT) / 2.0, bottom + 36.0], Anchor::Middle, "label", label);
    for (row, &(policy, mean)) in means.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        svg.text([LEFT - 12.0, y + ROW / 2.0 + 4.0], Anchor::End, "name", policy);
        let class = format!("fill {}", class(study, policy));
        let tip = format!("{policy}: {mean:.2} mJ");
        svg.rect([LEFT, y + 6.0, scale.at(mean) - LEFT, ROW - 12.0], &class, &tip);
        let text = format!("{mean:.2} mJ");
        let after = [scale.at(mean) + 8.0, y + ROW / 2.0 + 4.0];
        svg.text(after, Anchor::Start, "value", &text);
    }
    svg.line([LEFT, TOP, LEFT, bottom], "axis", "");
    svg.finish("Energy of the device for each input, by policy")
}
