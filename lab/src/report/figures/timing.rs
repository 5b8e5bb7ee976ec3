//! How long a model takes on a device: the histogram of its runs, and below it how
//! often a run exceeds a time, on a logarithmic axis, with the tail that was fitted
//! and the bounds. A picture of its own, light or dark as its viewer is.

use leeway_runtime::nanos;
use leeway_runtime::timing::evt::{Pwcet, TailAnalysis};
use leeway_runtime::timing::{Calibration, RunSample};

use super::scale::Scale;
use super::svg::{Anchor, Svg};
use crate::report::units::{count, duration, short_duration};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 654.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 884.0;
/// Top and bottom of the histogram, and of the exceedance below it.
const BARS: [f64; 2] = [96.0, 232.0];
const CURVE: [f64; 2] = [262.0, 556.0];
const BINS: usize = 90;
/// Points of the measured curve: more than can be told apart.
const POINTS: usize = 500;
/// The bounds that are marked.
const MARKED: [f64; 2] = [1e-6, 1e-9];
/// Where the longest time is so much longer than the shortest, the axis of time is
/// logarithmic.
const LOG_FROM: f64 = 6.0;

const STYLE: &str = include_str!("timing.css");

/// The picture of the model named `model`.
pub fn timing(calibration: &Calibration, model: &str) -> String {
    let samples = &calibration.samples;
    let tail = &calibration.warm.whole.tail;
    let x = time_axis(samples, tail);
    let y = exceedance_axis(samples.len(), tail);
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.rect([0.0, 0.0, WIDTH, HEIGHT], "card", "");
    heading(&mut svg, calibration, model);
    times(&mut svg, x);
    histogram(&mut svg, x, samples);
    exceedances(&mut svg, y);
    highest(&mut svg, x, calibration);
    fitted(&mut svg, x, y, &tail.pwcet);
    measured(&mut svg, x, y, samples);
    bounds(&mut svg, x, y, &tail.pwcet);
    refusals(&mut svg, tail);
    svg.finish_alone(&format!("Execution times of {model}"), STYLE)
}

fn time_axis(samples: &[RunSample], tail: &TailAnalysis) -> Scale {
    let bounds = tail.pwcet.iter().map(|pwcet| nanos::of(pwcet.upper) as f64);
    let all = || samples.iter().map(|sample| sample.ns as f64).chain(bounds.clone());
    let (min, max) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let range = [LEFT, RIGHT];
    if max > LOG_FROM * min {
        return Scale::log([min.max(1.0), max].into_iter(), range);
    }
    let room = 0.03 * (max - min);
    Scale::linear((min - room).max(0.0), max + room, range)
}

/// From always, at the top, to the smallest probability that anything is said of.
fn exceedance_axis(runs: usize, tail: &TailAnalysis) -> Scale {
    let measured = 1.0 / runs.max(2) as f64;
    let smallest = tail.pwcet.last().map_or(measured, |pwcet| pwcet.exceedance.min(measured));
    Scale::log([smallest, 1.0].into_iter(), [CURVE[1], CURVE[0]])
}

fn heading(svg: &mut Svg, calibration: &Calibration, model: &str) {
    svg.text([LEFT, 28.0], Anchor::Start, "heading", &format!("Execution times of {model}"));
    let (claims, whole) = (&calibration.claims, &calibration.warm.whole);
    let device = [&*claims.device.machine, &*claims.device.cpu];
    let device: Vec<&str> = device.into_iter().filter(|text| !text.is_empty()).collect();
    let about = format!(
        "{} warm runs, {} disturbed, on {}, {} engine",
        count(whole.runs as u64),
        count(whole.disturbed.runs as u64),
        if device.is_empty() { "an unknown device".to_owned() } else { device.join(", ") },
        claims.engine
    );
    svg.text([LEFT, 48.0], Anchor::Start, "label", &about);
}

/// The axis of time, through both panels.
fn times(svg: &mut Svg, x: Scale) {
    for tick in x.ticks(9) {
        for [top, bottom] in [BARS, CURVE] {
            svg.line([x.at(tick), top, x.at(tick), bottom], "grid", "");
        }
        let text = short_duration(tick as u64);
        svg.text([x.at(tick), CURVE[1] + 18.0], Anchor::Middle, "tick", &text);
    }
    svg.text([(LEFT + RIGHT) / 2.0, CURVE[1] + 40.0], Anchor::Middle, "label", "execution time");
}

fn histogram(svg: &mut Svg, x: Scale, samples: &[RunSample]) {
    let width = (RIGHT - LEFT) / BINS as f64;
    let bin = |ns: u64| (((x.at(ns as f64) - LEFT) / width) as usize).min(BINS - 1);
    let mut bins = [[0usize; 2]; BINS];
    for sample in samples {
        bins[bin(sample.ns)][usize::from(sample.disturbed())] += 1;
    }
    let most = bins.iter().map(|[a, b]| a + b).max().unwrap_or(0);
    let y = Scale::linear_from_zero(most as f64, [BARS[1], BARS[0]]);
    for tick in y.ticks(3) {
        svg.line([LEFT, y.at(tick), RIGHT, y.at(tick)], "grid", "");
        let text = count(tick as u64);
        svg.text([LEFT - 8.0, y.at(tick) + 4.0], Anchor::End, "tick", &text);
    }
    for (i, &[undisturbed, disturbed]) in bins.iter().enumerate() {
        let mut bottom = BARS[1];
        for (runs, class) in [(undisturbed, "bar"), (disturbed, "bar disturbed")] {
            if runs > 0 {
                let height = (BARS[1] - y.at(runs as f64)).max(1.0);
                let left = LEFT + width * i as f64 + 0.4;
                let tip = format!("{runs} runs");
                svg.rect([left, bottom - height, width - 0.8, height], class, &tip);
                bottom -= height;
            }
        }
    }
    svg.line([LEFT, BARS[1], RIGHT, BARS[1]], "axis", "");
    svg.text_upwards([20.0, (BARS[0] + BARS[1]) / 2.0], "label", "runs");
    if samples.iter().any(RunSample::disturbed) {
        svg.rect([RIGHT - 78.0, 38.0, 10.0, 10.0], "bar disturbed", "");
        svg.text([RIGHT, 47.5], Anchor::End, "key", "disturbed");
    }
}

