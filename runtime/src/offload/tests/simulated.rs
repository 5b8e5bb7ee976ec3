//! The offloader, its prober and its policies on a simulated link, seeded.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel, Tensor};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::certificate;
use crate::offload::clock::{Clock, VirtualClock};
use crate::offload::estimate::FogTime;
use crate::offload::fog::{Fog, FogAnswer, FogError, InferRequest, Pushed, Traffic};
use crate::offload::local::{Local, LocalError, LocalRun};
use crate::offload::policy::{
    AllFog, AllLocal, Cooling, EnergyAware, Placement, Policy, Reason, Threshold,
};
use crate::offload::record::{DecisionRecord, Outcome};
use crate::offload::{Answer, Due, InferError, Offloader, Options, Prober, Task, TaskId, WaitRule};
use crate::power::{Basis, PowerModel, Prices};
use crate::thermal::Level;

const MS: Duration = Duration::from_millis(1);

/// What the simulated fog host does at the moment.
#[derive(Clone, Debug)]
struct World {
    round_trip: Duration,
    compute: Duration,
    jitter: f64,
    /// Inferences, and where set also probes, fail with this.
    infer_error: Option<FogError>,
    probe_error: Option<FogError>,
    /// Which modules the fog host has.
    modules: Vec<Digest>,
    infers: u32,
    probes: u32,
}

#[derive(Debug)]
struct SimulatedFog {
    clock: VirtualClock,
    world: Arc<Mutex<World>>,
    rng: Mutex<ChaCha8Rng>,
}

impl SimulatedFog {
    /// Lets the time of an exchange pass, at most `limit`.
    fn exchange(
        &self,
        time: Duration,
        error: Option<FogError>,
        limit: Duration,
    ) -> Result<(), FogError> {
        match error {
            Some(FogError::TimedOut { .. }) => {
                self.clock.advance(limit);
                return Err(FogError::TimedOut { limit });
            }
            Some(error) => {
                self.clock.advance(time.min(limit));
                return Err(error);
            }
            None => {}
        }
        let jitter = self.world.lock().unwrap().jitter;
        let factor = 1.0 + jitter * self.rng.lock().unwrap().random::<f64>();
        let time = time.mul_f64(factor);
        self.clock.advance(time.min(limit));
        if time > limit { Err(FogError::TimedOut { limit }) } else { Ok(()) }
    }
}

const TRAFFIC: Traffic = Traffic { up_bytes: 500, down_bytes: 400 };

impl Fog for SimulatedFog {
    fn infer(&self, request: &InferRequest<'_>, limit: Duration) -> Result<FogAnswer, FogError> {
        let (time, compute, error) = {
            let mut world = self.world.lock().unwrap();
            world.infers += 1;
            let lacks = !world.modules.contains(&request.digest);
            let lacking = FogError::Refused { status: 404, message: "no such module".into() };
            let error = world.infer_error.clone().or(lacks.then_some(lacking));
            (world.round_trip + world.compute, world.compute, error)
        };
        self.exchange(time, error, limit)?;
        let time = FogTime { compute, queue: Duration::ZERO, fuel: Fuel(1_000) };
        Ok(FogAnswer { outputs: request.inputs.to_vec(), time, traffic: TRAFFIC })
    }

    fn probe(&self, limit: Duration) -> Result<Traffic, FogError> {
        let (time, error) = {
            let mut world = self.world.lock().unwrap();
            world.probes += 1;
            (world.round_trip, world.probe_error.clone())
        };
        self.exchange(time, error, limit)?;
        Ok(Traffic { up_bytes: 200, down_bytes: 150 })
    }

    fn probe_throughput(&self, body_bytes: usize, limit: Duration) -> Result<Traffic, FogError> {
        self.probe(limit)?;
        Ok(Traffic { up_bytes: body_bytes as u64, down_bytes: 150 })
    }

    fn push(&self, digest: Digest, _: &[u8], limit: Duration) -> Result<Pushed, FogError> {
        self.probe(limit)?;
        self.world.lock().unwrap().modules.push(digest);
        Ok(Pushed::Sent)
    }
}

struct SimulatedLocal {
    clock: VirtualClock,
    certificate: Certificate,
    digest: Digest,
    time: Duration,
    broken: bool,
}

impl Local for SimulatedLocal {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn run(&mut self, _: RangeInclusive<u32>, inputs: &[Tensor]) -> Result<LocalRun, LocalError> {
        if self.broken {
            return Err(LocalError("it trapped".into()));
        }
        self.clock.advance(self.time);
        let (outputs, fuel) = (inputs.to_vec(), Fuel(1_000));
        Ok(LocalRun { outputs, fuel, elapsed: self.time })
    }
}

