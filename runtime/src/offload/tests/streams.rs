//! Admitted streams through bad luck of every kind, at the level of the offloader:
//! whatever link, fog host and policy do, no admitted deadline is missed and every
//! input is answered.
//!
//! Seeded; a failure prints its seed. LEEWAY_SEEDS sets how many seeds are tried.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel, Tensor};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{certificate, certificate_with};
use crate::admission::{Executor, Offloading, Overload, Scheduling, Stream, admit, plan};
use crate::executor::Counts;
use crate::offload::estimate::FogTime;
use crate::offload::fog::{FogAnswer, FogError, InferRequest, Traffic};
use crate::offload::policy::{AllFog, AllLocal, DeadlineAware, Learned, Policy, Threshold};
use crate::offload::record::{DecisionRecord, Outcome};
use crate::offload::simulate::{Arrival, World, simulate};
use crate::offload::{
    Discarded, Dispatcher, Due, InputId, Placed, ProbeBudget, ProbeRule, Replied, Subject,
};
use crate::power::{Basis, Computing};

const MS: Duration = Duration::from_millis(1);
const END: Duration = Duration::from_secs(10);

/// What the fog host makes of a request; times until the device knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Answer(Duration),
    Refuse(Duration),
    Garbage(Duration),
    OtherModule(Duration),
    OtherRequest(Duration),
    OtherOutputs(Duration),
    OtherFuel(Duration),
    Silence,
}

/// The fate of what is sent at a time; `true` for an inference.
pub(super) type Weather<'a> = &'a dyn Fn(Duration, bool, &mut ChaCha8Rng) -> Fate;

pub(super) struct Sky<'a> {
    weather: Weather<'a>,
    rng: ChaCha8Rng,
    certificate: Certificate,
    digest: Digest,
    requests: u64,
    probe_bytes: u64,
    /// The fog host's clock, over the device's.
    clock_offset_ns: i128,
    /// How much longer segments of the first stream take than they may.
    overrun: Duration,
}

impl<'a> Sky<'a> {
    pub(super) fn new(weather: Weather<'a>, seed: u64) -> Self {
        Self {
            weather,
            rng: ChaCha8Rng::seed_from_u64(seed),
            certificate: certificate(),
            digest: Digest::of(b"module"),
            requests: 0,
            probe_bytes: 0,
            clock_offset_ns: 0,
            overrun: Duration::ZERO,
        }
    }

    /// A correct answer to a request that was sent at `now`, as the client checks it,
    /// but for what `spoil` does to it.
    fn reply(
        &mut self,
        now: Duration,
        spoil: impl FnOnce(&mut Digest, &mut u64, &mut FogAnswer),
    ) -> Result<FogAnswer, FogError> {
        self.requests += 1;
        let inputs = [Tensor::from_f32(&[1, 4], &[1.0; 4])];
        let request = InferRequest {
            id: self.requests,
            digest: self.digest,
            certificate: &self.certificate,
            stages: 0..=0,
            inputs: &inputs,
        };
        // By the fog host's clock, of which the device sees no more than differences.
        let began = now.as_nanos() as i128 + self.clock_offset_ns;
        let ended = began + 1_000_000;
        let compute = Duration::from_nanos((ended - began) as u64);
        let time = FogTime { compute, queue: Duration::ZERO, fuel: Fuel(1_000) };
        let traffic = Traffic { up_bytes: 500, down_bytes: 400 };
        let mut answer = FogAnswer { outputs: inputs.to_vec(), time, traffic };
        let (mut by, mut to) = (self.digest, request.id);
        spoil(&mut by, &mut to, &mut answer);
        request.check(by, Some(to), &answer).map(|()| answer)
    }
}

const NEVER: Duration = Duration::from_secs(1_000_000);

