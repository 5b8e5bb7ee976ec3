//! A device that has seen much of its link and its fog host, and decides: for the test
//! and the benchmark of the decision itself.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel};
use leeway_guest_models::reference_models;
use leeway_runtime::admission::{Executor, Offloading, Overload, Stream, admit};
use leeway_runtime::executor::machine::Next;
use leeway_runtime::offload::estimate::FogTime;
use leeway_runtime::offload::fog::{FogAnswer, Traffic};
use leeway_runtime::offload::policy::{
    AllFog, AllLocal, DeadlineAware, Decision, EnergyAware, Learned, Policy, Threshold,
};
use leeway_runtime::offload::{Beliefs, Dispatcher, InputId, Moment, ProbeRule, Subject};
use leeway_runtime::power::{PowerModel, Prices};

/// Inferences that the beliefs rest on: more than any window remembers.
const SEEN: u32 = 300;

/// The reference models as tasks, and what is believed.
#[derive(Debug)]
pub struct Subjects {
    beliefs: Beliefs,
    subjects: Vec<Subject>,
}

/// Every policy that decides by itself.
pub fn policies() -> Vec<Box<dyn Policy>> {
    vec![
        Box::new(AllLocal),
        Box::new(AllFog),
        Box::<Threshold>::default(),
        Box::<DeadlineAware>::default(),
        Box::<EnergyAware>::default(),
        Box::<Learned>::default(),
    ]
}

/// What the device spends, so that there is something to be aware of.
const POWER: PowerModel =
    PowerModel { idle_watts: 2.7, busy_watts: 3.9, transmit_watts: 3.4, receive_watts: 3.4 };

/// The reference models, compiled: digests and certificates.
fn certificates() -> Vec<(Digest, Certificate)> {
    let compiled = reference_models().iter().map(|model| {
        let options = leeway_compiler::Options::default();
        let compiled = leeway_compiler::compile(model.onnx, &options).expect("it compiles");
        let component = compiled.seal(&[]).component;
        let certificate = leeway_contract::section::read_certificate(&component);
        (Digest::of(&component), certificate.expect("it has one"))
    });
    compiled.collect()
}

const MS: Duration = Duration::from_millis(1);

/// The fog host's `number`-th answer.
fn answer(number: u32, certificate: &Certificate) -> FogAnswer {
    let (compute, fuel) = (MS + MS / 10 * (number % 7), certificate.total_fuel());
    FogAnswer {
        outputs: Vec::new(),
        time: FogTime { compute, queue: Duration::ZERO, fuel },
        traffic: Traffic { up_bytes: 600 + u64::from(number % 5) * 400, down_bytes: 500 },
    }
}

/// Fills beliefs with a link of about 20 ms.
fn fill(beliefs: &mut Beliefs, certificates: &[(Digest, Certificate)]) {
    for number in 0..SEEN {
        let (digest, certificate) = &certificates[number as usize % certificates.len()];
        let answer = answer(number, certificate);
        beliefs.inferred(10 * MS * number, *digest, &answer, MS * (18 + number % 5));
    }
    beliefs.set_energy(Arc::new(Prices::declared(POWER)));
}

/// Each model's subject: the first takes 10 ms on the device, each other one 10 ms more.
fn subjects(certificates: &[(Digest, Certificate)]) -> Vec<Subject> {
    let subject = |(number, (digest, certificate)): (usize, &(Digest, Certificate))| {
        let wcet = 10 * MS * (number as u32 + 1);
        Subject::new(format!("task {number}"), *digest, certificate, wcet, None, Some(200 * MS))
    };
    certificates.iter().enumerate().map(subject).collect()
}

impl Default for Subjects {
    fn default() -> Self {
        Self::new()
    }
}

impl Subjects {
    /// Beliefs of a link of about 20 ms.
    pub fn new() -> Self {
        let certificates = certificates();
        let mut beliefs = Beliefs::default();
        fill(&mut beliefs, &certificates);
        Self { beliefs, subjects: subjects(&certificates) }
    }

    /// What is known of the `number`-th input, and what a policy makes of it.
    pub fn decide(&self, policy: &mut dyn Policy, number: usize) -> Decision {
        let moment = Moment {
            now: 10 * MS * SEEN,
            age: MS,
            armed: Some(MS * (50 + number as u32 % 100)),
            backlog: MS * (number as u32 % 3),
        };
        let subject = &self.subjects[number % self.subjects.len()];
        policy.decide(&subject.context(&self.beliefs, moment))
    }
}

/// The reference models as admitted streams behind a dispatcher, one core.
#[derive(Debug)]
pub struct Streams {
    dispatcher: Dispatcher,
    now: Duration,
    contact: (Digest, FogAnswer),
}

impl Streams {
    /// Under this policy, with beliefs of a link of about 20 ms.
    pub fn new(policy: Box<dyn Policy>) -> Self {
        let certificates = certificates();
        let subjects = subjects(&certificates);
        let stream = |number: usize| Stream {
            name: format!("task {number}"),
            period: 400 * MS,
            deadline: 200 * MS,
            jitter: Duration::ZERO,
            priority: None,
            stages: vec![10 * MS * (number as u32 + 1)],
            core: None,
            overload: Overload::DropNewest,
            degrade_to: None,
            offload: Some(Offloading { setup: Duration::ZERO }),
        };
        let streams: Vec<Stream> = (0..subjects.len()).map(stream).collect();
        let executor = Executor::default();
        let admission = admit(&streams, &executor).expect("they are a quarter of the core");
        let rule = ProbeRule::default();
        let dispatcher = Dispatcher::new(&streams, &admission, &executor, subjects, policy, rule);
        let mut beliefs = dispatcher.beliefs().lock().unwrap_or_else(PoisonError::into_inner);
        fill(&mut beliefs, &certificates);
        drop(beliefs);
        let (digest, certificate) = &certificates[0];
        let contact = (*digest, answer(0, certificate));
        Self { dispatcher, now: 10 * MS * SEEN, contact }
    }

    /// An input of each stream arrives at once and is placed: all that the dispatcher does
    /// before a core or the fog host is asked.
    pub fn arrive(&mut self) -> Vec<InputId> {
        self.now += 400 * MS;
        let (now, streams) = (self.now, self.len());
        let placed = (0..streams).map(|stream| self.dispatcher.arrive(now, stream, now));
        placed.map(|placed| placed.expect("a period has passed").input).collect()
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        reference_models().len()
    }

    /// There always is one.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The device answers them all.
    pub fn answer(&mut self, inputs: Vec<InputId>) {
        for _ in inputs {
            let at = self.now + 200 * MS;
            let Next::Run { job, budget, .. } = self.dispatcher.next(0, at) else { return };
            self.dispatcher.ran(at, InputId { core: 0, job }, budget, Fuel(1));
        }
        // So that the last contact is never long ago.
        let beliefs = self.dispatcher.beliefs();
        let mut beliefs = beliefs.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, answer) = &self.contact;
        beliefs.inferred(self.now + 390 * MS, *digest, answer, 20 * MS);
    }
}