/// An offloader in simulated time.
struct Bench {
    clock: VirtualClock,
    world: Arc<Mutex<World>>,
    offloader: Offloader,
    prober: Prober,
    task: TaskId,
    sent: u64,
}

impl Bench {
    fn new(policy: impl Policy + 'static, local: Duration) -> Self {
        Self::with(Box::new(policy), local, Options::default(), 1)
    }

    fn with(policy: Box<dyn Policy>, local: Duration, options: Options, seed: u64) -> Self {
        let clock = VirtualClock::new();
        let digest = Digest::of(b"module");
        let world = Arc::new(Mutex::new(World {
            round_trip: 10 * MS,
            compute: 5 * MS,
            jitter: 0.0,
            infer_error: None,
            probe_error: None,
            modules: vec![digest],
            infers: 0,
            probes: 0,
        }));
        let fog = SimulatedFog {
            clock: clock.clone(),
            world: Arc::clone(&world),
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
        };
        let mut offloader = Offloader::new(policy, Arc::new(fog), Arc::new(clock.clone()), options);
        let executor = SimulatedLocal {
            clock: clock.clone(),
            certificate: certificate(),
            digest,
            time: local,
            broken: false,
        };
        let task = offloader.add(Task {
            name: "task".into(),
            local: Box::new(executor),
            wcet: local,
            watch: None,
            deadline: Some(100 * MS),
            component: Some(Arc::from(&b"component"[..])),
        });
        let prober = offloader.prober();
        Self { clock, world, offloader, prober, task, sent: 0 }
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    /// One input, its answer checked.
    fn infer(&mut self) -> DecisionRecord {
        let input = Tensor::from_f32(&[1, 4], &[self.sent as f32; 4]);
        let Answer { outputs, record } =
            self.offloader.infer(self.task, std::slice::from_ref(&input), None).unwrap();
        assert_eq!(outputs, [input], "the answer to another input");
        assert_eq!(record.sequence, self.sent);
        self.sent += 1;
        record
    }

    fn placement(&mut self) -> Placement {
        self.infer().decision.placement
    }
}

#[test]
fn without_a_probe_the_threshold_policy_sends_nothing() {
    let mut bench = Bench::new(Threshold::default(), 1_000 * MS);
    for _ in 0..20 {
        let record = bench.infer();
        assert_eq!(record.decision.reason, Reason::LinkUnknown);
        assert_eq!(record.outcome, Outcome::Local);
    }
    assert_eq!(bench.world.lock().unwrap().infers, 0);
}

#[test]
fn probes_first_then_one_input_tries_the_fog_then_the_rule_decides() {
    let mut bench = Bench::new(Threshold::default(), 50 * MS);
    let due: Vec<Due> = bench.prober.catch_up(20).into_iter().map(|p| p.due).collect();
    assert_eq!(due[..4], [Due::Connect, Due::Probe, Due::Probe, Due::Probe]);
    assert!(matches!(due[4..], [Due::Throughput(4_096)]), "{due:?}");

    let first = bench.infer();
    assert_eq!(first.decision.reason, Reason::FogUntried);
    assert_eq!(first.estimates.fog, None);
    let second = bench.infer();
    assert_eq!(second.decision.reason, Reason::FogIsFaster);
    assert_eq!(second.outcome, Outcome::Fog);
    assert_eq!(second.latency, 15 * MS);
    let offloaded = second.offloaded.unwrap();
    assert_eq!((offloaded.transfer, offloaded.fog), (10 * MS, 5 * MS));
    assert_eq!(second.estimates.fog, Some(5 * MS));
    assert!(!second.missed());
}

#[test]
fn what_is_faster_on_the_device_stays_there() {
    let mut bench = Bench::new(Threshold::default(), 9 * MS);
    bench.prober.catch_up(20);
    assert_eq!(bench.infer().decision.reason, Reason::DeviceIsFaster);
    assert_eq!(bench.world.lock().unwrap().infers, 0);
}

#[test]
fn a_dead_link_costs_one_input_some_time_and_no_input_its_answer() {
    let mut bench = Bench::new(Threshold::default(), 50 * MS);
    bench.prober.catch_up(20);
    bench.infer();
    assert_eq!(bench.placement(), Placement::Fog);

    let dead = FogError::TimedOut { limit: Duration::ZERO };
    bench.change(|w| (w.infer_error, w.probe_error) = (Some(dead.clone()), Some(dead)));
    let failed = bench.infer();
    assert_eq!(failed.outcome, Outcome::Fallback);
    assert_eq!(failed.local, Some(50 * MS));
    assert_eq!(failed.latency, 550 * MS, "the wait's floor and the local run");
    assert_eq!(failed.fog_failure.unwrap().kind, "timed-out");
    assert!(failed.latency > failed.deadline.unwrap());

    let before = bench.world.lock().unwrap().probes;
    for _ in 0..600 {
        bench.prober.step();
        let record = bench.infer();
        assert_eq!(record.decision.reason, Reason::LinkDown);
    }
    // Half a minute of the device's time, with 2 s for each probe: few of them.
    let probes = bench.world.lock().unwrap().probes - before;
    assert!((3..12).contains(&probes), "{probes} probes into a dead link");

    bench.change(|w| (w.infer_error, w.probe_error) = (None, None));
    let back = (0..600).position(|_| {
        bench.prober.step();
        bench.placement() == Placement::Fog
    });
    assert!(back.is_some(), "the link came back and nobody noticed");
}

#[test]
fn a_fog_host_that_answers_probes_and_fails_inferences_is_left_alone() {
    let refused = FogError::Refused { status: 503, message: "busy".into() };
    let garbage = FogError::Malformed("garbage".into());
    for error in [refused, garbage, FogError::TimedOut { limit: Duration::ZERO }] {
        let mut bench = Bench::new(Threshold::default(), 50 * MS);
        bench.prober.catch_up(20);
        bench.change(|w| w.infer_error = Some(error.clone()));
        for _ in 0..400 {
            bench.prober.step();
            bench.infer();
        }
        let infers = bench.world.lock().unwrap().infers;
        assert!((2..12).contains(&infers), "{infers} inputs sent in vain ({error})");
        bench.change(|w| w.infer_error = None);
        let back = (0..400).position(|_| {
            bench.prober.step();
            bench.infer().outcome == Outcome::Fog
        });
        assert!(back.is_some(), "never came back from {error}");
    }
}

#[test]
fn a_module_that_the_fog_host_lacks_is_pushed_in_the_background() {
    let mut bench = Bench::new(Threshold::default(), 50 * MS);
    bench.change(|w| w.modules.clear());
    bench.prober.catch_up(20);
    let record = bench.infer();
    assert_eq!(record.outcome, Outcome::Fallback);
    let pushed = bench.prober.step().unwrap();
    assert!(matches!(pushed.due, Due::Push(_)));
    assert_eq!(bench.infer().outcome, Outcome::Fog);
}

#[test]
fn all_fog_falls_back_every_time_and_all_local_never_asks() {
    let mut bench = Bench::new(AllFog, 50 * MS);
    bench.change(|w| w.infer_error = Some(FogError::Unreachable("refused".into())));
    for _ in 0..10 {
        assert_eq!(bench.infer().outcome, Outcome::Fallback);
    }
    let mut bench = Bench::new(AllLocal, 50 * MS);
    for _ in 0..10 {
        assert_eq!(bench.infer().outcome, Outcome::Local);
    }
    assert_eq!(bench.world.lock().unwrap().infers, 0);
}

#[test]
fn with_the_deadline_rule_a_hanging_fog_host_costs_no_deadline() {
    let wait = WaitRule::Deadline { margin: 5 * MS, ceiling: 1_000 * MS };
    let options = Options { wait, ..Options::default() };
    let mut bench = Bench::with(Box::new(AllFog), 40 * MS, options, 1);
    bench.change(|w| w.infer_error = Some(FogError::TimedOut { limit: Duration::ZERO }));
    for _ in 0..10 {
        let record = bench.infer();
        assert_eq!(record.outcome, Outcome::Fallback);
        assert_eq!(record.latency, 95 * MS);
        assert!(!record.missed());
    }
}

#[test]
fn an_input_that_waited_has_less_time_left_for_the_fog() {
    let wait = WaitRule::Deadline { margin: 5 * MS, ceiling: 1_000 * MS };
    let options = Options { wait, ..Options::default() };
    let mut bench = Bench::with(Box::new(AllFog), 40 * MS, options, 1);
    bench.clock.advance(200 * MS);
    let released = bench.clock.now() - 60 * MS;
    let input = [Tensor::from_f32(&[1, 4], &[0.0; 4])];
    let record = bench.offloader.infer(bench.task, &input, Some(released)).unwrap().record;
    assert_eq!(record.outcome, Outcome::Fallback);
    assert_eq!(record.latency, 100 * MS, "60 ms late, not sent, 40 ms on the device");
    assert_eq!(bench.world.lock().unwrap().infers, 0);
}

#[test]
fn the_threshold_policy_is_near_the_better_of_the_two_on_any_link() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let round_trip = MS.mul_f64(10f64.powf(rng.random_range(-0.5..2.2)));
        let compute = MS.mul_f64(rng.random_range(0.1..5.0));
        let local = MS.mul_f64(10f64.powf(rng.random_range(-0.5..2.2)));
        let total = |policy: Box<dyn Policy>| {
            let mut bench = Bench::with(policy, local, Options::default(), seed);
            bench.change(|w| (w.round_trip, w.compute, w.jitter) = (round_trip, compute, 0.3));
            let mut total = Duration::ZERO;
            for _ in 0..300 {
                bench.prober.catch_up(10);
                total += bench.infer().latency;
            }
            total
        };
        let best = total(Box::new(AllLocal)).min(total(Box::new(AllFog)));
        let threshold = total(Box::<Threshold>::default());
        assert!(
            threshold <= best.mul_f64(1.05),
            "seed {seed}: {threshold:?}, best {best:?} (link {round_trip:?}, local {local:?})"
        );
    }
}

