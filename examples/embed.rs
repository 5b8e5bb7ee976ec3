//! A program of your own that runs a model: load a component, check it against
//! its golden vectors, run it within a deadline.
//!
//! `cargo run --release -p leeway-runtime --example embed -- model.wasm`

use std::time::Duration;

use leeway_contract::Tensor;
use leeway_runtime::golden;
use leeway_runtime::sandbox::{Limits, RunError, Sandbox, SandboxConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: embed MODEL.wasm")?;
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    let module = sandbox.load_file(&path)?;
    golden::replay(&module)?;

    let certificate = module.certificate();
    println!("{} {}: {}", certificate.model.name, certificate.model.version, module.digest());
    println!("{} fuel for each inference, whatever the input", certificate.total_fuel());

    // Zeros, where your sensor's data would be.
    let inputs: Vec<Tensor> = certificate
        .inputs()
        .iter()
        .map(|spec| Tensor {
            dtype: spec.dtype,
            shape: spec.shape.clone(),
            data: vec![0; spec.size_bytes().unwrap_or_default()],
        })
        .collect();

    let mut instance = module.instantiate()?;
    let limits = Limits::within(Duration::from_millis(100));
    match instance.run(0..=certificate.last_stage(), &inputs, &limits) {
        Ok(run) => println!("{:?} in {:?}, {} fuel", run.outputs, run.elapsed, run.fuel),
        Err(RunError::DeadlinePassed { deadline }) => println!("not within {deadline:?}"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
