//! A calibration as tables for the terminal.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets};
use leeway_contract::Certificate;
use leeway_runtime::thermal::SpeedSeen;
use leeway_runtime::timing::evt::{Method, Pwcet, Tail, TailAnalysis, TailFit};
use leeway_runtime::timing::summary::Disturbed;
use leeway_runtime::timing::{Bound, BoundRule, Calibration, Cause, Timing};

use crate::{energy, units};

/// Stages that are listed.
const MOST_STAGES: usize = 40;

/// All of it.
pub fn text(calibration: &Calibration, certificate: &Certificate, rule: &BoundRule) -> String {
    let mut parts = vec![head(calibration, certificate), times(calibration).to_string()];
    if calibration.warm.stages.len() > 1 {
        parts.push(stages(calibration, certificate, rule));
    }
    parts.push(tail(&calibration.warm.whole.tail));
    let Bound { time, basis } = calibration.bound(rule);
    parts.push(format!("promised: {}: {basis}", units::duration(time)));
    parts.extend(calibration.energy.as_ref().map(energy::text));
    parts.join("\n\n")
}

fn head(calibration: &Calibration, certificate: &Certificate) -> String {
    let (claims, granted) = (&calibration.claims, &calibration.real_time);
    let device = &claims.device;
    let known = [&*device.machine, &*device.cpu, device.governor.as_deref().unwrap_or_default()];
    let known: Vec<&str> = known.into_iter().filter(|text| !text.is_empty()).collect();
    let core = device.core.map_or("any core".to_owned(), |core| format!("core {core}"));
    let cold = calibration.cold.as_ref().map_or(String::new(), |cold| {
        format!("\n{} cold runs{}", cold.whole.runs, disturbed(&cold.whole.disturbed))
    });
    let speed = calibration.speed.map_or(String::new(), speed);
    format!(
        "{} {}, {}\non {}, {core}, {} engine{speed}\n\
         own core {}, real-time priority {}, locked memory {}\n\
         {} warm runs of {} inputs{}{cold}",
        certificate.model.name,
        certificate.model.version,
        claims.module,
        if known.is_empty() { "an unknown device".to_owned() } else { known.join(", ") },
        claims.engine,
        granted.pinned,
        granted.scheduling,
        granted.memory,
        calibration.warm.whole.runs,
        calibration.inputs,
        disturbed(&calibration.warm.whole.disturbed),
    )
}

/// The clock while it was measured. What was measured of a throttled processor holds
/// for that only.
fn speed(speed: SpeedSeen) -> String {
    let SpeedSeen { lowest_khz, highest_khz, throttled } = speed;
    let throttled = match throttled {
        0 => String::new(),
        times => format!("; it was throttled {times} times: cool it, and calibrate again"),
    };
    format!("\nat {} to {} MHz{throttled}", lowest_khz / 1_000, highest_khz / 1_000)
}

