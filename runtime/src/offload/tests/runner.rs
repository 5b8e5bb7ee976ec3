//! The runner's threads with real components, and a fog host that does what it is
//! told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leeway_contract::Digest;

use crate::admission::{Executor, Offloading, Overload, Stream, admit};
use crate::offload::clock::MonotonicClock;
use crate::offload::estimate::FogTime;
use crate::offload::fog::{Abort, Fog, FogAnswer, FogError, InferRequest, Pushed, Traffic};
use crate::offload::policy::{AllFog, AllLocal, DeadlineAware, Policy, Reason};
use crate::offload::record::Outcome;
use crate::offload::sensor::{self, Pacing, Sample, Sensor};
use crate::offload::{
    Host, Model, Options, ProbeThread, Prober, Runner, RunnerError, Set, Setup, Ticket,
};
use crate::recorded::{RASPBERRY_PI_4, Tree};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::testing::{Behaviour, TestModel};
use crate::thermal::{Level, Machine, Monitor, Rules, Zone};
use crate::timing::{BoundRule, Device, Watch, testing};

const MS: Duration = Duration::from_millis(1);

/// What the fog host does with the next requests.
#[derive(Clone, Debug, PartialEq)]
enum Mood {
    /// It answers with this value everywhere.
    Answer(f32),
    /// The same after a time.
    Slowly(f32, Duration),
    /// Never; it waits until it is ended.
    Hang,
    Refuse,
}

#[derive(Debug)]
struct FakeFog(Mutex<Mood>);

impl Fog for FakeFog {
    fn infer(&self, request: &InferRequest<'_>, limit: Duration) -> Result<FogAnswer, FogError> {
        let (value, time) = match self.0.lock().unwrap().clone() {
            Mood::Answer(value) => (value, Duration::ZERO),
            Mood::Slowly(value, time) => (value, time),
            Mood::Hang => unreachable!("it is asked so that it can be ended"),
            Mood::Refuse => return Err(FogError::Refused { status: 503, message: "no".into() }),
        };
        std::thread::sleep(time.min(limit));
        if time > limit {
            return Err(FogError::TimedOut { limit });
        }
        let fuel = request.certificate.total_fuel();
        let time = FogTime { compute: MS / 100, queue: Duration::ZERO, fuel };
        let outputs = TestModel::input([value; 4]);
        let traffic = Traffic { up_bytes: 500, down_bytes: 400 };
        let answer = FogAnswer { outputs, time, traffic };
        request.check(request.digest, Some(request.id), &answer).map(|()| answer)
    }

    fn infer_or_abort(
        &self,
        request: &InferRequest<'_>,
        limit: Duration,
        abort: &Arc<Abort>,
    ) -> Result<FogAnswer, FogError> {
        while *self.0.lock().unwrap() == Mood::Hang {
            if abort.is_aborted() {
                return Err(FogError::Aborted);
            }
            std::thread::sleep(MS);
        }
        self.infer(request, limit)
    }

    fn probe(&self, _: Duration) -> Result<Traffic, FogError> {
        Ok(Traffic { up_bytes: 200, down_bytes: 150 })
    }

    fn probe_throughput(&self, body_bytes: usize, _: Duration) -> Result<Traffic, FogError> {
        Ok(Traffic { up_bytes: body_bytes as u64, down_bytes: 150 })
    }

    fn push(&self, _: Digest, _: &[u8], _: Duration) -> Result<Pushed, FogError> {
        Ok(Pushed::AlreadyThere)
    }
}

fn stream(name: &str, stages: usize) -> Stream {
    Stream {
        name: name.into(),
        period: 20 * MS,
        deadline: 20_000 * MS,
        jitter: Duration::ZERO,
        priority: None,
        stages: vec![MS; stages],
        core: None,
        overload: Overload::DropOldest,
        degrade_to: None,
        // No period is so long that the fog host's answer comes after it.
        offload: Some(Offloading { setup: Duration::ZERO }),
    }
}

/// What is watched of a bench.
#[derive(Default)]
struct Watched {
    watch: Option<Arc<Watch>>,
    thermal: Option<Monitor>,
    /// Segments are stopped as planned.
    exactly: bool,
}

struct Bench {
    runner: Runner,
    fog: Arc<FakeFog>,
    _probing: ProbeThread,
}

impl Bench {
    fn new(policy: impl Policy + 'static, models: &[(Stream, TestModel)]) -> Self {
        Self::try_new(policy, models, Watched::default()).unwrap()
    }