#[test]
fn an_input_that_neither_machine_can_answer_is_an_error_with_both_reasons() {
    let clock = VirtualClock::new();
    let mut bench = Bench::new(AllFog, 50 * MS);
    let executor = SimulatedLocal {
        clock,
        certificate: certificate(),
        digest: Digest::of(b"other"),
        time: MS,
        broken: true,
    };
    let task = bench.offloader.add(Task {
        name: "broken".into(),
        local: Box::new(executor),
        wcet: MS,
        watch: None,
        deadline: None,
        component: None,
    });
    let input = [Tensor::from_f32(&[1, 4], &[0.0; 4])];
    let error = bench.offloader.infer(task, &input, None).unwrap_err();
    assert!(matches!(error, InferError::Local { fog_failure: Some(_), .. }));
    let text = error.to_string();
    assert!(text.contains("it trapped") && text.contains("404"), "{text}");
}

#[test]
fn a_record_survives_json() {
    let mut bench = Bench::new(AllFog, 50 * MS);
    let mut records = vec![bench.infer()];
    bench.change(|w| w.infer_error = Some(FogError::Malformed("x".into())));
    records.push(bench.infer());
    for record in records {
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<DecisionRecord>(&json).unwrap(), record);
        assert!(json.contains("\"latency_ns\":"), "{json}");
    }
}

