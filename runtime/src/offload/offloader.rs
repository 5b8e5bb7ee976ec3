//! The offloader: for every input it asks the policy, tries the fog host if that
//! is the decision, and runs the input on the device if it is not or if the fog
//! host fails. No input is lost, and of every input it is written down what was
//! believed, decided and measured.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leeway_contract::Tensor;

use super::beliefs::{Beliefs, ProbeRule};
use super::clock::Clock;
use super::energy::EnergyModel;
use super::fog::{Fog, FogAnswer, FogError, InferRequest};
use super::host::Host;
use super::local::{Local, LocalError};
use super::policy::{Context, Placement, Policy};
use super::prober::Prober;
use super::record::{DecisionRecord, FogFailure, Offloaded, Outcome};
use super::subject::{Course, Moment, Subject};
use crate::thermal::Level;
use crate::timing::Watch;

/// One model that the offloader serves.
pub struct Task {
    /// Its name in the records.
    pub name: String,
    /// Executes it on the device.
    pub local: Box<dyn Local>,
    /// The execution time of its worst input there, from calibration
    /// ([`crate::timing::Timing::worst_input`]): what is compared with T_L + T_F,
    /// for a threshold that a single hiccup had raised for good would offload what
    /// the device does faster.
    pub wcet: Duration,
    /// What is promised of its execution time, where it was calibrated for that.
    /// Every local execution feeds it.
    pub watch: Option<Arc<Watch>>,
    /// The deadline of an input, from its release.
    pub deadline: Option<Duration>,
    /// The component's bytes, to send to a fog host that lacks it.
    pub component: Option<Arc<[u8]>>,
}

/// How long to wait for the fog host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitRule {
    /// A multiple of what is expected, within bounds.
    Estimate {
        /// The multiple of T_L + T_F.
        factor: u32,
        /// At least this: a retransmission must not look like an outage.
        floor: Duration,
        /// At most this, and where there is no estimate.
        ceiling: Duration,
    },
    /// As long as the device can still answer in time: until the deadline less
    /// the bound on its time and a margin. Without a deadline, the fallback's ceiling.
    Deadline {
        /// Time kept for everything but the execution.
        margin: Duration,
        /// Where a task has no deadline.
        ceiling: Duration,
    },
}

impl Default for WaitRule {
    /// Four times the estimate, from 0.5 to 5 s.
    fn default() -> Self {
        WaitRule::Estimate {
            factor: 4,
            floor: Duration::from_millis(500),
            ceiling: Duration::from_secs(5),
        }
    }
}

impl WaitRule {
    /// When the device begins by itself, where that is by the deadline.
    fn armed(&self, context: &Context) -> Option<Duration> {
        match self {
            WaitRule::Estimate { .. } => None,
            WaitRule::Deadline { .. } => context.deadline.map(|_| self.limit(context)),
        }
    }

    /// The limit for an input.
    fn limit(&self, context: &Context) -> Duration {
        match *self {
            WaitRule::Estimate { factor, floor, ceiling } => {
                match (context.transfer, context.fog) {
                    (Some(transfer), Some(fog)) => transfer
                        .saturating_add(fog)
                        .saturating_mul(factor)
                        .clamp(floor.min(ceiling), ceiling),
                    _ => ceiling,
                }
            }
            WaitRule::Deadline { margin, ceiling } => match context.deadline {
                Some(left) => left.saturating_sub(context.bound).saturating_sub(margin),
                None => ceiling,
            },
        }
    }
}

/// The settings of an [`Offloader`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long to wait for the fog host.
    pub wait: WaitRule,
    /// When to probe it.
    pub probe: ProbeRule,
}

/// Names a task of one offloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(usize);

/// An answered input.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The outputs of the model.
    pub outputs: Vec<Tensor>,
    /// How it came about.
    pub record: DecisionRecord,
}

/// Why an input has no answer: neither machine has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// No such task.
    #[error("no task {0:?} in this offloader")]
    NoTask(TaskId),
    /// The device failed, after the fog host or without it.
    #[error("task {task:?}: {source}{}", after(fog_failure))]
    Local {
        /// The task's name.
        task: String,
        /// What happened on the device.
        source: LocalError,
        /// What happened on the fog host, where it was asked.
        fog_failure: Option<FogFailure>,
    },
}

fn after(fog_failure: &Option<FogFailure>) -> String {
    fog_failure.as_ref().map_or(String::new(), |f| format!(" (and before that: {})", f.message))
}

struct TaskState {
    local: Box<dyn Local>,
    component: Option<Arc<[u8]>>,
    last_stage: u32,
    subject: Subject,
}

/// Places each input on the device or on the fog host.
pub struct Offloader {
    tasks: Vec<TaskState>,
    policy: Box<dyn Policy>,
    host: Arc<Host>,
}

impl fmt::Debug for Offloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offloader")
            .field("policy", &self.policy)
            .field("tasks", &self.tasks.len())
            .field("host", &self.host)
            .finish()
    }
}

impl Offloader {
    /// An offloader without tasks, for one fog host.
    pub fn new(
        policy: Box<dyn Policy>,
        fog: Arc<dyn Fog>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        Self::of(policy, &Arc::new(Host::new(fog, clock, options)))
    }

    /// An offloader without tasks for a fog host that others use, too: what one of them
    /// learns of the link and of the host, all know, and they need one prober.
    pub fn of(policy: Box<dyn Policy>, host: &Arc<Host>) -> Self {
        Self { tasks: Vec::new(), policy, host: Arc::clone(host) }
    }