    fn try_new(
        policy: impl Policy + 'static,
        models: &[(Stream, TestModel)],
        watched: Watched,
    ) -> Result<Self, RunnerError> {
        let Watched { watch, thermal, exactly } = watched;
        let streams: Vec<Stream> = models.iter().map(|(stream, _)| stream.clone()).collect();
        // So that a machine busy with other tests stops nothing.
        let planned = Executor { tolerance: MS, ..Executor::default() };
        let tolerance = if exactly { MS } else { 1_000 * MS };
        let executor = Executor { tolerance, ..planned };
        let admission = admit(&streams, &planned).unwrap();
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        let models = models.iter().map(|(_, model)| {
            let component = model.component(&Sandbox::engine_claim());
            let instance = sandbox.load(&component).unwrap().instantiate().unwrap();
            vec![Model { watch: watch.clone(), ..Model::of(instance, 1_000 * MS) }]
        });
        let fog = Arc::new(FakeFog(Mutex::new(Mood::Answer(7.0))));
        let clock = Arc::new(MonotonicClock::new());
        let host = Host::new(Arc::clone(&fog) as Arc<dyn Fog>, clock, Options::default());
        let host = Arc::new(host);
        let probing = Prober::new(Arc::clone(&host), HashMap::new()).spawn(200 * MS)?;
        let (policy, real_time) = (Box::new(policy), Vec::new());
        let runner = Runner::start(Setup { executor, policy, host, real_time, thermal })?;
        runner.serve(Set { streams: &streams, admission: &admission, models: models.collect() })?;
        Ok(Self { runner, fog, _probing: probing })
    }

    fn is(&self, mood: Mood) {
        *self.fog.0.lock().unwrap() = mood;
    }

    fn submit(&self, stream: usize, value: f32) -> Result<Ticket, RunnerError> {
        self.runner.submit(stream, None, self.runner.now(), TestModel::input([value; 4]))
    }

    /// Submits and waits; returns the first value of the answer and whose it is.
    fn ask(&self, stream: usize, value: f32) -> (f32, Outcome) {
        let answered = self.submit(stream, value).unwrap().wait().unwrap();
        (answered.outputs[0].to_f32().unwrap()[0], answered.record.outcome)
    }
}

#[test]
fn a_sensors_inputs_are_answered_by_their_own_models() {
    let models = [
        (stream("double", 1), TestModel::scaling(2.0)),
        (stream("chain", 3), TestModel::chain(3, 2.0)),
    ];
    let bench = Bench::new(AllLocal, &models);
    let sample = |i: usize| Sample { inputs: TestModel::input([i as f32; 4]), label: Some(i) };
    let samples: Arc<[Sample]> = (0..20).map(sample).collect();
    let streams = ["double", "chain"]
        .map(|name| sensor::Stream { name: name.into(), samples: Arc::clone(&samples) });
    let clock = bench.runner.clock();
    let mut sensor = Sensor::new(streams.to_vec(), 20, Pacing::Period(11 * MS), 1, clock);
    let mut tickets = Vec::new();
    while let Some(input) = sensor.next_input() {
        let (stream, label) = (input.stream, input.sample.label.unwrap());
        let ticket = bench.runner.submit(stream, None, input.released, input.sample.inputs.clone());
        tickets.push((stream, label, ticket));
    }
    for (stream, label, ticket) in tickets {
        // Where this thread was late, a newer input may have taken an older one's place.
        match ticket.unwrap().wait() {
            Ok(answered) => {
                let factor = [2.0, 8.0][stream];
                assert_eq!(answered.outputs[0].to_f32().unwrap(), [factor * label as f32; 4]);
                assert_eq!(answered.record.outcome, Outcome::Local);
            }
            Err(error) => assert!(matches!(error, RunnerError::Replaced), "{error}"),
        }
    }
    for stream in 0..2 {
        let (counts, _) = bench.runner.counts(stream);
        assert_eq!(counts.by_device + counts.shed, 20);
    }
}

#[test]
fn the_first_answer_counts_whoever_gives_it() {
    let mut armed = stream("double", 1);
    armed.deadline = 60 * MS;
    let bench = Bench::new(AllFog, &[(armed, TestModel::scaling(2.0))]);
    assert_eq!(bench.ask(0, 1.0), (7.0, Outcome::Fog));

    // The device answers when the input is armed, and the fog host after it.
    bench.is(Mood::Slowly(7.0, 40 * MS));
    std::thread::sleep(21 * MS);
    assert_eq!(bench.ask(0, 1.0), (2.0, Outcome::Compensated));
    let late = (0..1_000).any(|_| {
        std::thread::sleep(5 * MS);
        let (counts, discarded) = bench.runner.counts(0);
        assert_eq!((counts.by_fog, counts.by_device), (1, 1));
        discarded.late + discarded.timed_out == 1
    });
    assert!(late, "{:?}", bench.runner.counts(0));
}

