//! The models on the device.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use leeway_contract::{Certificate, Digest, Tensor};
use leeway_runtime::offload::local::{Local, LocalError, LocalRun};
use leeway_runtime::sandbox::{Instance, Module, Sandbox};
use leeway_runtime::timing::{Calibration, Watch};

use super::{ExperimentError, Model, Refused};
use crate::study::ModelInfo;

/// One model on the device. Clones share the instance.
#[derive(Clone)]
pub(super) struct OnDevice {
    module: Module,
    instance: Arc<Mutex<Instance>>,
}

impl OnDevice {
    pub fn load(sandbox: &Sandbox, model: &Model) -> Result<Self, ExperimentError> {
        let name = || model.name.clone();
        let module =
            sandbox.load(&model.component).map_err(|source| Refused { model: name(), source })?;
        let instance = module
            .instantiate()
            .map_err(|source| ExperimentError::Instantiate { model: name(), source })?;
        Ok(Self { module, instance: Arc::new(Mutex::new(instance)) })
    }

    /// Of the model as it was calibrated, and as it has been watched since.
    pub fn info(&self, model: &Model, calibration: &Calibration, watch: &Watch) -> ModelInfo {
        let certificate = self.module.certificate();
        let bytes = |specs: &[leeway_contract::TensorSpec]| {
            specs.iter().filter_map(|spec| spec.size_bytes()).sum::<usize>() as u64
        };
        let ns = leeway_runtime::nanos::of;
        let (timing, seen) = (&calibration.warm.whole, watch.seen());
        ModelInfo {
            name: model.name.clone(),
            digest: self.module.digest().to_string(),
            fuel: certificate.total_fuel().0,
            macs: certificate.macs(),
            input_bytes: bytes(certificate.inputs()),
            component_bytes: model.component.len() as u64,
            wcet_ns: ns(timing.worst_input),
            median_ns: ns(timing.median()),
            calibration_ns: calibration.samples.iter().map(|sample| sample.ns).collect(),
            deadline_ns: ns(model.deadline),
            bound_ns: ns(watch.bound().time),
            executions: seen.runs,
            exceeded: seen.exceeded,
        }
    }
}

impl Local for OnDevice {
    fn digest(&self) -> Digest {
        self.module.digest()
    }

    fn certificate(&self) -> &Certificate {
        self.module.certificate()
    }

    fn run(
        &mut self,
        stages: RangeInclusive<u32>,
        inputs: &[Tensor],
    ) -> Result<LocalRun, LocalError> {
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        Local::run(&mut *instance, stages, inputs)
    }
}
