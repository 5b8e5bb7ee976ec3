//! What a component needs, found by running it: fuel and memory for the inputs
//! given and for random ones. A run has an instance of its own, so that the fuel
//! for an input is the same each time.

use leeway_contract::section::{self, GoldenVector};
use leeway_contract::{Bound, Certificate, Fuel, Tensor};
use leeway_runtime::sandbox::{Execution, Instance, Limits, RunError, Sandbox, SandboxConfig};

use crate::error::InterpretError;
use crate::random::inputs_of;

/// The size of a page of linear memory.
const PAGE_BYTES: u64 = 65536;

/// Fuel that no run exhausts.
const PLENTY: Fuel = Fuel(1 << 60);

/// All that a 32-bit memory can be.
const WHOLE_MEMORY_BYTES: u64 = 1 << 32;

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// What is certified over the most that was seen, in percent of it.
    pub margin_percent: u32,
    /// How many random inputs are run besides those given.
    pub random_inputs: usize,
    /// How many of the inputs given become golden vectors.
    pub golden_vectors: usize,
}

impl Default for Measure {
    fn default() -> Self {
        Self { margin_percent: 25, random_inputs: 12, golden_vectors: 4 }
    }
}

/// A component with a certificate that was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The bytes to deploy.
    pub component: Vec<u8>,
    /// What is in its certificate.
    pub certificate: Certificate,
    /// Its golden vectors.
    pub golden: Vec<GoldenVector>,
    /// The least and the most fuel that a run took.
    pub fuel: (Fuel, Fuel),
    /// The most memory that a run took, in bytes.
    pub memory_bytes: u64,
    /// How many inputs ran.
    pub runs: usize,
}

/// Measures a component that has no certificate yet, and gives it one. Fuel and
/// memory in `draft` are replaced; the rest of it is kept.
pub fn measure(
    component: &[u8],
    draft: &Certificate,
    given: Vec<Vec<Tensor>>,
    how: &Measure,
) -> Result<Measured, InterpretError> {
    let mut lavish = draft.clone();
    allow(&mut lavish, PLENTY, WHOLE_MEMORY_BYTES);
    let mut bytes = component.to_vec();
    section::append(&mut bytes, &mut lavish, &[]);
    let sandbox = Sandbox::new(SandboxConfig::default())
        .map_err(|error| InterpretError::Guest(error.to_string()))?;
    let mut bench = Bench::new(sandbox.load(&bytes)?.instantiate().map_err(nothing_runs)?);

    let mut golden = Vec::new();
    for (input, tensors) in given.into_iter().enumerate() {
        let failed = |source| InterpretError::Run { input, source };
        let first = bench.run(&tensors).map_err(failed)?;
        if golden.len() == how.golden_vectors {
            continue;
        }
        let again = bench.run(&tensors).map_err(failed)?;
        if again.outputs != first.outputs || again.fuel != first.fuel {
            let (first, again) = (first.fuel, again.fuel);
            return Err(InterpretError::Unrepeatable { input, first, again });
        }
        golden.push(GoldenVector { inputs: tensors, outputs: first.outputs });
    }
    let mut refused = None;
    for number in 0..how.random_inputs {
        // Not every model takes every input: an index may be out of range.
        refused = bench.run(&inputs_of(draft.inputs(), number)).err().or(refused);
    }
    let (Some(fuel), memory_bytes, runs) = (bench.fuel, bench.memory_bytes, bench.runs) else {
        return Err(match refused {
            Some(refused) => InterpretError::NothingRuns(refused),
            None => InterpretError::Guest("there was nothing to run it on".into()),
        });
    };

    let mut certificate = draft.clone();
    let over = |seen: u64| seen.saturating_add(seen / 100 * u64::from(how.margin_percent));
    let memory_limit = over(memory_bytes).next_multiple_of(PAGE_BYTES).min(WHOLE_MEMORY_BYTES);
    allow(&mut certificate, Fuel(over(fuel.1.0)), memory_limit);
    let mut component = component.to_vec();
    section::append(&mut component, &mut certificate, &golden);
    Ok(Measured { component, certificate, golden, fuel, memory_bytes, runs })
}

fn nothing_runs(error: RunError) -> InterpretError {
    InterpretError::NothingRuns(error)
}

/// Writes limits into a certificate of one stage.
fn allow(certificate: &mut Certificate, fuel: Fuel, memory_bytes: u64) {
    for stage in &mut certificate.stages {
        stage.bound = Bound::Measured;
        stage.fuel.compute = fuel;
        for layer in &mut stage.layers {
            layer.fuel = fuel;
        }
    }
    certificate.memory_bytes = memory_bytes;
}

/// An instance, and what its runs took.
struct Bench {
    instance: Instance,
    fuel: Option<(Fuel, Fuel)>,
    memory_bytes: u64,
    runs: usize,
}

impl Bench {
    fn new(instance: Instance) -> Self {
        Self { instance, fuel: None, memory_bytes: 0, runs: 0 }
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Execution, RunError> {
        let run = self.instance.run(0..=0, inputs, &Limits::default())?;
        let (least, most) = self.fuel.unwrap_or((run.fuel, run.fuel));
        self.fuel = Some((least.min(run.fuel), most.max(run.fuel)));
        self.memory_bytes = self.memory_bytes.max(run.memory_bytes);
        self.runs += 1;
        Ok(run)
    }
}