#[test]
fn a_refused_request_is_answered_by_the_device_at_once() {
    let mut slow = stream("double", 1);
    // Armed so late that the test would time out.
    (slow.period, slow.deadline) = (20_000_000 * MS, 20_000_000 * MS);
    let bench = Bench::new(AllFog, &[(slow, TestModel::scaling(2.0))]);
    bench.is(Mood::Refuse);
    assert_eq!(bench.ask(0, 1.0), (2.0, Outcome::Fallback));
    assert_eq!(bench.runner.counts(0).1.refused, 1);
}

#[test]
fn a_model_that_traps_is_answered_by_the_fog_host_or_fails_its_own_inputs_only() {
    let models = [
        (stream("trap", 1), TestModel::behaving(Behaviour::Trap)),
        (stream("double", 1), TestModel::scaling(2.0)),
    ];
    let bench = Bench::new(AllLocal, &models);
    let tickets = [0, 1].map(|stream| bench.submit(stream, 1.0).unwrap());
    let [trap, double] = tickets.map(Ticket::wait);
    assert!(matches!(trap, Err(RunnerError::Run(_))), "{trap:?}");
    assert_eq!(double.unwrap().outputs, TestModel::input([2.0; 4]));
    assert_eq!(bench.runner.counts(0).0.failed, 1);

    let bench = Bench::new(AllFog, &models);
    bench.is(Mood::Slowly(7.0, 30 * MS));
    assert_eq!(bench.ask(0, 1.0), (7.0, Outcome::Fog));
}

#[test]
fn a_newer_input_takes_the_place_of_one_that_came_too_early() {
    let mut slow = stream("double", 1);
    (slow.period, slow.deadline) = (20_000 * MS, 20_000 * MS);
    let bench = Bench::new(AllLocal, &[(slow, TestModel::scaling(2.0))]);
    assert_eq!(bench.ask(0, 1.0), (2.0, Outcome::Local));
    let (early, earlier) = (bench.submit(0, 1.0).unwrap(), bench.submit(0, 1.0).unwrap());
    assert_eq!(earlier.placed.dropped, Some(early.placed.input));
    assert!(matches!(early.wait(), Err(RunnerError::Replaced)));
    // And the runner ends without waiting for the one that is left.
    drop(bench);
    assert!(matches!(earlier.wait(), Err(RunnerError::Ended)));
}

#[test]
fn what_a_stream_cannot_take_goes_to_its_smaller_model() {
    let large = Stream {
        period: 20_000 * MS,
        overload: Overload::Degrade,
        degrade_to: Some("small".into()),
        ..stream("large", 2)
    };
    let small = stream("small", 1);
    let models =
        [(large.clone(), TestModel::chain(2, 2.0)), (small.clone(), TestModel::scaling(3.0))];
    let bench = Bench::new(AllLocal, &models);
    assert_eq!(bench.ask(0, 1.0).0, 4.0);
    // The second waits for its period, and the third would have to wait behind it.
    let waiting = bench.submit(0, 1.0).unwrap();
    assert_eq!(bench.ask(0, 1.0).0, 3.0);
    drop(waiting);
    assert!(bench.runner.set_degraded(0, true));
    std::thread::sleep(21 * MS);
    assert_eq!(bench.ask(0, 1.0).0, 3.0);
    assert!(!bench.runner.set_degraded(1, true), "it has no smaller model");
    assert_eq!(bench.runner.counts(1).0.by_device, 2);
}

#[test]
fn every_execution_on_the_device_feeds_the_watch() {
    let watch = Arc::new(Watch::new(testing::calibration(), BoundRule::default()));
    let models = [(stream("chain", 3), TestModel::chain(3, 2.0))];
    let bench = Bench::try_new(
        AllLocal,
        &models,
        Watched { watch: Some(Arc::clone(&watch)), ..Watched::default() },
    )
    .unwrap();
    for _ in 0..5 {
        bench.ask(0, 1.0);
        std::thread::sleep(21 * MS);
    }
    // Whole models are counted, and not their stages.
    assert_eq!(watch.seen().runs, 5);
}

#[test]
fn probes_bring_the_deadline_aware_policy_to_a_fog_host_that_is_faster() {
    let slow = Stream { period: 2_000 * MS, stages: vec![1_000 * MS], ..stream("double", 1) };
    let bench = Bench::new(DeadlineAware::default(), &[(slow, TestModel::scaling(2.0))]);
    while bench.runner.inspect(|beliefs| beliefs.link().parameters().is_none()) {
        std::thread::sleep(MS);
    }
    let answered = bench.submit(0, 1.0).unwrap().wait().unwrap();
    // T_F is not known yet: one inference finds out.
    assert_eq!(answered.record.decision.reason, Reason::FogUntried);
    assert_eq!(answered.record.outcome, Outcome::Fog);
}

