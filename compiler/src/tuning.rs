//! Which kernel computes each problem, where that is chosen by measuring and not by an
//! estimate. What is chosen is plain data: who measures needs an engine, and this
//! crate has none.

use std::collections::BTreeMap;

use crate::error::CompileError;
use crate::schedule::Schedule;

/// For each problem, by [`Tunable::problem`], the kernel, by its name in the
/// certificate. Of other problems, the estimate decides.
pub type Tuning = BTreeMap<String, String>;

/// A layer that several kernels can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunable {
    /// Its number among the certificate's layers.
    pub layer: usize,
    /// What it computes: the same for layers that differ in their numbers only.
    pub problem: String,
    /// The kernels that may be the fastest; the first is the one by the estimate.
    pub kernels: Vec<String>,
}

/// Has the steps take their kernels, and returns what could have been chosen.
pub fn choose(
    schedule: &mut Schedule,
    tuning: &Tuning,
    file: &str,
) -> Result<Vec<Tunable>, CompileError> {
    let mut tunable = Vec::new();
    for (layer, step) in schedule.steps.iter_mut().enumerate() {
        let Some(problem) = step.kernel.problem() else { continue };
        let kernels = step.kernel.candidates();
        if let Some(kernel) = tuning.get(&problem)
            && !step.kernel.choose(kernel)
        {
            return Err(CompileError::Tuning {
                file: file.into(),
                problem,
                kernel: kernel.clone(),
                known: kernels.join(", "),
            });
        }
        tunable.push(Tunable { layer, problem, kernels });
    }
    Ok(tunable)
}