impl World for Sky<'_> {
    fn infer(
        &mut self,
        now: Duration,
        _: &Placed,
        limit: Duration,
    ) -> (Duration, Result<FogAnswer, FogError>) {
        let text = || "noise".to_owned();
        match (self.weather)(now, true, &mut self.rng) {
            Fate::Answer(time) => (time, self.reply(now, |_, _, _| ())),
            Fate::Refuse(time) => (time, Err(FogError::Refused { status: 503, message: text() })),
            Fate::Garbage(time) => (time, Err(FogError::Malformed(text()))),
            Fate::OtherModule(time) => (time, self.reply(now, |by, _, _| *by = Digest::of(b"x"))),
            Fate::OtherRequest(time) => (time, self.reply(now, |_, to, _| *to -= 1)),
            Fate::OtherOutputs(time) => {
                (time, self.reply(now, |_, _, a| a.outputs[0].shape[1] = 3))
            }
            Fate::OtherFuel(time) => (time, self.reply(now, |_, _, a| a.time.fuel = Fuel(999))),
            Fate::Silence => (NEVER, Err(FogError::TimedOut { limit })),
        }
    }

    fn probe(&mut self, now: Duration, due: Due) -> (Duration, Result<Traffic, FogError>) {
        let bytes = match due {
            Due::Throughput(bytes) => 2 * bytes as u64,
            _ => 350,
        };
        let traffic = Traffic { up_bytes: bytes / 2, down_bytes: bytes - bytes / 2 };
        let fate = (self.weather)(now, false, &mut self.rng);
        self.probe_bytes += if matches!(fate, Fate::Answer(_)) { bytes } else { 250 };
        match fate {
            Fate::Answer(time) => (time, Ok(traffic)),
            Fate::Silence => (NEVER, Ok(traffic)),
            Fate::Refuse(time) | Fate::Garbage(time) => {
                (time, Err(FogError::Malformed("noise".into())))
            }
            _ => (MS, Ok(traffic)),
        }
    }

    fn run(
        &mut self,
        _: Duration,
        _: InputId,
        stream: usize,
        _: RangeInclusive<u32>,
        budget: Duration,
    ) -> Duration {
        let part = if self.rng.random() { 1.0 } else { self.rng.random_range(0.1..1.0) };
        let time = budget.mul_f64(part);
        if stream == 0 { time + self.overrun } else { time }
    }
}

pub(super) fn random_set(rng: &mut ChaCha8Rng) -> Vec<Stream> {
    (0..rng.random_range(2..=4))
        .map(|index| {
            let stages: Vec<Duration> =
                (0..rng.random_range(1..=4)).map(|_| MS * rng.random_range(3..=20)).collect();
            let cost: Duration = stages.iter().sum();
            let period = cost.mul_f64(rng.random_range(2.0..8.0));
            let jitter = if rng.random_bool(0.3) { period.mul_f64(0.2) } else { Duration::ZERO };
            let deadline = jitter + cost + 5 * MS + period.mul_f64(rng.random_range(0.0..0.8));
            Stream {
                name: format!("stream {index}"),
                period,
                deadline,
                jitter,
                priority: None,
                stages,
                core: None,
                overload: [Overload::DropNewest, Overload::DropOldest][rng.random_range(0..2)],
                degrade_to: None,
                offload: rng.random_bool(0.8).then_some(Offloading { setup: Duration::ZERO }),
            }
        })
        .collect()
}

/// Inputs as often as they may come, half of them later; those of the first stream
/// `too_often` times as often.
fn arrivals(set: &[Stream], too_often: f64, rng: &mut ChaCha8Rng) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for (stream, of) in set.iter().enumerate() {
        let mut arrived = of.period.mul_f64(rng.random_range(0.0..2.0));
        let mut ready = Duration::ZERO;
        while arrived < END {
            ready = ready.max(arrived + of.jitter.mul_f64(rng.random_range(0.0..=1.0)));
            arrivals.push(Arrival { ready, arrived, stream });
            let gap = if rng.random() { 1.0 } else { rng.random_range(1.0..2.0) };
            let faster = if stream == 0 { too_often } else { 1.0 };
            arrived += of.period.mul_f64(gap / faster);
        }
    }
    arrivals.sort_by_key(|arrival| arrival.ready);
    arrivals
}

/// The model of a stream, of these bytes.
pub(super) fn subject(of: &Stream, bytes: &[u8]) -> Subject {
    let (digest, certificate) = (Digest::of(bytes), certificate_with(of.stages.len()));
    Subject::new(of.name.clone(), digest, &certificate, of.wcet(), None, Some(of.deadline))
}

