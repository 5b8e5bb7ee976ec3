//! The experiment: a device, an emulated link and a real fog host on one
//! machine, and the same inputs under each policy.
//!
//! The device is one thread, pinned to a core of its own, on which the models
//! run (by default on the Pulley interpreter, for a slow device) and from which
//! the fog host is asked. The fog host, with its workers, and the link emulator
//! are pinned to another core. The device reaches the fog host through the link
//! only: it pushes the components by digest over it, too.
//!
//! What is compared are policies, on a machine whose speed varies from second to
//! second. Therefore the policies take turns on every single input, in rotated
//! order: whatever slows the machine down slows all of them down. Each has an
//! offloader, estimates and a connection of its own; the models' instances on
//! the device are shared, so that no policy finds colder caches than another.

mod config;
mod cpu;
mod device;
mod error;
mod replay;
mod rows;

use std::time::Instant;

use leeway_fog_host::{FogConfig, Running};
use leeway_runtime::realtime::{RealTime, RealTimeReport};
use leeway_runtime::sandbox::Sandbox;

pub use config::{Config, Model};
pub use error::{ExperimentError, Refused};

use crate::study::{ALL_FOG, ALL_LOCAL, LinkInfo, ModelInfo, Setup, Study, THRESHOLD};

/// How far the experiment is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// What it is doing.
    pub step: Step<'a>,
    /// How much of the whole is done, 0 to 1, in time.
    pub fraction: f64,
}

/// What the experiment is doing.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The device's thread has asked for its real-time set-up.
    RealTime(&'a RealTimeReport),
    /// A model's execution time is being measured.
    Calibrating(&'a str),
    /// The components are being pushed over a link.
    Pushing(&'a str),
    /// The inputs are being replayed over a link.
    Replaying {
        /// The link's name.
        link: &'a str,
        /// Inputs of each model that have been replayed under all policies.
        inputs: usize,
    },
}

/// Runs the whole experiment. It takes about `config.time`.
pub fn run(
    config: &Config,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Study, ExperimentError> {
    let start = Instant::now();
    if config.models.is_empty() || config.links.is_empty() || config.inputs == 0 {
        return Err(ExperimentError::NothingToDo);
    }
    let cpus = cpu::Cpus::choose();
    let fog_config = FogConfig { workers: 1, ..FogConfig::default() };
    let fog = cpu::on(cpus.fog, || Running::start(fog_config))?;

    let device = || {
        let wanted = RealTime { cpu: cpus.device, priority: config.priority, lock_memory: true };
        let report = wanted.apply();
        progress(Progress { step: Step::RealTime(&report), fraction: 0.0 });
        let mut bench = replay::Bench::new(config, cpus, &fog, start, progress)?;
        bench.calibrate(&report)?;
        for (i, link) in config.links.iter().enumerate() {
            bench.replay(link, config.links.len() - i)?;
        }
        Ok((bench.finish(), report))
    };
    let (results, real_time) = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("device".into());
        let thread = thread.spawn_scoped(scope, device).map_err(ExperimentError::Thread)?;
        thread.join().unwrap_or(Err(ExperimentError::DevicePanicked))
    })?;
    fog.shutdown().map_err(ExperimentError::FogEnded)?;

    Ok(Study {
        setup: Setup {
            device_engine: config.engine.to_string(),
            device_cpu: cpus.device.filter(|_| real_time.pinned.is_granted()),
            cpu_model: cpu::model_name(),
            seed: config.seed,
            leeway: env!("CARGO_PKG_VERSION").to_owned(),
            wasmtime: Sandbox::engine_claim().wasmtime,
            elapsed_s: start.elapsed().as_secs_f64(),
        },
        models: results.models,
        links: config.links.iter().map(LinkInfo::from).collect(),
        policies: [ALL_LOCAL, ALL_FOG, THRESHOLD].map(str::to_owned).to_vec(),
        decisions: results.decisions,
    })
}

/// What the device's thread has found out.
struct Results {
    models: Vec<ModelInfo>,
    decisions: Vec<crate::study::DecisionRow>,
}

#[cfg(test)]
mod tests;
