//! What `leeway inspect --profile` measures: each layer's time, and the time until
//! the first one can run.

use std::time::{Duration, Instant};

use leeway_runtime::sandbox::{EngineKind, Module, Sandbox, SandboxConfig, profile};
use serde::Serialize;

/// How often an instance is made.
const INSTANCES: usize = 50;

/// Times on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub engine: EngineKind,
    pub rounds: u32,
    pub compile_ns: u64,
    pub machine_code_bytes: usize,
    pub instantiate_ns: u64,
    pub whole_ns: u64,
    pub layers_ns: u64,
    pub layers: Vec<LayerTime>,
}

/// How long one layer takes.
#[derive(Clone, Debug, Serialize)]
pub struct LayerTime {
    pub stage: u32,
    pub name: String,
    pub ns: u64,
    /// Of the sum of all layers, 0 to 1.
    pub share: f64,
}

/// Measures a component.
pub fn measure(component: &[u8], engine: EngineKind) -> anyhow::Result<Measured> {
    let module = Sandbox::new(SandboxConfig::with_engine(engine))?.load(component)?;
    let instantiate_ns = nanoseconds(instantiation(&module)?);
    let profile = profile::measure(&module, component)?;
    let layers_ns = nanoseconds(profile.layers.iter().sum());
    let layer = |((stage, layer), &time): ((u32, &leeway_contract::certificate::Layer), _)| {
        let ns = nanoseconds(time);
        LayerTime {
            stage,
            name: layer.name.clone(),
            ns,
            share: ns as f64 / layers_ns.max(1) as f64,
        }
    };
    Ok(Measured {
        engine,
        rounds: profile.rounds,
        compile_ns: nanoseconds(module.compile_time()),
        machine_code_bytes: module.code_bytes(),
        instantiate_ns,
        whole_ns: nanoseconds(profile.whole),
        layers_ns,
        layers: module.certificate().layers().zip(&profile.layers).map(layer).collect(),
    })
}

/// The least time that it takes to make an instance.
fn instantiation(module: &Module) -> anyhow::Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..INSTANCES {
        let start = Instant::now();
        let instance = module.instantiate()?;
        least = least.min(start.elapsed());
        drop(instance);
    }
    Ok(least)
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}
