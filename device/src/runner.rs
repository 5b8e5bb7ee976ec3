//! What runs a version on the device: the offloader, where there is a fog host;
//! straight in the sandbox, where there is none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use leeway_contract::Tensor;
use leeway_deploy::serving::{Instances, Launch, Ran, RunFailure, Runner};
use leeway_runtime::offload::clock::MonotonicClock;
use leeway_runtime::offload::fog::HttpFog;
use leeway_runtime::offload::policy::Threshold;
use leeway_runtime::offload::report::Reports;
use leeway_runtime::offload::{InferError, Offloader, Options, ProbeThread, Task, TaskId};
use leeway_runtime::sandbox::{Limits, Module};

/// How often the offloader looks whether it should probe.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// How versions are run, with this fog host; what comes of inputs is noted in `reports`.
/// What is known of the link and of the host outlives versions: it is the host's.
pub(crate) fn launch(fog: Option<Arc<HttpFog>>, reports: Arc<Reports>) -> std::io::Result<Launch> {
    let Some(fog) = fog else { return Ok(Arc::new(Instances::launch)) };
    let clock = Arc::new(MonotonicClock::new());
    let policy = Box::new(Threshold::default());
    let host = Offloader::new(policy, fog, clock, Options::default());
    let probing = host.prober().spawn(PROBE_INTERVAL)?;
    let hub = Arc::new(Mutex::new((host, probing)));
    Ok(Arc::new(move |module, deadline| {
        let runner = Offloaded::new(module, deadline, &hub, Arc::clone(&reports))?;
        Ok(Box::new(runner) as Box<dyn Runner>)
    }))
}

/// The offloader of the fog host itself, which has no task, and its prober.
type Hub = Mutex<(Offloader, ProbeThread)>;

/// One version behind an offloader: one input at a time.
struct Offloaded {
    offloader: Mutex<Offloader>,
    task: TaskId,
    reports: Arc<Reports>,
}

impl Offloaded {
    fn new(
        module: &Module,
        deadline: Option<Duration>,
        hub: &Hub,
        reports: Arc<Reports>,
    ) -> Result<Self, RunFailure> {
        let policy = Box::new(Threshold::default());
        let hub = hub.lock().unwrap_or_else(PoisonError::into_inner);
        let mut offloader = hub.0.beside(policy);
        drop(hub);
        let mut instance = module.instantiate()?;
        // One run tells the threshold's side of the device.
        let zeros = |spec: &leeway_contract::TensorSpec| Tensor {
            dtype: spec.dtype,
            shape: spec.shape.clone(),
            data: vec![0; spec.size_bytes().unwrap_or_default()],
        };
        let inputs: Vec<Tensor> = module.certificate().inputs().iter().map(zeros).collect();
        let stages = 0..=module.certificate().last_stage();
        let wcet = instance.run(stages, &inputs, &Limits::default())?.elapsed;
        let task = offloader.add(Task {
            name: module.certificate().model.name.clone(),
            local: Box::new(instance),
            wcet,
            watch: None,
            deadline,
            component: None,
        });
        Ok(Self { offloader: Mutex::new(offloader), task, reports })
    }
}

impl Runner for Offloaded {
    fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure> {
        let start = Instant::now();
        let mut offloader = self.offloader.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = offloader.infer(self.task, inputs, None).map_err(failure)?;
        drop(offloader);
        self.reports.note(&answer.record);
        Ok(Ran {
            elapsed: start.elapsed(),
            local: answer.record.local,
            fuel: answer.record.fuel,
            outputs: answer.outputs,
            decision: Some(Box::new(answer.record)),
        })
    }
}

/// A wrong input is not the model's fault.
fn failure(error: InferError) -> RunFailure {
    use leeway_runtime::sandbox::RunError;
    let wrong_input = match &error {
        InferError::Local { source, .. } => source
            .0
            .downcast_ref::<RunError>()
            .is_some_and(|e| matches!(e, RunError::Input(_) | RunError::InputCount { .. })),
        _ => true,
    };
    RunFailure::new(error, !wrong_input)
}
