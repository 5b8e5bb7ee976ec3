//! The two sides of the talk's decision, each model over each link: WCET on the
//! device against T_L + T_F, with the diagonal on which they are equal.

use super::scale::Scale;
use super::svg::{Anchor, Svg};
use crate::report::quantile::nearest_rank_of;
use crate::report::summary::Summary;
use crate::report::units::{duration, short_duration};
use crate::study::{DecisionRow, Study};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 780.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 420.0;

/// One model over one link.
struct Point {
    model: String,
    link: String,
    wcet_ns: u64,
    /// Median of T_L + T_F, measured where it was measured, else estimated.
    fog_ns: u64,
    /// Share of the inputs that the deciding policy sent to the fog host.
    offloaded: Option<f64>,
}

/// The figure; `None` where nothing is known of the fog host's side. `policy` is
/// the one whose choices the marks show.
pub(in super::super) fn decision(study: &Study, summary: &Summary, policy: &str) -> Option<String> {
    let points = points(study, summary, policy);
    if points.is_empty() {
        return None;
    }
    // Room around the outermost marks for their names.
    let x_values = points.iter().flat_map(|p| [0.7, 1.5].map(|f| p.fog_ns as f64 * f));
    let y_values = points.iter().flat_map(|p| [0.35, 3.0].map(|f| p.wcet_ns as f64 * f));
    let x = Scale::log(x_values, [LEFT, RIGHT]);
    let y = Scale::log(y_values, [BOTTOM, TOP]);
    let mut svg = Svg::new(WIDTH, 474.0);
    regions(&mut svg, x, y);
    axes(&mut svg, x, y);
    region_names(&mut svg);
    model_names(&mut svg, y, &points);
    for point in &points {
        mark(&mut svg, x, y, point, policy);
    }
    Some(svg.finish("WCET on the device against transfer and fog time, by model and link"))
}

fn points(study: &Study, summary: &Summary, policy: &str) -> Vec<Point> {
    let mut points = Vec::new();
    for model in &study.models {
        for link in &summary.links {
            let of_both = |d: &&DecisionRow| d.model == model.name && &d.link == link;
            let decisions: Vec<&DecisionRow> = study.decisions.iter().filter(of_both).collect();
            let measured = |d: &&DecisionRow| Some(d.tl_ns?.saturating_add(d.tf_ns?));
            let estimated =
                |d: &&DecisionRow| Some(d.estimated_tl_ns?.saturating_add(d.estimated_tf_ns?));
            let fog_ns = nearest_rank_of(decisions.iter().filter_map(measured).collect(), 0.5)
                .or_else(|| nearest_rank_of(decisions.iter().filter_map(estimated).collect(), 0.5));
            let row = summary.row(link, &model.name, policy);
            let share = row.map(|r| r.figures.offloaded as f64 / r.figures.inputs.max(1) as f64);
            if let Some(fog_ns) = fog_ns.filter(|ns| *ns > 0 && model.wcet_ns > 0) {
                let (model, link, wcet_ns) = (model.name.clone(), link.clone(), model.wcet_ns);
                points.push(Point { model, link, wcet_ns, fog_ns, offloaded: share });
            }
        }
    }
    points
}

/// Above the diagonal the fog host is faster, below it the device.
fn regions(svg: &mut Svg, x: Scale, y: Scale) {
    let plot = [[LEFT, TOP], [RIGHT, TOP], [RIGHT, BOTTOM], [LEFT, BOTTOM]];
    svg.polygon(&plot, "region p0", "");
    let [from, to] = [x.domain()[0].max(y.domain()[0]), x.domain()[1].min(y.domain()[1])];
    if from >= to {
        // The diagonal does not cross the plot: all of it is on one side.
        if y.domain()[0] >= x.domain()[1] {
            svg.polygon(&plot, "region p1", "");
        }
        return;
    }
    let at = |v: f64| [x.at(v), y.at(v)];
    let [[x0, y0], [x1, y1]] = [at(from), at(to)];
    // The plot's corners above the diagonal, where it enters at a side.
    let above = [[x0, y0], [LEFT, y0], [LEFT, TOP], [x1, TOP], [x1, y1]];
    svg.polygon(&above, "region cover", "");
    svg.polygon(&above, "region p1", "");
    svg.line([x0, y0, x1, y1], "diagonal", "");
}

fn region_names(svg: &mut Svg) {
    svg.text([LEFT + 14.0, TOP + 24.0], Anchor::Start, "region-label p1", "the fog host is faster");
    let below = "the device is faster";
    svg.text([RIGHT - 14.0, BOTTOM - 14.0], Anchor::End, "region-label p0", below);
}

fn axes(svg: &mut Svg, x: Scale, y: Scale) {
    for tick in x.ticks(8) {
        svg.line([x.at(tick), TOP, x.at(tick), BOTTOM], "grid", "");
        svg.text([x.at(tick), BOTTOM + 18.0], Anchor::Middle, "tick", &short_duration(tick as u64));
    }
    for tick in y.ticks(8) {
        svg.line([LEFT, y.at(tick), RIGHT, y.at(tick)], "grid", "");
        svg.text([LEFT - 8.0, y.at(tick) + 4.0], Anchor::End, "tick", &short_duration(tick as u64));
    }
    let middle = (LEFT + RIGHT) / 2.0;
    let fog = "T_L + T_F: transfer and execution on the fog host, median, log scale";
    svg.formula([middle, BOTTOM + 46.0], "label", fog);
    svg.text_upwards([14.0, (TOP + BOTTOM) / 2.0], "label", "WCET on the device, log scale");
}

/// The models' names at the right, pushed apart where their WCETs are close.
fn model_names(svg: &mut Svg, y: Scale, points: &[Point]) {
    let mut names: Vec<(f64, &str, u64)> =
        points.iter().map(|p| (y.at(p.wcet_ns as f64), p.model.as_str(), p.wcet_ns)).collect();
    names.dedup_by(|a, b| a.1 == b.1);
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    for (line, name, wcet_ns) in names {
        let at = line.max(free);
        free = at + 30.0;
        svg.line([LEFT, line, RIGHT, line], "guide", "");
        svg.line([RIGHT, line, RIGHT + 10.0, at], "guide", "");
        svg.text([RIGHT + 14.0, at], Anchor::Start, "name", name);
        let wcet = format!("WCET {}", duration(wcet_ns));
        svg.text([RIGHT + 14.0, at + 14.0], Anchor::Start, "tick", &wcet);
    }
}

/// A square where the policy mostly stays on the device, a circle where it goes.
fn mark(svg: &mut Svg, x: Scale, y: Scale, point: &Point, policy: &str) {
    let [cx, cy] = [x.at(point.fog_ns as f64), y.at(point.wcet_ns as f64)];
    let chosen = match point.offloaded {
        Some(share) => format!("; {policy} sent {:.0} %", share * 100.0),
        None => String::new(),
    };
    let tip = format!(
        "{} over {}: WCET {}, T_L + T_F {}{chosen}",
        point.model,
        point.link,
        duration(point.wcet_ns),
        duration(point.fog_ns)
    );
    match point.offloaded {
        None => svg.circle([cx, cy, 6.0], "mark", &tip),
        Some(share) if share >= 0.5 => svg.circle([cx, cy, 6.5], "mark fill p1", &tip),
        Some(_) => svg.rect([cx - 5.5, cy - 5.5, 11.0, 11.0], "mark fill p0", &tip),
    }
    svg.text([cx, cy - 12.0], Anchor::Middle, "point-label", &point.link);
}