    /// Another offloader for the same fog host, without tasks.
    pub fn beside(&self, policy: Box<dyn Policy>) -> Self {
        Self::of(policy, &self.host)
    }

    /// Adds a task.
    pub fn add(&mut self, task: Task) -> TaskId {
        let Task { name, local, wcet, watch, deadline, component } = task;
        let certificate = local.certificate();
        let last_stage = certificate.last_stage();
        let subject = Subject::new(name, local.digest(), certificate, wcet, watch, deadline);
        let state = TaskState { local, component, last_stage, subject };
        self.tasks.push(state);
        TaskId(self.tasks.len() - 1)
    }

    /// The policy's name.
    pub fn policy(&self) -> &'static str {
        self.policy.name()
    }

    /// A prober for this offloader's estimates, which can push the modules of
    /// the tasks that have been added so far.
    pub fn prober(&self) -> Prober {
        let component =
            |state: &TaskState| Some((state.subject.digest(), state.component.clone()?));
        let components: HashMap<_, _> = self.tasks.iter().filter_map(component).collect();
        Prober::new(Arc::clone(&self.host), components)
    }

    /// Lets records and policies know what each choice takes of the device's energy.
    pub fn set_energy(&mut self, model: Arc<dyn EnergyModel>) {
        self.host.beliefs().set_energy(model);
    }

    /// The device is so hot: above the soft limit, policies that are
    /// [`Cooling`](super::policy::Cooling) prefer the fog host.
    pub fn set_heat(&mut self, heat: Level) {
        self.host.beliefs().set_heat(heat);
    }

    /// Looks at what is believed at the moment.
    pub fn inspect<T>(&self, look: impl FnOnce(&Beliefs) -> T) -> T {
        look(&self.host.beliefs())
    }

    /// Answers one input, which was released at the time `released` of the
    /// offloader's clock (`None`: now).
    ///
    /// # Errors
    /// Only where the device itself cannot run the input.
    pub fn infer(
        &mut self,
        id: TaskId,
        inputs: &[Tensor],
        released: Option<Duration>,
    ) -> Result<Answer, InferError> {
        let host = &*self.host;
        let state = self.tasks.get_mut(id.0).ok_or(InferError::NoTask(id))?;
        let start = host.clock.now();
        let released = released.map_or(start, |released| released.min(start));
        let moment =
            Moment { now: start, age: start - released, armed: None, backlog: Duration::ZERO };
        let mut context = state.subject.context(&host.beliefs(), moment);
        context.armed = host.options.wait.armed(&context);
        let decision = self.policy.decide(&context);

        let mut fog_failure = None;
        let mut answered = None;
        if decision.placement == Placement::Fog {
            match host.ask(state, &context, inputs) {
                Ok(answer) => answered = Some(answer),
                Err(failure) => {
                    tracing::warn!(task = state.subject.name(), "{}", failure.message);
                    fog_failure = Some(failure);
                }
            }
        }
        let (outputs, offloaded, local, fuel) = match answered {
            Some((answer, measured)) => (answer.outputs, Some(measured), None, answer.time.fuel),
            None => match state.local.run(0..=state.last_stage, inputs) {
                Ok(run) => {
                    state.subject.ran(run.elapsed);
                    (run.outputs, None, Some(run.elapsed), run.fuel)
                }
                Err(source) => {
                    let task = state.subject.name().to_owned();
                    return Err(InferError::Local { task, source, fog_failure });
                }
            },
        };

        let latency = host.clock.now().saturating_sub(released);
        let outcome = match (&offloaded, &fog_failure) {
            (Some(_), _) => Outcome::Fog,
            (None, Some(_)) => Outcome::Fallback,
            (None, None) => Outcome::Local,
        };
        let unanswered = None;
        let course = Course {
            outcome,
            released,
            latency,
            deadline: state.subject.deadline(),
            offloaded,
            fog_failure,
            unanswered,
            local,
            fuel,
        };
        let policy = self.policy.name();
        let record = state.subject.record(&host.beliefs(), policy, &context, decision, course);
        self.policy.observe(&record);
        Ok(Answer { outputs, record })
    }
}

impl Host {
    /// Asks the fog host, within the limit, and learns from the result.
    fn ask(
        &self,
        state: &mut TaskState,
        context: &Context,
        inputs: &[Tensor],
    ) -> Result<(FogAnswer, Offloaded), FogFailure> {
        let limit = self.options.wait.limit(context);
        if limit.is_zero() {
            let error = FogError::TimedOut { limit };
            return Err(FogFailure::new(&error, Duration::ZERO));
        }
        let request = InferRequest {
            id: self.requests.fetch_add(1, Ordering::Relaxed),
            digest: state.subject.digest(),
            certificate: state.local.certificate(),
            stages: 0..=state.last_stage,
            inputs,
        };
        let start = self.clock.now();
        let result = self.fog.infer(&request, limit);
        let now = self.clock.now();
        let round_trip = now.saturating_sub(start);
        match result {
            Ok(answer) => {
                let mut beliefs = self.beliefs();
                let offloaded = state.subject.answered(&mut beliefs, now, &answer, round_trip);
                Ok((answer, offloaded))
            }
            Err(error) => {
                let rule = &self.options.probe.back_off;
                let mut beliefs = self.beliefs();
                Err(state.subject.not_answered(&mut beliefs, now, &error, round_trip, rule))
            }
        }
    }
}
