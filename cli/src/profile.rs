//! Where a component's time goes: its stages run one by one.

use std::time::Duration;

use leeway_contract::{Tensor, TensorSpec};
use leeway_runtime::sandbox::{EngineKind, Limits, Sandbox, SandboxConfig};
use serde::Serialize;

/// Runs of each stage.
const RUNS: usize = 101;

/// How long one stage takes.
#[derive(Clone, Debug, Serialize)]
pub struct StageTime {
    /// Its number.
    pub stage: u32,
    /// The median of its runs, in nanoseconds.
    pub median_ns: u64,
    /// Its part of all stages' medians, 0 to 1.
    pub share: f64,
}

/// Measures each stage on zeros, passed on from stage to stage. Time does not
/// depend on the numbers, but for denormals.
pub fn stages(component: &[u8], engine: EngineKind) -> anyhow::Result<Vec<StageTime>> {
    let sandbox = Sandbox::new(SandboxConfig::with_engine(engine))?;
    let module = sandbox.load(component)?;
    let mut instance = module.instantiate()?;
    let certificate = module.certificate();
    let mut tensors: Vec<Tensor> = certificate.inputs().iter().map(zeros).collect();
    let mut medians = Vec::new();
    for stage in 0..=certificate.last_stage() {
        let mut times: Vec<Duration> = Vec::with_capacity(RUNS);
        let mut outputs = Vec::new();
        for _ in 0..RUNS {
            let run = instance.run(stage..=stage, &tensors, &Limits::default())?;
            times.push(run.elapsed);
            outputs = run.outputs;
        }
        times.sort_unstable();
        medians.push(times[RUNS / 2].as_nanos() as u64);
        tensors = outputs;
    }
    let total = medians.iter().sum::<u64>().max(1) as f64;
    let time = |(stage, median_ns): (u32, u64)| StageTime {
        stage,
        median_ns,
        share: median_ns as f64 / total,
    };
    Ok((0..).zip(medians).map(time).collect())
}

fn zeros(spec: &TensorSpec) -> Tensor {
    Tensor {
        dtype: spec.dtype,
        shape: spec.shape.clone(),
        data: vec![0; spec.size_bytes().unwrap_or_default()],
    }
}