/// `, 12 disturbed: 9 preempted, 5 off the CPU`.
fn disturbed(disturbed: &Disturbed) -> String {
    let causes: Vec<String> = Cause::ALL
        .into_iter()
        .filter(|&cause| disturbed.by(cause) > 0)
        .map(|cause| format!("{} {}", disturbed.by(cause), cause.describe()))
        .collect();
    match disturbed.runs {
        0 => ", none disturbed".to_owned(),
        runs => format!(", {runs} disturbed: {}", causes.join(", ")),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `1.23 ms  1.20 to 1.25`, as one cell.
fn with_interval(time: Duration, lower: Option<Duration>, upper: Option<Duration>) -> String {
    let end = |end: Option<Duration>| end.map_or("?".to_owned(), units::duration);
    format!("{} [{}, {}]", units::duration(time), end(lower), end(upper))
}

fn times(calibration: &Calibration) -> Table {
    let conditions: Vec<(&str, &Timing)> = [("warm", Some(&calibration.warm.whole))]
        .into_iter()
        .chain([("cold", calibration.cold.as_ref().map(|cold| &cold.whole))])
        .filter_map(|(name, timing)| Some((name, timing?)))
        .collect();
    let header: Vec<&str> =
        std::iter::once("whole model").chain(conditions.iter().map(|c| c.0)).collect();
    let mut table = table(&header);
    let mut row = |name: String, of: &dyn Fn(&Timing) -> String| {
        let cells = conditions.iter().map(|(_, timing)| Cell::new(of(timing)));
        table.add_row(std::iter::once(Cell::new(name)).chain(cells));
    };
    for (i, quantile) in calibration.warm.whole.quantiles.iter().enumerate() {
        let name = match quantile.quantile {
            0.5 => "median".to_owned(),
            part => format!("{} %", (1e5 * part).round() / 1e3),
        };
        row(name, &|timing| {
            let q = &timing.quantiles[i];
            with_interval(q.time, q.lower, q.upper)
        });
    }
    row("worst input's median".into(), &|t| units::duration(t.worst_input));
    row("highest undisturbed".into(), &|t| units::duration(t.highest_undisturbed));
    row("highest observed".into(), &|t| units::duration(t.highest_observed));
    row("ns per fuel".into(), &|t| match t.ns_per_fuel {
        Some(span) => format!("{:.4} [{:.4}, {:.4}]", span.estimate, span.lower, span.upper),
        None => "-".to_owned(),
    });
    table
}

fn stages(calibration: &Calibration, certificate: &Certificate, rule: &BoundRule) -> String {
    let mut table =
        table(&["stage", "fuel", "median", "highest", "cold, highest", "promised", "basis"]);
    let bounds = calibration.stage_bounds(rule);
    let cold = |i: usize| calibration.cold.as_ref().map(|cold| &cold.stages[i]);
    for (i, (timing, bound)) in calibration.warm.stages.iter().zip(&bounds).enumerate() {
        let name = certificate.stages.get(i).map_or("", |stage| &stage.name);
        let basis = match bound.basis {
            leeway_runtime::timing::Basis::Probabilistic { exceedance } => {
                format!("{exceedance:e}")
            }
            _ => "observed".to_owned(),
        };
        if i < MOST_STAGES {
            table.add_row([
                format!("{i} {name}"),
                units::count(timing.fuel.0),
                units::duration(timing.median()),
                units::duration(timing.highest_observed),
                cold(i).map_or("-".to_owned(), |t| units::duration(t.highest_observed)),
                units::duration(bound.time),
                basis,
            ]);
        }
    }
    let mut text = table.to_string();
    if bounds.len() > MOST_STAGES {
        text += &format!("\nand {} more stages (--json)", bounds.len() - MOST_STAGES);
    }
    text
}

fn tail(tail: &TailAnalysis) -> String {
    let mut lines = Vec::new();
    for test in &tail.tests {
        let verdict = if test.rejects() { "refused" } else { "passed" };
        lines.push(format!("{:<20} {verdict}, {test}", test.test.describe().0));
    }
    let fits = [&tail.peaks, &tail.maxima];
    lines.extend(fits.into_iter().flatten().map(fit));
    if tail.pwcet.is_empty() {
        lines.push("no probabilistic WCET: nothing is extrapolated, because".to_owned());
    } else {
        let mut table = table(&["exceeded by one run in", "estimate", "95 % interval"]);
        for Pwcet { exceedance, estimate, lower, upper } in &tail.pwcet {
            if [1e-3, 1e-6, 1e-9].contains(exceedance) {
                let interval =
                    format!("{} to {}", units::duration(*lower), units::duration(*upper));
                let runs = format!("{:.0e}", 1.0 / exceedance);
                table.add_row([runs, units::duration(*estimate), interval]);
            }
        }
        lines.push(table.to_string());
        if !tail.refusals.is_empty() {
            lines.push("left out:".to_owned());
        }
    }
    lines.extend(tail.refusals.iter().map(|refusal| format!("  {refusal}")));
    lines.join("\n")
}

fn fit(fit: &TailFit) -> String {
    let (name, what) = match fit.method {
        Method::PeaksOverThreshold { threshold_ns, .. } => (
            "peaks over threshold",
            format!(
                "{} above {}",
                fit.count,
                units::duration(Duration::from_nanos(threshold_ns as u64))
            ),
        ),
        Method::BlockMaxima { block } => {
            ("block maxima", format!("{} of {block} runs each", fit.count))
        }
    };
    let tail = match fit.tail {
        Tail::Light => "bounded by a light tail",
        Tail::Heavy => "heavy",
    };
    format!(
        "{name:<20} {what}, shape {:.3} [{:.3}, {:.3}], {tail}, fit p = {:.3}",
        fit.shape.estimate, fit.shape.lower, fit.shape.upper, fit.fitness[0].p_value
    )
}
