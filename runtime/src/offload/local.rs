//! The device's own executor as the offloader sees it.

use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel, Tensor};

use crate::sandbox::{Instance, Limits};

/// What a run on the device gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRun {
    /// The outputs of the last stage.
    pub outputs: Vec<Tensor>,
    /// The fuel that was burned.
    pub fuel: Fuel,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a run on the device gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the model did not run on the device: {0}")]
pub struct LocalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Runs one module on the device.
pub trait Local: Send {
    /// The module's digest.
    fn digest(&self) -> Digest;

    /// The module's certificate.
    fn certificate(&self) -> &Certificate;

    /// Runs the stages `stages` on the inputs of the first of them, for as long
    /// as the certificate's fuel lasts.
    fn run(
        &mut self,
        stages: RangeInclusive<u32>,
        inputs: &[Tensor],
    ) -> Result<LocalRun, LocalError>;
}

impl Local for Instance {
    fn digest(&self) -> Digest {
        self.module().digest()
    }

    fn certificate(&self) -> &Certificate {
        self.module().certificate()
    }

    fn run(
        &mut self,
        stages: RangeInclusive<u32>,
        inputs: &[Tensor],
    ) -> Result<LocalRun, LocalError> {
        let run = Instance::run(self, stages, inputs, &Limits::default())
            .map_err(|error| LocalError(Box::new(error)))?;
        Ok(LocalRun { outputs: run.outputs, fuel: run.fuel, elapsed: run.elapsed })
    }
}
