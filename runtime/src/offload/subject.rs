//! What of a task the decision needs: the module, its times, and how its records
//! are written. Pure bookkeeping, shared by everything that places inputs.

use std::sync::Arc;
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel, TensorSpec};

use super::beliefs::Beliefs;
use super::energy::ChoiceEnergy;
use super::fog::{FogAnswer, FogError, Traffic};
use super::health::BackOffRule;
use super::policy::{Context, Decision};
use super::record::{DecisionRecord, Estimates, FogFailure, Offloaded, Outcome};
use crate::power::{Basis, Computing};
use crate::timing::Watch;

/// What an exchange is taken to move over the tensors' own bytes, before the
/// first one has shown it.
const ASSUMED_OVERHEAD_BYTES: u64 = 500;

/// One task as it is placed.
#[derive(Debug)]
pub struct Subject {
    name: String,
    digest: Digest,
    last_stage: u32,
    fuel: Fuel,
    wcet: Duration,
    watch: Option<Arc<Watch>>,
    /// Its power on the device, where that was measured.
    computing: Option<Computing>,
    /// The watch's bound to begin with.
    promised: Duration,
    deadline: Option<Duration>,
    next_sequence: u64,
    /// Of the last inference on the fog host; before that, by the certificate.
    traffic: Traffic,
}

/// When and how an input is placed.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time.
    pub now: Duration,
    /// Since the input's release.
    pub age: Duration,
    /// How long from now the device begins by itself; see [`Context::armed`].
    pub armed: Option<Duration>,
    /// The device's work before this input.
    pub backlog: Duration,
}

/// What came of a placed input.
#[derive(Debug)]
pub struct Course {
    /// Where the answer came from.
    pub outcome: Outcome,
    /// When the input was released.
    pub released: Duration,
    /// From then to the answer.
    pub latency: Duration,
    /// From then to when it was due, as it was promised when it was taken.
    pub deadline: Option<Duration>,
    /// Where the fog host answered.
    pub offloaded: Option<Offloaded>,
    /// Where it was asked and failed.
    pub fog_failure: Option<FogFailure>,
    /// Where it was asked and had not answered by then: for how long.
    pub unanswered: Option<Duration>,
    /// The execution time on the device.
    pub local: Option<Duration>,
    /// The fuel of the answer.
    pub fuel: Fuel,
}

impl Subject {
    /// A task of this module, before its first input. Its arguments are those of
    /// [`Task`](super::Task).
    pub fn new(
        name: String,
        digest: Digest,
        certificate: &Certificate,
        wcet: Duration,
        watch: Option<Arc<Watch>>,
        deadline: Option<Duration>,
    ) -> Self {
        let bytes = |specs: &[TensorSpec]| {
            specs.iter().filter_map(|s| s.size_bytes()).sum::<usize>() as u64
        };
        let traffic = Traffic {
            up_bytes: bytes(certificate.inputs()) + ASSUMED_OVERHEAD_BYTES,
            down_bytes: bytes(certificate.outputs()) + ASSUMED_OVERHEAD_BYTES,
        };
        let (fuel, last_stage) = (certificate.total_fuel(), certificate.last_stage());
        let promised = watch.as_ref().map_or(wcet, |watch| watch.bound().time);
        let energy = watch.as_ref().and_then(|watch| watch.energy());
        let computing = energy.map(|energy| energy.computing());
        let computing = computing.filter(|computing| computing.basis != Basis::Modelled);
        let next_sequence = 0;
        Self {
            name,
            digest,
            last_stage,
            fuel,
            wcet,
            watch,
            computing,
            promised,
            deadline,
            next_sequence,
            traffic,
        }
    }

    /// It was admitted with this time, whatever its watch says by now.
    pub fn admitted_with(self, promised: Duration) -> Self {
        Self { promised, ..self }
    }

