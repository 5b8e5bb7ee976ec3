//! A device that has seen much of its link and its fog host, and decides: for the test
//! and the benchmark of the decision itself.

use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel};
use leeway_guest_models::reference_models;
use leeway_runtime::offload::estimate::FogTime;
use leeway_runtime::offload::fog::{FogAnswer, Traffic};
use leeway_runtime::offload::policy::{
    AllFog, AllLocal, DeadlineAware, Decision, Learned, Policy, Threshold,
};
use leeway_runtime::offload::{Beliefs, Moment, Subject};

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
        Box::<Learned>::default(),
    ]
}

impl Default for Subjects {
    fn default() -> Self {
        Self::new()
    }
}

impl Subjects {
    /// Beliefs of a link of about 20 ms.
    pub fn new() -> Self {
        let certificates: Vec<(Digest, Certificate)> = reference_models()
            .iter()
            .map(|model| {
                let options = leeway_compiler::Options::default();
                let compiled = leeway_compiler::compile(model.onnx, &options).expect("it compiles");
                let component = compiled.seal(&[]).component;
                let certificate = leeway_contract::section::read_certificate(&component);
                (Digest::of(&component), certificate.expect("it has one"))
            })
            .collect();
        let mut beliefs = Beliefs::default();
        let ms = Duration::from_millis(1);
        for number in 0..SEEN {
            let (digest, certificate) = &certificates[number as usize % certificates.len()];
            let answer = FogAnswer {
                outputs: Vec::new(),
                time: FogTime {
                    compute: ms + ms / 10 * (number % 7),
                    queue: Duration::ZERO,
                    fuel: Fuel(certificate.total_fuel().0),
                },
                traffic: Traffic { up_bytes: 600 + u64::from(number % 5) * 400, down_bytes: 500 },
            };
            beliefs.inferred(10 * ms * number, *digest, &answer, ms * (18 + number % 5));
        }
        let subject = |(number, (digest, certificate)): (usize, &(Digest, Certificate))| {
            let wcet = 10 * ms * (number as u32 + 1);
            Subject::new(format!("task {number}"), *digest, certificate, wcet, None, Some(200 * ms))
        };
        let subjects = certificates.iter().enumerate().map(subject).collect();
        Self { beliefs, subjects }
    }

    /// What is known of the `number`-th input, and what a policy makes of it.
    pub fn decide(&self, policy: &mut dyn Policy, number: usize) -> Decision {
        let ms = Duration::from_millis(1);
        let moment = Moment {
            now: 10 * ms * SEEN,
            age: ms,
            armed: Some(ms * (50 + number as u32 % 100)),
            backlog: ms * (number as u32 % 3),
        };
        let subject = &self.subjects[number % self.subjects.len()];
        policy.decide(&subject.context(&self.beliefs, moment))
    }
}