fn exceedances(svg: &mut Svg, y: Scale) {
    for tick in y.ticks(10) {
        svg.line([LEFT, y.at(tick), RIGHT, y.at(tick)], "grid", "");
        let text = if tick == 1.0 { "1".to_owned() } else { format!("{tick:.0e}") };
        svg.text([LEFT - 8.0, y.at(tick) + 4.0], Anchor::End, "tick", &text);
    }
    svg.line([LEFT, CURVE[1], RIGHT, CURVE[1]], "axis", "");
    let label = "part of the runs that take longer";
    svg.text_upwards([20.0, (CURVE[0] + CURVE[1]) / 2.0], "label", label);
}

/// The longest run of all, through both panels.
fn highest(svg: &mut Svg, x: Scale, calibration: &Calibration) {
    let ns = nanos::of(calibration.warm.whole.highest_observed);
    let at = x.at(ns as f64);
    svg.line([at, BARS[0] - 14.0, at, CURVE[1]], "observed", "");
    let (anchor, shift) = match at > (LEFT + RIGHT) / 2.0 {
        true => (Anchor::End, 4.0),
        false => (Anchor::Start, -4.0),
    };
    let text = format!("highest observed {}", duration(ns));
    svg.text([at + shift, BARS[0] - 20.0], anchor, "observed-label", &text);
}

/// How often the undisturbed runs exceeded each time.
fn measured(svg: &mut Svg, x: Scale, y: Scale, samples: &[RunSample]) {
    let undisturbed = samples.iter().filter(|sample| !sample.disturbed());
    let mut times: Vec<u64> = undisturbed.map(|sample| sample.ns).collect();
    if times.is_empty() {
        times = samples.iter().map(|sample| sample.ns).collect();
    }
    times.sort_unstable();
    let n = times.len();
    // Every run of the tail, and some of the bulk.
    let stride = n.div_ceil(POINTS);
    let shown = (0..n).filter(|i| i % stride == 0 || n - i <= POINTS / 4);
    let point = |i: usize| [x.at(times[i] as f64), y.at((n - i) as f64 / n as f64)];
    let points: Vec<[f64; 2]> = shown.map(point).collect();
    svg.polyline(&points, "measured", "measured, undisturbed runs");
}

/// The fitted tail with its band.
fn fitted(svg: &mut Svg, x: Scale, y: Scale, pwcet: &[Pwcet]) {
    if pwcet.is_empty() {
        return;
    }
    let points = |of: fn(&Pwcet) -> std::time::Duration| -> Vec<[f64; 2]> {
        let point = |p: &Pwcet| [x.at(nanos::of(of(p)) as f64), y.at(p.exceedance)];
        pwcet.iter().map(point).collect()
    };
    let mut band = points(|p| p.lower);
    band.extend(points(|p| p.upper).into_iter().rev());
    svg.polygon(&band, "band", "95 % interval of the tail");
    svg.polyline(&points(|p| p.estimate), "tail", "fitted tail");
}

/// The upper ends that are promised.
fn bounds(svg: &mut Svg, x: Scale, y: Scale, pwcet: &[Pwcet]) {
    for p in pwcet.iter().filter(|p| MARKED.contains(&p.exceedance)) {
        let ns = nanos::of(p.upper);
        let [cx, cy] = [x.at(ns as f64), y.at(p.exceedance)];
        svg.line([cx, cy, cx, CURVE[1]], "promise-guide", "");
        let text = format!("{:.0e}: {}", p.exceedance, duration(ns));
        svg.circle([cx, cy, 5.0], "promise", &text);
        let (anchor, shift) = match cx < RIGHT - 150.0 {
            true => (Anchor::Start, 9.0),
            false => (Anchor::End, -9.0),
        };
        svg.text([cx + shift, cy - 8.0], anchor, "promise-label", &text);
    }
}

/// Why there is no tail, or which method is left out.
fn refusals(svg: &mut Svg, tail: &TailAnalysis) {
    let Some(first) = tail.refusals.first() else { return };
    let text = match (tail.pwcet.is_empty(), tail.refusals.len()) {
        (true, 1) => "Not extrapolated:".to_owned(),
        (true, n) => format!("Not extrapolated, for {n} reasons; the first:"),
        (false, _) => "Left out:".to_owned(),
    };
    svg.text([LEFT, HEIGHT - 26.0], Anchor::Start, "label", &text);
    svg.text([LEFT, HEIGHT - 9.0], Anchor::Start, "label", &first.to_string());
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;