/// Waits until it is so. The runner looks once a second by itself.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(MS);
    }
    panic!("a minute, and not yet: {what}");
}

#[test]
fn the_exchange_that_the_device_outpaced_is_ended() {
    let soon = Stream { period: 300 * MS, deadline: 300 * MS, ..stream("double", 1) };
    let bench = Bench::new(AllFog, &[(soon, TestModel::scaling(2.0))]);
    bench.is(Mood::Hang);
    assert_eq!(bench.ask(0, 1.0), (2.0, Outcome::Compensated));
    until("the exchange is ended", || bench.runner.counts(0).1.aborted == 1);
    // And one that hangs does not keep the runner from ending.
    let ticket = bench.submit(0, 1.0).unwrap();
    drop(bench);
    assert!(matches!(ticket.wait(), Err(RunnerError::Ended)));
}

/// A set of one stream whose models multiply by these factors.
fn serve_alone(bench: &Bench, stream: &Stream, factors: &[f32]) -> Vec<Digest> {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let model = |factor: &f32| {
        let component = TestModel::scaling(*factor).component(&Sandbox::engine_claim());
        Model::of(sandbox.load(&component).unwrap().instantiate().unwrap(), 1_000 * MS)
    };
    let models: Vec<Model> = factors.iter().map(model).collect();
    let digests = models.iter().map(|model| model.module.digest()).collect();
    let streams = std::slice::from_ref(stream);
    let executor = Executor { tolerance: MS, ..Executor::default() };
    let admission = admit(streams, &executor).unwrap();
    let set = Set { streams, admission: &admission, models: vec![models] };
    assert_eq!(bench.runner.serve(set).unwrap(), [0]);
    digests
}

#[test]
fn what_was_taken_before_a_swap_is_answered_by_the_model_of_before() {
    let slow = Stream { period: 400 * MS, ..stream("double", 1) };
    let bench = Bench::new(AllLocal, &[(slow.clone(), TestModel::scaling(2.0))]);
    let before = bench.submit(0, 1.0).unwrap();
    // It is too early, and waits for the period after the first; the swap does not.
    let early = bench.submit(0, 1.0).unwrap();
    serve_alone(&bench, &slow, &[3.0]);
    let first = |ticket: Ticket| ticket.wait().unwrap().outputs[0].to_f32().unwrap()[0];
    let first_deadline = before.placed.deadline;
    assert_eq!(first(before), 2.0);
    assert!(matches!(early.wait(), Err(RunnerError::Changing)));
    // Asked again, it has the place that it had before.
    let again = bench.submit(0, 1.0).unwrap();
    assert_eq!(again.placed.deadline, first_deadline + slow.period);
    assert_eq!(first(again), 3.0);
    let counts = bench.runner.counts(0).0;
    assert_eq!((counts.arrived, counts.by_device), (2, 2));
}

#[test]
fn of_several_models_of_a_stream_the_one_that_is_named_answers_and_no_other() {
    let double = stream("double", 1);
    let bench = Bench::new(AllLocal, &[(double.clone(), TestModel::scaling(2.0))]);
    let old = serve_alone(&bench, &double, &[2.0])[0];
    let both = serve_alone(&bench, &double, &[2.0, 5.0]);
    assert_eq!(both[0], old);
    let ask = |module| {
        let ticket =
            bench.runner.submit(0, Some(module), bench.runner.now(), TestModel::input([1.0; 4]));
        ticket.map(|ticket| ticket.wait().unwrap())
    };
    for (module, factor) in [(both[1], 5.0), (both[0], 2.0)] {
        let answered = ask(module).unwrap();
        assert_eq!(answered.outputs, TestModel::input([factor; 4]));
        assert_eq!(answered.record.module, module);
    }
    serve_alone(&bench, &double, &[5.0]);
    assert!(matches!(ask(old), Err(RunnerError::Superseded)));
    // And a stream that is not served any more takes nothing.
    let nobody = admit(&[], &Executor::default()).unwrap();
    bench.runner.serve(Set { streams: &[], admission: &nobody, models: vec![] }).unwrap();
    assert!(matches!(ask(both[1]), Err(RunnerError::Superseded)));
}

