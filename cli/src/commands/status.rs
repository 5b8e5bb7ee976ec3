//! `leeway status`: what a device has and how it is.

use clap::Args;
use leeway_control::ModelStatus;
use leeway_control::calibration::{CalibrationStatus, EnergyStatus};
use leeway_control::desired::{DesiredStatus, GoalState, GoalStatus};
use leeway_control::slots::Release;
use leeway_control::streams::{Conditions, Promised, StreamStatus};

use super::{print, print_json};
use crate::device::DeviceArguments;
use crate::units;

/// Show a device's models: what serves, what is one step away, what happened last.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let status = arguments.device.client()?.status()?;
    if arguments.json {
        return print_json(&status);
    }
    for (name, model) in &status.models {
        print(&text(name, model))?;
    }
    for (name, stream) in &status.streams {
        print(&stream_text(name, stream))?;
    }
    if !status.streams.is_empty() {
        print(&conditions_text(&status.conditions))?;
    }
    if let Some(desired) = &status.desired {
        print(&desired_text(desired))?;
    }
    let stored = status.store_bytes.unwrap_or_default();
    print(&format!("store: {stored} of {} bytes", status.quota_bytes))?;
    match status.read_only {
        Some(reason) => print(&format!("nothing can be deployed: {reason}")),
        None => Ok(()),
    }
}

/// What is promised to a stream, and what happened to its inputs.
fn stream_text(name: &str, stream: &StreamStatus) -> String {
    let StreamStatus { model, deadline_ms, counts, exceeded, .. } = stream;
    let promise = match (&stream.promised, stream.set_aside) {
        (Some(Promised { response_ms, slack_ms, .. }), false) => {
            format!(
                "answered within {response_ms:.3} of {deadline_ms} ms, {slack_ms:.3} ms are left"
            )
        }
        (_, true) => "set aside".to_owned(),
        (None, false) => "nothing is promised".to_owned(),
    };
    let reason = stream.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let no_smaller = stream.no_smaller.as_ref();
    let dropped = no_smaller.map(|why| format!("\n  overload   inputs are dropped: {why}"));
    let dropped = dropped.unwrap_or_default();
    let bound = stream.bound_ms.map_or("unknown".to_owned(), |ms| format!("{ms:.3} ms"));
    format!(
        "stream {name} of {model}: {promise}{reason}{dropped}\n  execution  at most {bound}, exceeded by {exceeded} \
         runs\n  inputs     {} came, {} answered here, {} by the fog host; {} offloaded, {} \
         compensated, {} degraded, {} shed, {} missed\n  fog host   {} replies not in time, {} wrong",
        counts.arrived,
        counts.by_device,
        counts.by_fog,
        counts.offloaded,
        counts.compensated,
        counts.degraded,
        counts.shed,
        counts.missed,
        counts.late,
        counts.wrong
    )
}

/// What the promises rest on.
fn conditions_text(conditions: &Conditions) -> String {
    let clock = conditions.clock.as_ref().map(|clock| format!("; the clock: {clock}"));
    let mut text = format!("heat: {}{}", conditions.heat, clock.unwrap_or_default());
    for (core, granted) in conditions.real_time.iter().enumerate() {
        text.push_str(&format!("\ncore {core}: {granted}"));
    }
    if let Some(fog) = &conditions.fog {
        let trip = fog.round_trip_ms.map(|ms| format!(", a round trip of {ms:.2} ms"));
        text.push_str(&format!("\nlink: {}{}", fog.link, trip.unwrap_or_default()));
    }
    text
}

/// Whether and how a model serves, in words.
pub fn state(model: &ModelStatus) -> String {
    match (&model.broken, &model.probation) {
        (Some(reason), _) => format!("does not serve: {reason}"),
        (None, Some(probation)) => format!("on probation, {} inferences", probation.inferences),
        (None, None) if model.slots.pinned => "serves, pinned".to_owned(),
        (None, None) => "serves".to_owned(),
    }
}

/// How far a device is with what it shall be.
pub(super) fn desired_text(desired: &DesiredStatus) -> String {
    let generation = desired.generation.unwrap_or_default();
    let mut text = format!("desired since generation {generation}:");
    for (name, goal) in &desired.models {
        text.push_str(&goal_text(name, goal));
    }
    text
}

fn goal_text(name: &str, goal: &GoalStatus) -> String {
    let wanted = match &goal.wanted {
        None => "none".to_owned(),
        Some(wanted) => {
            let version = wanted.version.clone();
            let digest = wanted.digest.map(|digest| digest.short());
            let parts: Vec<String> = version.into_iter().chain(digest).collect();
            if parts.is_empty() { "what the source has".to_owned() } else { parts.join(" ") }
        }
    };
    let observed = goal.observed.map_or("none".to_owned(), |digest| digest.short());
    let state = match (goal.state, goal.step, goal.retry_in_ms) {
        (GoalState::Working, Some(step), _) => format!("working, after the step {step}"),
        (GoalState::Working, None, _) => "working".to_owned(),
        (GoalState::Waiting, _, Some(ms)) => format!("tried again in {:.0} s", ms as f64 / 1e3),
        (GoalState::Waiting, ..) => "waiting".to_owned(),
        (GoalState::Canary, ..) => "a canary".to_owned(),
        (GoalState::Reached, ..) => "reached".to_owned(),
        (GoalState::Refused, ..) => "refused".to_owned(),
        (GoalState::Lost, ..) => "lost".to_owned(),
    };
    let reason = goal.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let attempts = match goal.attempts {
        0 | 1 => String::new(),
        more => format!(", {more} attempts"),
    };
    format!("\n  {name}: wanted {wanted}, active {observed}; {state}{attempts}{reason}")
}

fn text(name: &str, model: &ModelStatus) -> String {
    let release = |release: &Option<Release>| match release {
        Some(release) => format!("{} {}", release.version, release.digest.short()),
        None => "none".to_owned(),
    };
    let (slots, state) = (&model.slots, state(model));
    let last = slots.history.last().map(|entry| format!("\n  last       {}", entry.reason));
    let measured = model.calibration.as_ref().map(measured_text);
    format!(
        "{name}: {state}\n  active     {}\n  previous   {}\n  candidate  {}{}{}",
        release(&slots.active),
        release(&slots.previous),
        release(&slots.candidate),
        measured.unwrap_or_default(),
        last.unwrap_or_default()
    )
}

/// What was measured of what serves, and how.
fn measured_text(calibration: &CalibrationStatus) -> String {
    let CalibrationStatus { bound_ms, real_time, energy } = calibration;
    let energy = energy.as_ref().map(|energy| {
        let EnergyStatus { joules, basis, sensors, instead } = energy;
        let by = instead.clone().unwrap_or_else(|| format!("by {}", sensors.join(", ")));
        format!("\n  energy     {} per inference ({basis}; {by})", units::energy(*joules))
    });
    let energy = energy.unwrap_or_default();
    format!("\n  calibrated at most {bound_ms:.3} ms; {real_time}{energy}")
}