fn subjects(set: &[Stream]) -> Vec<Subject> {
    set.iter().map(|of| subject(of, b"module")).collect()
}

fn policies() -> [Box<dyn Policy>; 4] {
    [
        Box::new(AllFog),
        Box::<Threshold>::default(),
        Box::<DeadlineAware>::default(),
        Box::<Learned>::default(),
    ]
}

pub(super) fn seeds() -> u64 {
    std::env::var("LEEWAY_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(16)
}

/// What is varied of a run beside the weather.
#[derive(Clone, Copy)]
struct Trouble {
    too_often: f64,
    overrun: Duration,
    tolerance: Duration,
}

const NO_TROUBLE: Trouble =
    Trouble { too_often: 1.0, overrun: Duration::ZERO, tolerance: Duration::ZERO };

/// Sees what came of a run: a name for it, and each stream's counts.
type Check<'a> = &'a mut dyn FnMut(&str, &[(Counts, Discarded)]);

/// Random admitted sets in this weather under each policy; `check` sees the counts and
/// what was discarded, of all streams.
fn run(weather: Weather<'_>, trouble: Trouble, check: Check<'_>) {
    let mut admitted = 0;
    for seed in 0..seeds() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let set = random_set(&mut rng);
        let scheduling = match seed % 2 {
            0 => Scheduling::EarliestDeadlineFirst,
            _ => Scheduling::FixedPriority,
        };
        let (cores, dispatch) = (1 + seed as usize % 3 / 2, MS / 50);
        let executor = Executor { cores, scheduling, dispatch, tolerance: trouble.tolerance };
        let Ok(admission) = admit(&set, &executor) else { continue };
        admitted += 1;
        let arrivals = arrivals(&set, trouble.too_often, &mut rng);
        for policy in policies() {
            let what = format!("seed {seed}, {}", policy.name());
            let mut dispatcher = Dispatcher::new(
                &set,
                &admission,
                &executor,
                subjects(&set),
                policy,
                ProbeRule::default(),
            );
            let mut sky = Sky { overrun: trouble.overrun, ..Sky::new(weather, seed) };
            let mut answered = 0;
            let mut see = |record: DecisionRecord| {
                answered += 1;
                assert!(!record.missed(), "{what}: {record:?}");
            };
            simulate(&mut dispatcher, &arrivals, dispatch, true, &mut sky, &mut see);
            assert!(dispatcher.is_idle(), "{what}");
            let of = |stream| (dispatcher.counts(stream), dispatcher.discarded(stream));
            let counts: Vec<(Counts, Discarded)> = (0..set.len()).map(of).collect();
            let total = |of: fn(&Counts) -> u64| counts.iter().map(|(c, _)| of(c)).sum::<u64>();
            assert_eq!(total(|c| c.missed), 0, "{what}: {counts:?}");
            assert_eq!(total(|c| c.by_device + c.by_fog), answered, "{what}: {counts:?}");
            let ended = total(|c| c.by_device + c.by_fog + c.shed + c.failed);
            assert_eq!(ended, arrivals.len() as u64, "{what}: {counts:?}");
            check(&what, &counts);
        }
    }
    assert!(admitted * 4 > seeds(), "{admitted} sets admitted");
}

/// Nothing is missed, shed or lost; returns the fog host's answers and what was
/// discarded in all.
fn nothing_is_missed(
    weather: impl Fn(Duration, bool, &mut ChaCha8Rng) -> Fate,
) -> (u64, Discarded) {
    let (mut by_fog, mut all) = (0, Discarded::default());
    run(&weather, NO_TROUBLE, &mut |what, counts| {
        for (counts, discarded) in counts {
            assert_eq!((counts.failed, counts.shed), (0, 0), "{what}: {counts:?}");
            by_fog += counts.by_fog;
            all.late += discarded.late;
            all.timed_out += discarded.timed_out;
            all.aborted += discarded.aborted;
            all.other_module += discarded.other_module;
            all.other_request += discarded.other_request;
            all.other_outputs += discarded.other_outputs;
            all.other_fuel += discarded.other_fuel;
            all.malformed += discarded.malformed;
            all.refused += discarded.refused;
        }
    });
    (by_fog, all)
}

