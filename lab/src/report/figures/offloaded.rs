//! The share of the inputs that a policy sent to the fog host, by model and link.

use super::policy_class;
use super::svg::{Anchor, Svg};
use crate::report::summary::Summary;
use crate::report::units::percent;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 104.0;
const TOP: f64 = 26.0;
/// Height of one model's cells.
const HEIGHT: f64 = 40.0;

/// The heat map of `policy`; `None` if it decided nothing.
pub(in super::super) fn offloaded(summary: &Summary, policy: &str) -> Option<String> {
    let decided = |of: fn(&super::super::ModelRow) -> &String, name: &String| {
        summary.rows.iter().any(|r| r.policy == policy && of(r) == name)
    };
    let links: Vec<&String> = summary.links.iter().filter(|n| decided(|r| &r.link, n)).collect();
    let models: Vec<&String> = summary.models.iter().filter(|n| decided(|r| &r.model, n)).collect();
    if links.is_empty() {
        return None;
    }
    let [width, height] = [(WIDTH - LEFT) / links.len() as f64, HEIGHT];
    let mut svg = Svg::new(WIDTH, TOP + height * models.len() as f64);
    let class = policy_class(&summary.policies, policy);
    for (column, link) in links.iter().enumerate() {
        let middle = LEFT + width * (column as f64 + 0.5);
        svg.text([middle, TOP - 10.0], Anchor::Middle, "name", link);
    }
    for (line, model) in models.iter().enumerate() {
        let y = TOP + height * line as f64;
        svg.text([LEFT - 10.0, y + height / 2.0 + 4.0], Anchor::End, "name", model);
        for (column, link) in links.iter().enumerate() {
            let x = LEFT + width * column as f64;
            let cell = [x + 1.5, y + 1.5, width - 3.0, height - 3.0];
            let Some(row) = summary.row(link, model, policy) else {
                svg.rect(cell, "cell", "");
                continue;
            };
            let (sent, inputs) = (row.figures.offloaded, row.figures.inputs);
            let share = sent as f64 / inputs.max(1) as f64;
            let tip = format!("{model} over {link}: {sent} of {inputs} inputs sent");
            svg.rect(cell, "cell", &tip);
            svg.faded(share, |svg| svg.rect(cell, &format!("heat {class}"), &tip));
            let class = if share > 0.5 { "value on" } else { "value" };
            let middle = [x + width / 2.0, y + height / 2.0 + 5.0];
            svg.text(middle, Anchor::Middle, class, &percent(sent, inputs));
        }
    }
    Some(svg.finish(&format!("Share of the inputs that {policy} offloads, by model and link")))
}
