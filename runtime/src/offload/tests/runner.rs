//! The runner's threads with real components, and a fog host that does what it is
//! told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leeway_contract::Digest;

use crate::admission::{Executor, Offloading, Overload, Stream, admit};
use crate::offload::estimate::FogTime;
use crate::offload::fog::{Fog, FogAnswer, FogError, InferRequest, Pushed, Traffic};
use crate::offload::policy::{AllFog, AllLocal, DeadlineAware, Policy, Reason};
use crate::offload::record::Outcome;
use crate::offload::sensor::{self, Pacing, Sample, Sensor};
use crate::offload::{Model, Options, Runner, RunnerError, Setup, Ticket};
use crate::realtime::RealTime;
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::testing::{Behaviour, TestModel};
use crate::timing::{BoundRule, Watch, testing};

const MS: Duration = Duration::from_millis(1);

/// What the fog host does with the next requests.
#[derive(Clone, Debug, PartialEq)]
enum Mood {
    /// It answers with this value everywhere.
    Answer(f32),
    /// The same after a time.
    Slowly(f32, Duration),
    Refuse,
}

#[derive(Debug)]
struct FakeFog(Mutex<Mood>);

impl Fog for FakeFog {
    fn infer(&self, request: &InferRequest<'_>, limit: Duration) -> Result<FogAnswer, FogError> {
        let (value, time) = match self.0.lock().unwrap().clone() {
            Mood::Answer(value) => (value, Duration::ZERO),
            Mood::Slowly(value, time) => (value, time),
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

struct Bench {
    runner: Runner,
    fog: Arc<FakeFog>,
}

impl Bench {
    fn new(policy: impl Policy + 'static, models: &[(Stream, TestModel)]) -> Self {
        Self::try_new(policy, models, None).unwrap()
    }

    fn try_new(
        policy: impl Policy + 'static,
        models: &[(Stream, TestModel)],
        watch: Option<Arc<Watch>>,
    ) -> Result<Self, RunnerError> {
        let streams: Vec<Stream> = models.iter().map(|(stream, _)| stream.clone()).collect();
        // So that a machine busy with other tests stops nothing.
        let executor = Executor { tolerance: 1_000 * MS, ..Executor::default() };
        let planned = Executor { tolerance: MS, ..executor };
        let admission = admit(&streams, &planned).unwrap();
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        let models = models.iter().map(|(_, model)| {
            let component = model.component(&Sandbox::engine_claim());
            let instance = sandbox.load(&component).unwrap().instantiate().unwrap();
            Model { instance, wcet: 1_000 * MS, watch: watch.clone(), component: None }
        });
        let fog = Arc::new(FakeFog(Mutex::new(Mood::Answer(7.0))));
        let setup = Setup {
            streams: &streams,
            admission: &admission,
            executor,
            policy: Box::new(policy),
            fog: Arc::clone(&fog) as Arc<dyn Fog>,
            options: Options::default(),
            real_time: RealTime::default(),
        };
        Ok(Self { runner: Runner::start(setup, models.collect())?, fog })
    }

    fn is(&self, mood: Mood) {
        *self.fog.0.lock().unwrap() = mood;
    }

    fn submit(&self, stream: usize, value: f32) -> Result<Ticket, RunnerError> {
        self.runner.submit(stream, self.runner.now(), TestModel::input([value; 4]))
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
        let ticket = bench.runner.submit(stream, input.released, input.sample.inputs.clone());
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
    let bench = Bench::try_new(AllLocal, &models, Some(Arc::clone(&watch))).unwrap();
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
    let mut prober = bench.runner.prober();
    prober.catch_up(10);
    let answered = bench.submit(0, 1.0).unwrap().wait().unwrap();
    // T_F is not known yet: one inference finds out.
    assert_eq!(answered.record.decision.reason, Reason::FogUntried);
    assert_eq!(answered.record.outcome, Outcome::Fog);
}