#[test]
fn a_run_that_is_stopped_raises_the_bound_and_the_streams_are_admitted_anew() {
    let watch = Arc::new(Watch::new(testing::calibration(), BoundRule::default()));
    let endless = TestModel::behaving(Behaviour::Spin);
    let long = Stream { period: 2_000 * MS, deadline: 2_000 * MS, ..stream("endless", 1) };
    let watched = Watched { watch: Some(Arc::clone(&watch)), exactly: true, thermal: None };
    let bench = Bench::try_new(AllLocal, &[(long, endless)], watched).unwrap();
    let (bound, slack) = (watch.bound().time, bench.runner.standing().admitted[0].slack);
    let stopped = bench.submit(0, 1.0).unwrap().wait();
    assert!(matches!(stopped, Err(RunnerError::Stopped { .. })), "{stopped:?}");
    assert!(watch.bound().time > bound && watch.seen().exceeded == 1);
    until("less slack is promised", || bench.runner.standing().admitted[0].slack < slack);
}

/// A large stream with a smaller one, for half of the core.
fn large_and_small() -> [(Stream, TestModel); 2] {
    let long = 2_000 * MS;
    let large = Stream {
        period: long,
        deadline: long,
        stages: vec![1_000 * MS],
        degrade_to: Some("small".into()),
        ..stream("large", 1)
    };
    let small =
        Stream { period: long, deadline: long, stages: vec![200 * MS], ..stream("small", 1) };
    [(large, TestModel::scaling(2.0)), (small, TestModel::scaling(3.0))]
}

#[test]
fn a_bound_that_is_raised_has_the_streams_admitted_anew() {
    let watch = Arc::new(Watch::new(testing::calibration(), BoundRule::default()));
    let models = large_and_small();
    let watched = Watched { watch: Some(Arc::clone(&watch)), exactly: true, thermal: None };
    let bench = Bench::try_new(AllLocal, &models, watched).unwrap();
    let standing = bench.runner.standing();
    assert!(standing.admitted.len() == 2 && standing.set_aside.is_empty());
    let waits = standing.admitted[0].arm_after;
    // A run that takes a fifth longer than promised still fits; three times do not.
    assert!(watch.observe(watch.bound().time + watch.bound().time / 100));
    until("it is promised again, with less time to wait for the fog host", || {
        let standing = bench.runner.standing();
        standing.set_aside.is_empty() && standing.admitted[0].arm_after < waits
    });
    assert!(watch.observe(2 * watch.bound().time));
    until("the large one makes room", || bench.runner.standing().set_aside == ["large"]);
    let standing = bench.runner.standing();
    assert!(standing.refusal.is_some() && standing.admitted.len() == 1, "{standing:?}");
    assert_eq!(bench.ask(0, 1.0).0, 3.0);
    // Where there is nothing left to set aside, the promise is over, and said to be.
    assert!(watch.observe(100 * watch.bound().time));
    until("nothing is promised", || bench.runner.standing().admitted.is_empty());
    assert!(bench.runner.standing().refusal.is_some());
}

#[test]
fn heat_prefers_the_fog_host_and_sets_streams_aside_in_order() {
    let tree = Tree::parse(RASPBERRY_PI_4);
    let root = tree.root();
    let rules = Rules {
        degrade: vec!["large".into()],
        // As fast as before, so that only heat is at work.
        throttled_khz: Some(1_800_000),
        hold_seconds: 0.0,
        ..Rules::for_zones(&Zone::all(&root))
    };
    let (soft, hard) = (rules.soft_celsius, rules.hard_celsius);
    let device = Device::read(&root.path(""), Some(0));
    let monitor = Monitor::new(root, device, Machine::new(rules).unwrap());
    let models = large_and_small();
    let watched = Watched { thermal: Some(monitor), exactly: true, watch: None };
    let bench = Bench::try_new(AllLocal, &models, watched).unwrap();
    let heat = |celsius: f64| {
        let file = "sys/class/thermal/thermal_zone0/temp";
        tree.write(file, &format!("{}\n", (celsius * 1e3) as i64));
    };
    let level = |wanted: Level| {
        until(&format!("{wanted:?}"), || bench.runner.inspect(|beliefs| beliefs.heat()) == wanted);
    };
    heat(soft + 1.0);
    level(Level::Warm);
    assert!(bench.runner.standing().set_aside.is_empty());
    heat(hard + 1.0);
    level(Level::Hot);
    until("the large one is set aside", || bench.runner.standing().set_aside == ["large"]);
    assert_eq!(bench.ask(0, 1.0).0, 3.0);
    heat(20.0);
    level(Level::Normal);
    until("it is back", || bench.runner.standing().set_aside.is_empty());
    assert_eq!(bench.ask(0, 1.0).0, 2.0);
}
