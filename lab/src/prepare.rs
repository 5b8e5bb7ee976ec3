//! The reference models made ready for an experiment: compiled, with golden
//! vectors from their validation sets, and with their data as samples.

use std::sync::Arc;
use std::time::Duration;

use leeway_compiler::{CompileError, Options};
use leeway_guest_models::{DataError, ReferenceModel, reference_models};
use leeway_runtime::golden;
use leeway_runtime::offload::sensor::Sample;
use leeway_runtime::sandbox::{RunError, Sandbox, SandboxConfig, SandboxError};

use crate::experiment::{Model, Refused};

/// Golden vectors in each component.
const GOLDEN_VECTORS: usize = 4;

/// Why a model is not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The model's file.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The model's data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine that records the golden vectors.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The component was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The component did not run.
    #[error("model {model:?}: {source}")]
    Run {
        /// The model.
        model: String,
        /// Why.
        source: RunError,
    },
}

/// Compiles the reference models, in their own order.
pub fn prepare_reference_models() -> Result<Vec<Model>, PrepareError> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    reference_models().iter().map(|model| prepare(model, &sandbox)).collect()
}

/// How soon the answer is wanted. A stream of images is looked at 20 times a
/// second, a table's rows come faster; simple models serve tighter loops.
fn deadline(model: &ReferenceModel) -> Duration {
    Duration::from_millis(match model.name {
        "cnn-digits" => 50,
        "cnn-tabular" => 20,
        _ => 10,
    })
}

fn prepare(model: &ReferenceModel, sandbox: &Sandbox) -> Result<Model, PrepareError> {
    let options = Options {
        name: model.name.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        file: format!("{}/model.onnx", model.name),
        labels: Some(model.labels.iter().map(|label| label.to_string()).collect()),
        ..Options::default()
    };
    let compiled = leeway_compiler::compile(model.onnx, &options)?;
    let load = |source| Refused { model: model.name.to_string(), source };
    let run = |source| PrepareError::Run { model: model.name.to_string(), source };

    let validation: Vec<Vec<_>> =
        model.validation()?.inputs.into_iter().map(|input| vec![input]).collect();
    let unsealed = sandbox.load(&compiled.seal(&[]).component).map_err(load)?;
    let inputs = validation.iter().take(GOLDEN_VECTORS).cloned().collect();
    let golden = golden::record(&unsealed, inputs).map_err(run)?;

    let test = model.test()?;
    let samples = test.inputs.into_iter().zip(test.labels);
    Ok(Model {
        name: model.name.to_string(),
        component: Arc::from(compiled.seal(&golden).component),
        validation,
        test: samples
            .map(|(input, label)| Sample { inputs: vec![input], label: Some(label) })
            .collect(),
        deadline: deadline(model),
    })
}