#[test]
fn local_executions_feed_the_watch_whose_bound_moves_the_wait() {
    use crate::timing::{BoundRule, Watch, testing};
    let wait = WaitRule::Deadline { margin: 5 * MS, ceiling: 1_000 * MS };
    let options = Options { wait, ..Options::default() };
    let mut bench = Bench::with(Box::new(AllFog), 50 * MS, options, 1);
    // Calibrated for 1 ms and a fifth of it; runs take 50 ms.
    let watch = Arc::new(Watch::new(testing::calibration(), BoundRule::default()));
    let executor = SimulatedLocal {
        clock: bench.clock.clone(),
        certificate: certificate(),
        digest: Digest::of(b"module"),
        time: 50 * MS,
        broken: false,
    };
    bench.task = bench.offloader.add(Task {
        name: "watched".into(),
        local: Box::new(executor),
        wcet: MS,
        watch: Some(Arc::clone(&watch)),
        deadline: Some(100 * MS),
        component: None,
    });
    // A fog host that hangs is waited for until the deadline less the bound.
    bench.change(|w| w.compute = 1_000 * MS);
    let first = bench.infer();
    assert_eq!(first.fog_failure.unwrap().elapsed, 100 * MS - MS - MS / 5 - 5 * MS);
    assert_eq!((watch.seen().runs, watch.seen().exceeded), (1, 1));
    assert_eq!(watch.bound().time, 60 * MS);
    let second = bench.infer();
    assert_eq!(second.fog_failure.unwrap().elapsed, 35 * MS);
    assert_eq!(second.latency, 85 * MS, "the deadline is kept from now on");
    assert_eq!((watch.seen().runs, watch.seen().exceeded), (2, 1));
}

