//! The file that says what is asked of a device: its executor and its streams.
//!
//! ```toml
//! cores = 1
//! scheduling = "earliest-deadline-first" # or "fixed-priority"
//! dispatch_us = 20
//! tolerance_us = 0
//! exceedance = 1e-9
//!
//! [[stream]]
//! name = "vibration"
//! calibration = "vibration.json" # of leeway calibrate; or stages_ms = [1.5, 2.0]
//! period_ms = 100
//! deadline_ms = 80
//! jitter_ms = 2
//! priority = 5
//! core = 0
//! overload = "drop-newest" # or "drop-oldest", or "degrade"
//! degrade_to = "vibration-small" # the stream of a smaller model
//! offload = { setup_us = 0 }
//! # While the device is hot; without one of these, as much longer as the clock is slower:
//! throttled_calibration = "vibration-600.json" # or throttled_stages_ms = [4.5, 6.0]
//!
//! [thermal] # where the streams must be kept while the device is hot, too
//! soft_celsius = 70
//! hard_celsius = 80
//! throttled_khz = 600000 # the clock that it is slowed down to
//! degrade = ["vibration"] # to their smaller models, in this order
//! ```
//!
//! What has a default may be left out: everything but a stream's name, period,
//! deadline and times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use leeway_runtime::admission::{Executor, Offloading, Overload, Scheduling, Stream};
use leeway_runtime::thermal::Rules;
use leeway_runtime::timing::{BoundRule, Claims, store};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cores: Option<usize>,
    #[serde(default)]
    scheduling: Scheduling,
    dispatch_us: Option<f64>,
    tolerance_us: Option<f64>,
    exceedance: Option<f64>,
    thermal: Option<Rules>,
    #[serde(default, rename = "stream")]
    streams: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    calibration: Option<PathBuf>,
    stages_ms: Option<Vec<f64>>,
    throttled_calibration: Option<PathBuf>,
    throttled_stages_ms: Option<Vec<f64>>,
    period_ms: f64,
    deadline_ms: f64,
    #[serde(default)]
    jitter_ms: f64,
    priority: Option<u8>,
    core: Option<usize>,
    #[serde(default)]
    overload: Overload,
    degrade_to: Option<String>,
    offload: Option<Offload>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offload {
    #[serde(default)]
    setup_us: f64,
}

/// What the file asks for.
pub struct Asked {
    /// The streams.
    pub streams: Vec<Stream>,
    /// Their executor.
    pub executor: Executor,
    /// What the times of calibrated streams hold for.
    pub claims: Vec<(String, Claims)>,
    /// Where they are to be kept while the device is hot, too.
    pub hot: Option<Hot>,
}

/// What is asked of a device that is hot.
pub struct Hot {
    /// Its limits, and which streams degrade.
    pub rules: Rules,
    /// The streams, as long as they take then.
    pub streams: Vec<Stream>,
}

/// Reads the file; calibrations are looked for beside it.
pub fn read(path: &Path) -> anyhow::Result<Asked> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File =
        toml::from_str(&text).with_context(|| format!("{} is no streams file", path.display()))?;
    let default = Executor::default();
    let time =
        |us: Option<f64>, name, default| us.map_or(Ok(default), |us| duration(us, 1e6, name));
    let executor = Executor {
        cores: file.cores.unwrap_or(default.cores),
        scheduling: file.scheduling,
        dispatch: time(file.dispatch_us, "dispatch_us", default.dispatch)?,
        tolerance: time(file.tolerance_us, "tolerance_us", default.tolerance)?,
    };
    let mut rule = BoundRule::default();
    if let Some(exceedance) = file.exceedance {
        if !(exceedance > 0.0 && exceedance < 1.0) {
            bail!("exceedance is {exceedance}; a probability between 0 and 1 is wanted");
        }
        rule.exceedance = exceedance;
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    if let Some(rules) = &file.thermal {
        rules.check().context("thermal")?;
    }
    let khz = file.thermal.as_ref().and_then(|rules| rules.throttled_khz);
    let mut asked = Asked { streams: Vec::new(), executor, claims: Vec::new(), hot: None };
    let mut throttled = Vec::new();
    for entry in file.streams {
        let name = entry.name.clone();
        let in_stream = || format!("stream {name:?}");
        let hot = throttled_stages(&entry, beside, &rule).with_context(in_stream)?;
        let (stream, claims) = stream(entry, beside, &rule).with_context(in_stream)?;
        if file.thermal.is_some() {
            let stages = match hot {
                Some(stages) => stages,
                None => slower(&stream.stages, claims.as_ref(), khz).with_context(in_stream)?,
            };
            throttled.push(Stream { stages, ..stream.clone() });
        }
        asked.streams.push(stream);
        asked.claims.extend(claims.map(|claims| (name, claims)));
    }
    asked.hot = file.thermal.map(|rules| Hot { rules, streams: throttled });
    Ok(asked)
}