    /// The same module as it is admitted now: what has been learned of it stays.
    pub fn renew(&mut self, newer: Self) {
        let (next_sequence, traffic) = (self.next_sequence, self.traffic);
        *self = Self { next_sequence, traffic, ..newer };
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its module.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// From an input's release to its answer, at most.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The last of its stages.
    pub fn last_stage(&self) -> u32 {
        self.last_stage
    }

    /// The fuel that the module is certified for.
    pub fn fuel(&self) -> Fuel {
        self.fuel
    }

    /// By how much more is promised of its execution time than to begin with: since a
    /// run exceeded the promise, or while the clock is slower. At least 1.
    pub fn lengthened(&self) -> f64 {
        let bound = self.watch.as_ref().map_or(self.promised, |watch| watch.bound().time);
        (bound.as_secs_f64() / self.promised.as_secs_f64().max(1e-9)).max(1.0)
    }

    /// What is known of an input at this moment. It allocates nothing.
    pub fn context(&self, beliefs: &Beliefs, moment: Moment) -> Context {
        let Moment { now, age, armed, backlog } = moment;
        let transfer = beliefs.transfer(self.traffic);
        let fog = beliefs.fog(self.digest, self.fuel);
        let energy = beliefs.energy().map(|model| ChoiceEnergy {
            local_joules: self.computing.unwrap_or_else(|| model.computing()).joules(self.wcet),
            exchange_joules: model.exchange_joules(
                self.traffic,
                transfer.unwrap_or_default(),
                fog.unwrap_or_default(),
            ),
        });
        Context {
            module: self.digest,
            wcet: self.wcet,
            bound: self.watch.as_ref().map_or(self.wcet, |watch| watch.bound().time),
            transfer,
            fog,
            offloaded: beliefs.offloaded(self.digest, self.fuel, self.traffic),
            traffic: self.traffic,
            fuel: self.fuel,
            deadline: self.deadline.map(|deadline| deadline.saturating_sub(age)),
            armed,
            backlog,
            energy,
            heat: beliefs.heat(),
            link: beliefs.link_health(now),
            on_fog: beliefs.module_health(now, self.digest),
        }
    }

    /// The whole model ran on the device. True where that took longer than was
    /// promised, and the promise is raised.
    pub fn ran(&self, elapsed: Duration) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.observe(elapsed))
    }

    /// It was stopped after this time, which was longer than promised. True where the
    /// promise is raised.
    pub fn stopped(&self, elapsed: Duration) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.stopped(elapsed))
    }

    /// The fog host has given a valid answer, after `round_trip` by the device's own
    /// clock.
    pub fn answered(
        &mut self,
        beliefs: &mut Beliefs,
        now: Duration,
        answer: &FogAnswer,
        round_trip: Duration,
    ) -> Offloaded {
        // A fog host that reports more than all the time there was is not believed
        // beyond it.
        let fog = answer.time.total().min(round_trip);
        let transfer = round_trip - fog;
        beliefs.inferred(now, self.digest, answer, transfer);
        self.traffic = answer.traffic;
        let (queue, traffic) = (answer.time.queue, answer.traffic);
        Offloaded { round_trip, transfer, fog, queue, traffic }
    }

    /// It has given none that can be used.
    pub fn not_answered(
        &self,
        beliefs: &mut Beliefs,
        now: Duration,
        error: &FogError,
        elapsed: Duration,
        rule: &BackOffRule,
    ) -> FogFailure {
        beliefs.not_inferred(now, self.digest, error, rule);
        FogFailure::new(error, elapsed)
    }

    /// What the device spent on an input: on running it for this time, and on an exchange
    /// of which this was moved, in this time on the link and on the fog host. Unknown where
    /// a part is.
    fn joules(
        &self,
        beliefs: &Beliefs,
        local: Duration,
        exchange: Option<(Traffic, Duration, Duration)>,
    ) -> Option<(f64, Basis)> {
        let model = beliefs.energy();
        let computing = self.computing.or_else(|| model.map(|model| model.computing()))?;
        let here = computing.joules(local);
        match exchange {
            Some((traffic, transfer, fog)) => {
                Some((here + model?.exchange_joules(traffic, transfer, fog), Basis::Modelled))
            }
            None => Some((here, computing.basis)),
        }
    }

    /// Writes down what came of an input.
    pub fn record(
        &mut self,
        beliefs: &Beliefs,
        policy: &str,
        context: &Context,
        decision: Decision,
        course: Course,
    ) -> DecisionRecord {
        let Course {
            outcome,
            released,
            latency,
            deadline,
            offloaded,
            fog_failure,
            unanswered,
            local,
            fuel,
        } = course;
        let in_vain = fog_failure.as_ref().map(|failure| failure.elapsed).or(unanswered);
        let exchange = match (&offloaded, in_vain) {
            (Some(o), _) => Some((o.traffic, o.transfer, o.fog)),
            // What was sent was sent in vain, and the radio was on meanwhile.
            (None, Some(elapsed)) => {
                let traffic = Traffic { down_bytes: 0, ..context.traffic };
                Some((traffic, elapsed, Duration::ZERO))
            }
            (None, None) => None,
        };
        let joules = self.joules(beliefs, local.unwrap_or_default(), exchange);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        DecisionRecord {
            task: self.name.clone(),
            module: self.digest,
            sequence,
            policy: policy.to_owned(),
            released,
            estimates: Estimates::of(context),
            decision,
            outcome,
            latency,
            deadline,
            offloaded,
            fog_failure,
            local,
            fuel,
            joules: joules.map(|(joules, _)| joules),
            joules_basis: joules.map(|(_, basis)| basis),
        }
    }
}