/// 3 W above idle computing, 1 W sending and receiving.
const POWER: PowerModel =
    PowerModel { idle_watts: 2.0, busy_watts: 5.0, transmit_watts: 3.0, receive_watts: 3.0 };

#[test]
fn every_record_tells_the_joules_of_what_was_done() {
    let mut bench = Bench::new(Threshold::default(), 50 * MS);
    bench.offloader.set_energy(Arc::new(Prices::declared(POWER)));
    let close = |seen: Option<f64>, wanted: f64| (seen.unwrap() - wanted).abs() < 1e-12;
    let local = bench.infer();
    assert!(local.outcome == Outcome::Local && close(local.joules, 0.150), "{local:?}");
    assert_eq!(local.joules_basis, Some(Basis::Modelled));
    bench.prober.catch_up(20);
    bench.infer();
    let fog = bench.infer();
    assert!(fog.outcome == Outcome::Fog && close(fog.joules, 0.010), "{fog:?}");
    let expected = fog.estimates.energy.unwrap();
    assert!(close(Some(expected.local_joules), 0.150));
    assert!(close(Some(expected.exchange_joules), 0.010), "{expected:?}");
    // What was sent in vain is spent as well, for as long as it took.
    bench.change(|w| w.infer_error = Some(FogError::Malformed("no".into())));
    let failed = bench.infer();
    let elapsed = failed.fog_failure.as_ref().unwrap().elapsed.as_secs_f64();
    assert!(close(failed.joules, 0.150 + elapsed), "{failed:?}");
}

#[test]
fn the_energy_aware_policy_spends_no_more_than_either_fixed_one_and_learns_of_outages() {
    let spent = |policy: Box<dyn Policy>, local: Duration, round_trip: Duration| {
        let mut bench = Bench::with(policy, local, Options::default(), 1);
        bench.offloader.set_energy(Arc::new(Prices::declared(POWER)));
        bench.change(|w| w.round_trip = round_trip);
        bench.prober.catch_up(20);
        let mut joules = || bench.infer().joules.unwrap();
        // One inference tells T_F.
        joules();
        (0..50).map(|_| joules()).sum::<f64>()
    };
    for (local, round_trip) in [(50 * MS, 10 * MS), (8 * MS, 10 * MS), (2 * MS, 40 * MS)] {
        let aware = spent(Box::<EnergyAware>::default(), local, round_trip);
        let fixed = [
            spent(Box::new(AllLocal), local, round_trip),
            spent(Box::new(AllFog), local, round_trip),
        ];
        let best = fixed[0].min(fixed[1]);
        assert!(aware <= best * 1.000_001, "{local:?} {round_trip:?}: {aware} {fixed:?}");
    }
    // A slower answer that costs fewer joules is taken: the deadline leaves time.
    let mut bench = Bench::new(EnergyAware::default(), 8 * MS);
    bench.offloader.set_energy(Arc::new(Prices::declared(POWER)));
    bench.prober.catch_up(20);
    bench.infer();
    let record = bench.infer();
    assert_eq!(record.decision.reason, Reason::FogIsCheaper);
    assert!(record.latency > 8 * MS && !record.missed());
}

#[test]
fn a_hot_device_prefers_the_fog_host_until_it_has_cooled() {
    let policy = Cooling::new(Box::new(Threshold::default()));
    let mut bench = Bench::new(policy, 9 * MS);
    bench.prober.catch_up(20);
    // T_F becomes known while it is slower than the device.
    assert_eq!(bench.infer().decision.reason, Reason::DeviceIsFaster);
    bench.change(|w| w.round_trip = MS);
    bench.prober.catch_up(20);
    bench.clock.advance(2_000 * MS);
    for _ in 0..40 {
        bench.clock.advance(1_100 * MS);
        bench.prober.catch_up(20);
    }
    assert_eq!(bench.placement(), Placement::Fog);
    bench.change(|w| w.round_trip = 30 * MS);
    for _ in 0..40 {
        bench.clock.advance(1_100 * MS);
        bench.prober.catch_up(20);
    }
    assert_eq!(bench.infer().decision.reason, Reason::DeviceIsFaster);
    bench.offloader.set_heat(Level::Warm);
    let warm = bench.infer();
    assert_eq!((warm.decision.reason, warm.estimates.heat), (Reason::DeviceIsHot, Level::Warm));
    bench.offloader.set_heat(Level::Normal);
    assert_eq!(bench.infer().decision.reason, Reason::DeviceIsFaster);
}