fn up_to(ms: u64, rng: &mut ChaCha8Rng) -> Duration {
    Duration::from_micros(rng.random_range(500..=ms * 1_000))
}

#[test]
fn a_good_fog_host_answers() {
    let (answers, discarded) = nothing_is_missed(|_, _, rng| Fate::Answer(up_to(3, rng)));
    assert!(answers > 1_000 && discarded.malformed == 0, "{answers} answers, {discarded:?}");
}

#[test]
fn a_slow_fog_host_misses_nothing() {
    let (answers, discarded) = nothing_is_missed(|_, _, rng| Fate::Answer(up_to(200, rng)));
    // The device's own answer ends the exchange, so that nothing comes late.
    assert!(answers > 300 && discarded.aborted > 100, "{answers} answers, {discarded:?}");
    assert_eq!(discarded.late, 0);
}

#[test]
fn a_dead_fog_host_misses_nothing() {
    let (answers, discarded) = nothing_is_missed(|_, _, _| Fate::Silence);
    assert!(answers == 0 && discarded.aborted > 300, "{discarded:?}");
}

#[test]
fn a_fog_host_that_dies_and_comes_back_misses_nothing() {
    let (answers, discarded) = nothing_is_missed(|now, _, rng| match now.as_secs() % 6 {
        0..3 => Fate::Answer(up_to(5, rng)),
        _ => Fate::Silence,
    });
    assert!(answers > 500 && discarded.aborted > 100, "{answers} answers, {discarded:?}");
}

#[test]
fn a_flapping_fog_host_misses_nothing() {
    let (answers, discarded) = nothing_is_missed(|now, _, rng| match now.as_millis() / 70 % 2 {
        0 => Fate::Answer(up_to(40, rng)),
        _ => Fate::Refuse(up_to(40, rng)),
    });
    assert!(answers > 100 && discarded.refused > 300, "{answers} answers, {discarded:?}");
}

#[test]
fn a_partition_misses_nothing() {
    // For half of the time nothing comes through; what was sent before comes after.
    let (answers, discarded) =
        nothing_is_missed(|now, _, rng| match now.as_millis() as u64 % 2_000 {
            at @ 1_000.. => Fate::Answer(MS * (2_000 - at) as u32 + up_to(5, rng)),
            _ => Fate::Answer(up_to(5, rng)),
        });
    assert!(answers > 300 && discarded.aborted > 100, "{answers} answers, {discarded:?}");
}

#[test]
fn garbage_is_discarded_and_counted_by_what_is_wrong_with_it() {
    let (answers, discarded) = nothing_is_missed(|_, inference, rng| {
        let time = up_to(30, rng);
        match rng.random_range(0..8) {
            _ if !inference => Fate::Answer(MS),
            0 => Fate::Garbage(time),
            1 => Fate::OtherModule(time),
            2 => Fate::OtherRequest(time),
            3 => Fate::OtherOutputs(time),
            4 => Fate::OtherFuel(time),
            _ => Fate::Answer(time),
        }
    });
    let Discarded { other_module, other_request, other_outputs, other_fuel, malformed, .. } =
        discarded;
    let kinds = [other_module, other_request, other_outputs, other_fuel, malformed];
    assert!(answers > 300 && kinds.iter().all(|&kind| kind > 30), "{answers}, {discarded:?}");
}

#[test]
fn a_fog_host_that_only_answers_for_other_inputs_misses_nothing() {
    let (answers, discarded) = nothing_is_missed(|_, inference, rng| match inference {
        true => Fate::OtherRequest(up_to(10, rng)),
        false => Fate::Answer(MS),
    });
    assert!(answers == 0 && discarded.other_request > 300, "{discarded:?}");
}

#[test]
fn a_link_of_zero_bandwidth_misses_nothing() {
    // Small probes come through, and nothing larger ever does.
    let (answers, discarded) = nothing_is_missed(|_, inference, _| match inference {
        true => Fate::Answer(NEVER),
        false => Fate::Answer(MS),
    });
    assert!(answers == 0 && discarded.aborted > 300, "{discarded:?}");
}

