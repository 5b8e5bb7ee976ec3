//! One scenario under each policy.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use leeway_runtime::admission::{Admission, Executor, Stream};
use leeway_runtime::nanos;
use leeway_runtime::offload::policy::{
    AllFog, AllLocal, DeadlineAware, EnergyAware, Learned, Placement, Policy, Threshold,
};
use leeway_runtime::offload::record::DecisionRecord;
use leeway_runtime::offload::simulate::{Arrival, simulate};
use leeway_runtime::offload::{Dispatcher, ProbeRule, Subject};
use leeway_runtime::power::Prices;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::hindsight::{Foresight, Hindsight};
use super::world::Sky;
use super::{Config, Course, Outcome, PolicyInfo, Scenario, Timed};

/// Makes a policy; the oracle is told the future.
type Make = fn(&Foresight) -> Box<dyn Policy>;

/// The name, whether it is compensated, the source, and how it is made. The oracle is
/// the last, and is played first.
const POLICIES: [(&str, bool, &str, Make); 7] = [
    ("all-local", true, "every input on the device", |_| Box::new(AllLocal)),
    ("all-fog", false, "every input to the fog host, which is waited for", |_| Box::new(AllFog)),
    ("threshold", false, "Saguil and Azim, ISORC 2019, without compensation", |_| {
        Box::<Threshold>::default()
    }),
    ("deadline-aware", true, "Liu et al., DAC 2014; Toma and Chen, ECRTS 2013", |_| {
        Box::<DeadlineAware>::default()
    }),
    ("energy-aware", true, "Cuervo et al., MobiSys 2010; Kang et al., ASPLOS 2017", |_| {
        Box::<EnergyAware>::default()
    }),
    ("learned", true, "Zhang et al., WWW 2021", |_| Box::<Learned>::default()),
    ("hindsight", true, "the better choice for each input, known afterwards", |foresight| {
        Box::new(Hindsight(foresight.clone()))
    }),
];

/// The policies of the study.
pub(super) fn policies() -> Vec<PolicyInfo> {
    let info = |&(name, compensated, source, _): &(&str, bool, &str, Make)| PolicyInfo {
        name: name.to_owned(),
        compensated,
        source: source.to_owned(),
    };
    POLICIES.iter().map(info).collect()
}

/// Inputs of a stream come a period apart, or up to a fifth later.
fn arrivals(streams: &[Stream], scenario: &Scenario) -> Vec<Arrival> {
    let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
    let mut arrivals = Vec::new();
    for (stream, of) in streams.iter().enumerate() {
        let mut at = of.period.mul_f64(rng.random_range(0.0..1.0));
        while at < scenario.length {
            arrivals.push(Arrival { ready: at, arrived: at, stream });
            at += of.period.mul_f64(rng.random_range(1.0..1.2));
        }
    }
    arrivals.sort_by_key(|arrival| (arrival.ready, arrival.stream));
    arrivals
}

/// Response times by stream and number of the input within it.
type Responses = HashMap<(usize, u64), u64>;

/// Plays a scenario.
pub(super) fn play(
    config: &Config,
    timed: &[Timed],
    streams: &[Stream],
    admission: &Admission,
    scenario: &Scenario,
) -> Course {
    let arrivals = arrivals(streams, scenario);
    let seconds = (0..scenario.length.as_secs()).map(Duration::from_secs);
    let rate = |at| scenario.at(at).profile.as_ref().map_or(0, |profile| profile.up_bits_per_s);
    let mut course = Course::default();
    course.timeline.bits_per_s = seconds.map(rate).collect();
    let mut best = Responses::new();
    let stage = Stage { config, timed, streams, admission, scenario, arrivals: &arrivals };
    for (index, (name, ..)) in POLICIES.iter().enumerate().rev() {
        let (outcomes, sent, responses) = stage.under(index, &best);
        if index + 1 == POLICIES.len() {
            best = responses;
        }
        course.outcomes.extend(outcomes);
        course.timeline.sent.push(((*name).to_owned(), sent));
    }
    course.timeline.sent.reverse();
    for outcome in course.outcomes.iter_mut().filter(|outcome| outcome.policy == "hindsight") {
        outcome.hindsight_ns = outcome.total_ns;
    }
    course
}