/// The times of a stream's stages while the device is hot, where the file has them.
fn throttled_stages(
    entry: &Entry,
    beside: &Path,
    rule: &BoundRule,
) -> anyhow::Result<Option<Vec<Duration>>> {
    Ok(match (&entry.throttled_calibration, &entry.throttled_stages_ms) {
        (Some(calibration), None) => {
            let calibration = store::read_file(&beside.join(calibration))?;
            Some(calibration.stage_bounds(rule).into_iter().map(|bound| bound.time).collect())
        }
        (None, Some(stages)) => Some(milliseconds(stages, "throttled_stages_ms")?),
        (None, None) => None,
        _ => bail!("one of throttled_calibration and throttled_stages_ms is wanted"),
    })
}

/// As much longer as the clock is slower than when it was calibrated.
fn slower(
    stages: &[Duration],
    claims: Option<&Claims>,
    throttled_khz: Option<u64>,
) -> anyhow::Result<Vec<Duration>> {
    let calibrated = claims.and_then(|claims| claims.device.frequency_khz);
    let (Some([_, highest]), Some(khz)) = (calibrated, throttled_khz.filter(|&khz| khz > 0)) else {
        bail!(
            "how long it takes on a hot device is not known: give throttled_calibration, \
             throttled_stages_ms, or thermal.throttled_khz with a calibration that tells the clock"
        );
    };
    let factor = (highest as f64 / khz as f64).max(1.0);
    Ok(stages.iter().map(|stage| stage.mul_f64(factor)).collect())
}

fn milliseconds(stages: &[f64], name: &str) -> anyhow::Result<Vec<Duration>> {
    stages.iter().map(|&ms| duration(ms, 1e3, name)).collect()
}

fn stream(
    entry: Entry,
    beside: &Path,
    rule: &BoundRule,
) -> anyhow::Result<(Stream, Option<Claims>)> {
    let mut claims = None;
    let stages = match (&entry.calibration, &entry.stages_ms) {
        (Some(calibration), None) => {
            let calibration = store::read_file(&beside.join(calibration))?;
            let bounds = calibration.stage_bounds(rule);
            claims = Some(calibration.claims);
            bounds.into_iter().map(|bound| bound.time).collect()
        }
        (None, Some(stages)) => milliseconds(stages, "stages_ms")?,
        _ => bail!("one of calibration and stages_ms is wanted"),
    };
    let setup = |offload: Offload| {
        anyhow::Ok(Offloading { setup: duration(offload.setup_us, 1e6, "setup_us")? })
    };
    let stream = Stream {
        name: entry.name,
        period: duration(entry.period_ms, 1e3, "period_ms")?,
        deadline: duration(entry.deadline_ms, 1e3, "deadline_ms")?,
        jitter: duration(entry.jitter_ms, 1e3, "jitter_ms")?,
        priority: entry.priority,
        stages,
        core: entry.core,
        overload: entry.overload,
        degrade_to: entry.degrade_to,
        offload: entry.offload.map(setup).transpose()?,
    };
    Ok((stream, claims))
}

fn duration(value: f64, per_second: f64, name: &str) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value / per_second)
        .with_context(|| format!("{name} is {value}; a time from 0 is wanted"))
}