#[test]
fn an_overload_is_shed_from_its_own_stream() {
    let weather = |_: Duration, _: bool, rng: &mut ChaCha8Rng| match rng.random_range(0..3) {
        0 => Fate::Silence,
        1 => Fate::Refuse(up_to(99, rng)),
        _ => Fate::Answer(up_to(99, rng)),
    };
    let trouble = Trouble { too_often: 4.0, ..NO_TROUBLE };
    run(&weather, trouble, &mut |what, counts| {
        let shed: Vec<u64> = counts.iter().map(|(counts, _)| counts.shed).collect();
        assert!(shed[0] > 0 && shed[1..].iter().all(|&shed| shed == 0), "{what}: {counts:?}");
    });
}

#[test]
fn a_model_that_takes_too_long_is_stopped_before_another_misses() {
    let weather = |_: Duration, _: bool, _: &mut ChaCha8Rng| Fate::Silence;
    let trouble = Trouble { overrun: 5 * MS, tolerance: 2 * MS, ..NO_TROUBLE };
    run(&weather, trouble, &mut |what, counts| {
        let others = counts[1..].iter().all(|(counts, _)| counts.failed + counts.overruns == 0);
        assert!(counts[0].0.overruns > 0 && others, "{what}: {counts:?}");
    });
}

fn one_stream(period: Duration, offload: bool) -> (Vec<Stream>, Vec<Arrival>) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let stream = Stream {
        name: "one".into(),
        period,
        deadline: period,
        jitter: Duration::ZERO,
        priority: None,
        stages: vec![20 * MS],
        core: None,
        overload: Overload::DropNewest,
        degrade_to: None,
        offload: offload.then_some(Offloading { setup: Duration::ZERO }),
    };
    let set = vec![stream];
    let arrivals = arrivals(&set, 1.0, &mut rng);
    (set, arrivals)
}

fn dispatcher(set: &[Stream], policy: Box<dyn Policy>, rule: ProbeRule) -> Dispatcher {
    let executor = Executor::default();
    let admission = admit(set, &executor).unwrap();
    Dispatcher::new(set, &admission, &executor, subjects(set), policy, rule)
}

#[test]
fn a_difference_of_clocks_changes_no_decision() {
    let weather = |now: Duration, _: bool, rng: &mut ChaCha8Rng| match now.as_secs() {
        4..6 => Fate::Silence,
        _ => Fate::Answer(up_to(30, rng)),
    };
    let records = |offset_s: i128| {
        let (set, arrivals) = one_stream(60 * MS, true);
        let mut dispatcher =
            dispatcher(&set, Box::<DeadlineAware>::default(), ProbeRule::default());
        let mut sky = Sky::new(&weather, 3);
        sky.clock_offset_ns = offset_s * 1_000_000_000;
        let mut records = Vec::new();
        let mut see = |record| records.push(record);
        simulate(&mut dispatcher, &arrivals, MS / 50, true, &mut sky, &mut see);
        records
    };
    let same = records(0);
    assert!(same.iter().any(|r| r.offloaded.is_some()) && same.iter().any(|r| r.local.is_some()));
    for offset_s in [-3_600, 1, 1_000_000_000] {
        assert_eq!(records(offset_s), same);
    }
}

#[test]
fn probes_of_a_device_that_runs_locally_stay_within_their_budget() {
    let flapping = |now: Duration, _: bool, rng: &mut ChaCha8Rng| match now.as_millis() / 400 % 2 {
        0 => Fate::Answer(up_to(5, rng)),
        _ => Fate::Refuse(MS),
    };
    let budget = ProbeBudget { bytes_per_s: 200, milliwatts: 50, burst: 2_000 * MS };
    let back_off = crate::offload::health::BackOffRule { base: MS, ceiling: 10 * MS };
    let rule = ProbeRule { budget, back_off, refresh: MS, ..ProbeRule::default() };
    let (set, arrivals) = one_stream(60 * MS, true);
    let mut dispatcher = dispatcher(&set, Box::new(AllLocal), rule);
    let mut sky = Sky::new(&flapping, 1);
    simulate(&mut dispatcher, &arrivals, MS, true, &mut sky, &mut |_| ());
    // Ten seconds and the burst, and one probe that may run over.
    assert!((1_500..=2_400 + 350).contains(&sky.probe_bytes), "{}", sky.probe_bytes);
}