/// All that one play needs.
struct Stage<'a> {
    config: &'a Config,
    timed: &'a [Timed],
    streams: &'a [Stream],
    admission: &'a Admission,
    scenario: &'a Scenario,
    arrivals: &'a [Arrival],
}

impl Stage<'_> {
    fn dispatcher(&self, policy: Box<dyn Policy>, compensated: bool) -> Dispatcher {
        let executor = Executor::default();
        let mut admission = self.admission.clone();
        if !compensated {
            // The device waits until the fog host has failed, which is at the deadline.
            for (admitted, stream) in admission.streams.iter_mut().zip(self.streams) {
                admitted.arm_after = Some(stream.deadline);
            }
        }
        let subject = |(timed, stream): (&Timed, &Stream)| {
            let (name, deadline) = (stream.name.clone(), Some(stream.deadline));
            Subject::new(name, timed.digest, &timed.certificate, timed.wcet, None, deadline)
        };
        let subjects = self.timed.iter().zip(self.streams).map(subject).collect();
        let rule = ProbeRule::default();
        let dispatcher =
            Dispatcher::new(self.streams, &admission, &executor, subjects, policy, rule);
        let prices = Arc::new(Prices::declared(self.config.power));
        let mut beliefs = dispatcher.beliefs().lock().unwrap_or_else(PoisonError::into_inner);
        beliefs.set_energy(prices);
        drop(beliefs);
        dispatcher
    }

    /// The outcomes of a policy, the part of the inputs of each second that it sent,
    /// and all response times.
    fn under(&self, index: usize, best: &Responses) -> (Vec<Outcome>, Vec<f64>, Responses) {
        let (name, compensated, _, make) = POLICIES[index];
        let foresight = Foresight::default();
        let mut dispatcher = self.dispatcher(make(&foresight), compensated);
        let mut sky = Sky::new(self.scenario, self.timed, foresight);
        let outcome = |stream: &Stream| Outcome {
            scenario: self.scenario.name.clone(),
            policy: name.to_owned(),
            stream: stream.name.clone(),
            ..Outcome::default()
        };
        let mut outcomes: Vec<Outcome> = self.streams.iter().map(outcome).collect();
        let mut sent = vec![[0u32; 2]; self.scenario.length.as_secs() as usize + 1];
        let mut responses = Responses::new();
        let place: HashMap<&str, usize> =
            self.streams.iter().enumerate().map(|(i, stream)| (&*stream.name, i)).collect();
        let mut see = |record: DecisionRecord| {
            let stream = place[&*record.task];
            let fog = record.decision.placement == Placement::Fog;
            let second = &mut sent[record.released.as_secs() as usize];
            *second = [second[0] + u32::from(fog), second[1] + 1];
            let latency = nanos::of(record.latency);
            // Inputs are told apart by their arrival.
            let key = (stream, nanos::of(record.released));
            responses.insert(key, latency);
            let outcome = &mut outcomes[stream];
            outcome.inputs += 1;
            outcome.missed += u64::from(record.missed());
            outcome.sent += u64::from(fog);
            outcome.by_fog += u64::from(record.offloaded.is_some());
            outcome.total_ns += latency;
            let hindsight = best.get(&key).copied().unwrap_or(latency);
            outcome.hindsight_ns += hindsight;
            outcome.joules += record.joules.unwrap_or_default();
            let deadline = self.streams[stream].deadline;
            let more = latency.saturating_sub(hindsight) as f64 / nanos::of(deadline) as f64;
            outcome.regret.add(more);
            outcome.responses.add(record.latency.as_secs_f64() / deadline.as_secs_f64());
        };
        let dispatch = Executor::default().dispatch;
        let probes = !matches!(name, "all-local" | "all-fog" | "learned" | "hindsight");
        simulate(&mut dispatcher, self.arrivals, dispatch, probes, &mut sky, &mut see);
        for (stream, outcome) in outcomes.iter_mut().enumerate() {
            let discarded = dispatcher.discarded(stream);
            outcome.discarded = discarded.late + discarded.timed_out + discarded.aborted;
        }
        let part = |&[sent, all]: &[u32; 2]| f64::from(sent) / f64::from(all.max(1));
        let sent = sent[..sent.len() - 1].iter().map(part).collect();
        (outcomes, sent, responses)
    }
}
