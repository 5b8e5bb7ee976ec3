//! What runs models on the device: one executor for all streams, whose deadlines are
//! kept; and for models without a stream, when there is time, the offloader, where there
//! is a fog host, or straight the sandbox, where there is none.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use leeway_contract::{Certificate, Digest, Tensor};
use leeway_deploy::serving::{Fault, Instances, Launch, Ran, RunFailure, Runner, Times};
use leeway_runtime::offload::clock::MonotonicClock;
use leeway_runtime::offload::energy::EnergyModel;
use leeway_runtime::offload::fog::HttpFog;
use leeway_runtime::offload::local::{Local, LocalError, LocalRun};
use leeway_runtime::offload::{
    self, Host, InferError, Offloader, Options, ProbeThread, Prober, RunnerError, Setup, Task,
    TaskId,
};
use leeway_runtime::power::Prices;
use leeway_runtime::sandbox::{Instance, Module, RunError};
use leeway_runtime::timing::Store;

use crate::config::{Config, ConfigError, PolicyName, nowhere_else};

/// How often it is looked whether the fog host should be probed.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Why nothing can be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunningError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What models are run by.
pub(crate) struct Running {
    /// The streams' executor.
    pub streams: Arc<offload::Runner>,
    /// How versions without a stream are run.
    pub launch: Launch,
    /// Keeps what is believed of the fog host fresh.
    pub probing: Option<ProbeThread>,
}

impl Running {
    /// By this configuration, with this fog host. What is known of the link and of the
    /// host outlives versions.
    pub fn start(
        config: &Config,
        fog: Option<Arc<HttpFog>>,
        calibrations: Store,
    ) -> Result<Self, RunningError> {
        let name = config.offload.policy;
        let (host, policy) = match fog.clone() {
            Some(fog) => {
                let clock = Arc::new(MonotonicClock::new());
                (Host::new(fog, clock, Options::default()), name.policy())
            }
            None => (Host::none(), nowhere_else()),
        };
        let host = Arc::new(host);
        if let Some(model) = config.power {
            host.set_energy(Arc::new(Prices::declared(model)) as Arc<dyn EnergyModel>);
        }
        let setup = Setup {
            executor: config.executor()?,
            policy,
            host: Arc::clone(&host),
            real_time: config.real_time()?,
            thermal: Some(config.monitor(calibrations)?),
        };
        let streams = Arc::new(offload::Runner::start(setup)?);
        let (launch, probing): (Launch, _) = match fog {
            Some(_) => {
                let prober = Prober::new(Arc::clone(&host), Default::default());
                (launch(host, name), Some(prober.spawn(PROBE_INTERVAL)?))
            }
            None => (Arc::new(Instances::launch), None),
        };
        Ok(Self { streams, launch, probing })
    }
}

fn launch(host: Arc<Host>, policy: PolicyName) -> Launch {
    Arc::new(move |module, times| {
        let offloader = Offloader::of(policy.policy(), &host);
        Ok(Box::new(Offloaded::new(module, times, offloader)?))
    })
}

/// One version behind an offloader: one input at a time.
struct Offloaded {
    offloader: Mutex<Offloader>,
    task: TaskId,
}

impl Offloaded {
    fn new(module: &Module, times: &Times, mut offloader: Offloader) -> Result<Self, RunFailure> {
        let task = offloader.add(Task {
            name: module.certificate().model.name.clone(),
            local: Box::new(Lazy { module: module.clone(), instance: None }),
            wcet: times.wcet.unwrap_or(Duration::ZERO),
            watch: times.watch.clone(),
            deadline: times.limit,
            component: None,
        });
        Ok(Self { offloader: Mutex::new(offloader), task })
    }
}

impl Runner for Offloaded {
    fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure> {
        let start = Instant::now();
        let mut offloader = self.offloader.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = offloader.infer(self.task, inputs, None).map_err(failure)?;
        drop(offloader);
        Ok(Ran {
            elapsed: start.elapsed(),
            local: answer.record.local,
            fuel: answer.record.fuel,
            outputs: answer.outputs,
            overrun: false,
            decision: Some(Box::new(answer.record)),
        })
    }
}

/// A module that has its instance with the first input that runs here: one with streams
/// may never have any.
struct Lazy {
    module: Module,
    instance: Option<Instance>,
}

impl Local for Lazy {
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
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => {
                let new = self.module.instantiate();
                none.insert(new.map_err(|error| LocalError(Box::new(error)))?)
            }
        };
        Local::run(instance, stages, inputs)
    }
}

/// A run's own error says what is at fault; all else is wrong before anything ran.
fn failure(error: InferError) -> RunFailure {
    let fault = match &error {
        InferError::Local { source, .. } => {
            source.0.downcast_ref::<RunError>().map_or(Fault::Model, Fault::of_run)
        }
        _ => Fault::Input,
    };
    RunFailure::of(fault, error)
}