#[test]
fn a_second_reply_and_one_after_the_answer_are_late() {
    let (set, _) = one_stream(60 * MS, true);
    let mut dispatcher = dispatcher(&set, Box::new(AllFog), ProbeRule::default());
    let weather = |_: Duration, _: bool, _: &mut ChaCha8Rng| Fate::Silence;
    let answer = Sky::new(&weather, 1).reply(MS, |_, _, _| ()).unwrap();
    let placed = dispatcher.arrive(MS, 0, MS).unwrap();
    assert_eq!(placed.exchange, Some(60 * MS));
    let reply = |dispatcher: &mut Dispatcher, at: Duration, input: InputId| {
        matches!(dispatcher.replied(at, input, Ok(&answer)), Replied::Answer(_))
    };
    assert!(reply(&mut dispatcher, 5 * MS, placed.input));
    assert!(!reply(&mut dispatcher, 6 * MS, placed.input));
    assert_eq!(dispatcher.discarded(0).late, 1);
    assert!(dispatcher.is_idle());
}

#[test]
fn an_energy_model_reaches_policies_and_records() {
    #[derive(Debug)]
    struct Watts;
    impl crate::offload::energy::EnergyModel for Watts {
        fn computing(&self) -> Computing {
            Computing { watts: 2.0, basis: Basis::Modelled }
        }
        fn exchange_joules(&self, traffic: Traffic, transfer: Duration, fog: Duration) -> f64 {
            let waiting = transfer + fog;
            1e-6 * traffic.up_bytes as f64 + 0.5 * waiting.as_secs_f64()
        }
    }
    let weather = |now: Duration, _: bool, _: &mut ChaCha8Rng| match now.as_secs() {
        0..5 => Fate::Answer(10 * MS),
        _ => Fate::Silence,
    };
    let (set, arrivals) = one_stream(60 * MS, true);
    let mut dispatcher = dispatcher(&set, Box::new(AllFog), ProbeRule::default());
    dispatcher.beliefs().lock().unwrap().set_energy(Arc::new(Watts));
    let mut sky = Sky::new(&weather, 1);
    let mut records = Vec::new();
    let mut see = |record| records.push(record);
    simulate(&mut dispatcher, &arrivals, Duration::ZERO, true, &mut sky, &mut see);
    let compensated = records.iter().filter(|record| record.outcome == Outcome::Compensated);
    assert!(compensated.count() > 0);
    for record in records {
        let local = record.local.map_or(0.0, |time| 2.0 * time.as_secs_f64());
        // What was sent in vain was sent all the same, until the device had answered.
        let in_vain = || match record.outcome {
            Outcome::Compensated => {
                let sent = record.estimates.traffic.up_bytes;
                1e-6 * sent as f64 + 0.5 * record.latency.as_secs_f64()
            }
            _ => 0.0,
        };
        let exchange = record.offloaded.as_ref().map_or_else(in_vain, |o| {
            1e-6 * o.traffic.up_bytes as f64 + 0.5 * o.round_trip.as_secs_f64()
        });
        let seen = record.joules.unwrap();
        assert!(record.estimates.energy.is_some() && (seen - local - exchange).abs() < 1e-9);
    }
}

/// A set with a smaller model for its first stream, which sheds to it.
fn degrading_set(rng: &mut ChaCha8Rng) -> Vec<Stream> {
    let mut set = random_set(rng);
    let small = Stream {
        name: "small".into(),
        stages: vec![MS],
        overload: Overload::DropNewest,
        offload: None,
        ..set[0].clone()
    };
    set[0].overload = Overload::Degrade;
    set[0].degrade_to = Some("small".into());
    set.push(small);
    set
}

