//! The offloader in simulated time, and against real sockets with faults.

mod changes;
mod faults;
mod runner;
mod simulated;
mod streams;

use leeway_contract::certificate::{Compiler, FORMAT, Model};
use leeway_contract::{
    Bound, Certificate, DType, Digest, EngineClaim, Fuel, Stage, StageFuel, TensorSpec,
};

/// Of a model `FP32[1,4] -> FP32[1,4]` with one stage, whose run burns 1,000
/// units of fuel.
pub(crate) fn certificate() -> Certificate {
    certificate_with(1)
}

/// The same with so many stages, whose runs burn 1,000 units together.
pub(crate) fn certificate_with(stages: usize) -> Certificate {
    let spec = |name: &str| TensorSpec { name: name.into(), dtype: DType::F32, shape: vec![1, 4] };
    let stage = |index: usize| Stage {
        name: format!("s{index}"),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        fuel: StageFuel { compute: Fuel(1_000 / stages as u64), ..StageFuel::default() },
        bound: Bound::Static,
        macs: 16,
        weight_bytes: 64,
        layers: vec![],
    };
    Certificate {
        format: FORMAT,
        model: Model { name: "m".into(), version: "1".into(), source: Digest::of(b"onnx") },
        compiler: Compiler { name: "test".into(), version: "0".into() },
        engine: EngineClaim::of_compiled("48.0.0", "table"),
        call_fuel: Fuel(0),
        stages: (0..stages).map(stage).collect(),
        memory_bytes: 65_536,
        activation_bytes: 32,
        golden: vec![],
        labels: None,
        preprocessing: None,
    }
}