/// What came of the arrivals under a policy: how many were answered by the smaller
/// model. No answer is late, and none is lost without being counted.
fn answered_by_the_smaller(
    dispatcher: &mut Dispatcher,
    arrivals: &[Arrival],
    weather: Weather<'_>,
    seed: u64,
) -> u64 {
    let mut sky = Sky::new(weather, seed);
    let (mut answered, mut smaller) = (0, 0);
    let mut see = |record: DecisionRecord| {
        assert!(!record.missed(), "seed {seed}: {record:?}");
        answered += 1;
        smaller += u64::from(record.task == "small");
    };
    simulate(dispatcher, arrivals, MS / 50, true, &mut sky, &mut see);
    assert!(dispatcher.is_idle(), "seed {seed}");
    let shed: u64 =
        (1..dispatcher.present().len()).map(|stream| dispatcher.counts(stream).shed).sum();
    assert!(answered + shed <= arrivals.len() as u64, "seed {seed}");
    smaller
}

/// Some answer, some refuse, some never do.
pub(super) fn bad_weather(_: Duration, _: bool, rng: &mut ChaCha8Rng) -> Fate {
    match rng.random_range(0..4) {
        0 => Fate::Silence,
        1 => Fate::Refuse(up_to(60, rng)),
        2 => Fate::OtherFuel(up_to(60, rng)),
        _ => Fate::Answer(up_to(60, rng)),
    }
}

#[test]
fn a_stream_that_degrades_under_overload_misses_nothing_and_disturbs_nobody() {
    let mut tried = 0;
    for seed in 0..seeds() {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000 + seed);
        let set = degrading_set(&mut rng);
        let executor = Executor { dispatch: MS / 50, ..Executor::default() };
        let Ok(admission) = admit(&set, &executor) else { continue };
        tried += 1;
        let of_large: Vec<Stream> = set[..set.len() - 1].to_vec();
        let arrivals = arrivals(&of_large, 3.0, &mut rng);
        for policy in policies() {
            let rule = ProbeRule::default();
            let mut dispatcher =
                Dispatcher::new(&set, &admission, &executor, subjects(&set), policy, rule);
            let smaller = answered_by_the_smaller(&mut dispatcher, &arrivals, &bad_weather, seed);
            assert!(smaller > 0 && dispatcher.handed_on(0) >= smaller, "seed {seed}");
            for (stream, of) in set.iter().enumerate().skip(1).take(set.len() - 2) {
                let counts = dispatcher.counts(stream);
                assert_eq!((counts.shed, counts.missed, counts.failed), (0, 0, 0), "{}", of.name);
            }
        }
    }
    assert!(tried * 4 > seeds(), "{tried} sets admitted");
}

#[test]
fn a_stream_that_the_plan_sets_aside_goes_to_its_smaller_model_until_it_is_back() {
    let mut tried = 0;
    for seed in 0..seeds() {
        let mut rng = ChaCha8Rng::seed_from_u64(2_000 + seed);
        let set = degrading_set(&mut rng);
        let executor = Executor { dispatch: MS / 50, ..Executor::default() };
        let Ok(admission) = admit(&set, &executor) else { continue };
        tried += 1;
        let of_large: Vec<Stream> = set[..set.len() - 1].to_vec();
        let (policy, rule) = (Box::<DeadlineAware>::default(), ProbeRule::default());
        let mut dispatcher =
            Dispatcher::new(&set, &admission, &executor, subjects(&set), policy, rule);
        // Heat wants one set aside, and then none.
        for (from, hot) in [(0, 0), (1, 1), (2, 0)] {
            let from = END * from;
            let planned = plan(&dispatcher.present(), &executor, &[set[0].name.clone()], hot);
            assert!(planned.holds() && planned.set_aside[0] == (hot == 1), "seed {seed}");
            assert!(dispatcher.adopt(from, &planned).is_empty(), "nothing waits");
            let mut arrivals = arrivals(&of_large, 1.0, &mut rng);
            for arrival in &mut arrivals {
                (arrival.ready, arrival.arrived) = (arrival.ready + from, arrival.arrived + from);
            }
            let smaller = answered_by_the_smaller(&mut dispatcher, &arrivals, &bad_weather, seed);
            let of_first = arrivals.iter().filter(|arrival| arrival.stream == 0).count() as u64;
            // A step ends with an input that the next one's first may be too close to.
            let wanted = if hot == 1 { of_first - 1..=of_first } else { 0..=1 };
            assert!(wanted.contains(&smaller), "seed {seed}: {smaller} of {of_first}");
        }
    }
    assert!(tried * 4 > seeds(), "{tried} sets admitted");
}
