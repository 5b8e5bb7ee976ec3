//! Models with streams: the device's executor answers them, as was promised, whatever
//! is deployed meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use leeway_runtime::offload::record::Outcome;

use super::*;
use crate::serving::{Answer, Fault, Lane};
use crate::state::{Rollout, StreamSettings};
use crate::testing::Behaviour;

/// Settings with these streams, under which nothing passes or fails by time.
fn with_streams(names: &[&str], period_ms: f64) -> Settings {
    let stream = |name: &&str| StreamSettings::new(*name, period_ms, 5_000.0);
    let most = u64::MAX;
    let rules = Rules { overruns: most, deadline_misses: most, ..Rules::default() };
    let streams = names.iter().map(stream).collect();
    Settings { streams, ..watched(rules).unwrap() }
}

struct Camera {
    bench: Bench,
    deployer: Arc<Deployer>,
}

impl Camera {
    /// A device with a model of one stream, whose version has proven itself.
    fn new(period_ms: f64) -> Self {
        let bench = Bench::new();
        let deployer = bench.open();
        let camera = Self { bench, deployer };
        camera.deploy(2.0, with_streams(&["camera"], period_ms)).unwrap();
        camera.prove(2.0);
        camera
    }

    fn deploy(&self, factor: f32, settings: Settings) -> Result<Deployed, Refusal> {
        let module = component(&scaling(factor));
        let request = Request { settings: Some(settings), ..self.bench.request(&module, 1) };
        deploy(&self.deployer, &request, &module)
    }

    fn prove(&self, factor: f32) {
        self.deployer.conclude(&outcome(&component(&scaling(factor)), "fine"));
    }

    fn ask(&self, stream: Option<&str>) -> Answer {
        self.deployer.infer_on("scaling", stream, TestModel::input([1.0; 4])).unwrap()
    }

    fn factor(&self) -> f32 {
        self.ask(None).ran.outputs[0].to_f32().unwrap()[0]
    }

    /// The streams that are promised anything, by the executor.
    fn promised(&self) -> Vec<String> {
        let admitted = self.deployer.streams().standing().admitted;
        admitted.into_iter().map(|stream| stream.name).collect()
    }
}

#[test]
fn a_stream_is_answered_by_the_executor_and_says_how() {
    let camera = Camera::new(1.0);
    let answer = camera.ask(None);
    assert_eq!(answer.ran.outputs[0].to_f32().unwrap(), [2.0; 4]);
    let decision = answer.ran.decision.unwrap();
    assert_eq!((&*decision.task, decision.outcome), ("camera", Outcome::Local));
    assert_eq!(decision.deadline, Some(Duration::from_secs(5)));
    assert_eq!(camera.promised(), ["camera"]);
    // A model without a stream runs when there is time, and no promise is made to it.
    camera.deploy(3.0, with_streams(&[], 1.0)).unwrap();
    assert!(camera.ask(None).ran.decision.is_none() && camera.promised().is_empty());
}

#[test]
fn with_several_streams_an_input_says_which_one_it_belongs_to() {
    let camera = Camera::new(1.0);
    camera.deploy(3.0, with_streams(&["left", "right"], 10.0)).unwrap();
    assert_eq!(camera.promised(), ["left", "right"]);
    for stream in ["left", "right"] {
        assert_eq!(camera.ask(Some(stream)).ran.decision.unwrap().task, stream);
    }
    let fails = |stream| {
        let input = TestModel::input([1.0; 4]);
        camera.deployer.infer_on("scaling", stream, input).unwrap_err().to_string()
    };
    assert!(fails(None).contains("name one of [\"left\", \"right\"]"), "{}", fails(None));
    let none = fails(Some("camera"));
    assert!(none.contains("no stream \"camera\"; it has [\"left\", \"right\"]"), "{none}");
}

#[test]
fn swaps_rollbacks_restarts_and_removal_change_what_the_executor_serves() {
    let camera = Camera::new(1.0);
    camera.deploy(3.0, with_streams(&["camera"], 1.0)).unwrap();
    assert_eq!(camera.factor(), 3.0);
    camera.deployer.roll_back("scaling", "asked for").unwrap();
    assert_eq!((camera.factor(), camera.promised()), (2.0, vec!["camera".to_owned()]));
    let again = camera.bench.open();
    let answer = again.infer("scaling", TestModel::input([1.0; 4])).unwrap();
    assert_eq!(answer.ran.decision.unwrap().task, "camera");
    drop(again);
    camera.deployer.remove("scaling", "asked for", None).unwrap();
    assert!(camera.promised().is_empty());
}

#[test]
fn a_module_is_measured_anew_where_that_is_asked_for() {
    let camera = Camera::new(1_000.0);
    let watch = || {
        let routing = camera.deployer.serving().model("scaling").unwrap().routing();
        Arc::clone(routing.primary.watch.as_ref().unwrap())
    };
    let promised = || watch().bound().time;
    let raised = Duration::from_secs(3);
    assert!(watch().observe(raised));
    let module = component(&scaling(2.0));
    let request = |recalibrate| Request { recalibrate, ..camera.bench.request(&module, 1) };
    // What was seen counts: 3 s and more do not fit a period of one.
    let refusal = deploy(&camera.deployer, &request(false), &module).unwrap_err();
    assert_eq!(refusal.step, Step::Admit, "{refusal}");
    assert!(promised() >= raised, "{:?}", promised());
    deploy(&camera.deployer, &request(true), &module).unwrap();
    assert!(promised() < raised, "{:?}", promised());
}

#[test]
fn what_is_not_schedulable_is_refused_and_the_old_one_keeps_its_promise() {
    let camera = Camera::new(1.0);
    let mut impossible = with_streams(&["camera"], 1.0);
    impossible.streams[0].deadline_ms = 1e-6;
    let refusal = camera.deploy(3.0, impossible).unwrap_err();
    assert_eq!(refusal.step, Step::Admit);
    assert!(refusal.to_string().contains("camera"), "{refusal}");
    assert_eq!((camera.factor(), camera.promised()), (2.0, vec!["camera".to_owned()]));
}

#[test]
fn swaps_under_load_through_a_stream_lose_nothing() {
    let camera = Camera::new(1.0);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut answers = 0u64;
            while !ended.load(Ordering::Relaxed) {
                assert!([2.0, 3.0].contains(&camera.factor()));
                answers += 1;
            }
            answers
        });
        let swapped: Vec<_> = (0..20)
            .map(|turn| {
                let factor = if turn % 2 == 0 { 3.0 } else { 2.0 };
                camera.deploy(factor, with_streams(&["camera"], 1.0)).map(|_| camera.prove(factor))
            })
            .collect();
        ended.store(true, Ordering::Relaxed);
        swapped.into_iter().for_each(|result| result.unwrap());
        assert!(load.join().unwrap() > 0);
    });
    let Some(Lane::Promised(place)) = camera.deployer.serving().lanes().get("camera").cloned()
    else {
        panic!("it is promised");
    };
    let (counts, _) = camera.deployer.streams().counts(place);
    assert_eq!((counts.shed, counts.by_device + counts.overruns >= counts.arrived), (0, true));
}

#[test]
fn an_input_too_many_is_turned_away_and_is_not_the_models_fault() {
    // The next input's time is in an hour; one may wait for it.
    let camera = Camera::new(3_600_000.0);
    camera.deploy(3.0, with_streams(&["camera"], 3_600_000.0)).unwrap();
    assert_eq!(camera.factor(), 3.0);
    let deployer = Arc::clone(&camera.deployer);
    let ask = move || deployer.infer("scaling", TestModel::input([1.0; 4]));
    let fault = |error: ServeError| match error {
        ServeError::Run { source, .. } => source.fault(),
        error => panic!("{error}"),
    };
    // Whichever of the two comes second.
    let (told, hears) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let (told, ask) = (told.clone(), ask.clone());
        std::thread::spawn(move || told.send(ask()).ok());
    }
    assert_eq!(fault(hears.recv().unwrap().unwrap_err()), Fault::Shed);
    let counts = camera.deployer.serving().model("scaling").unwrap().probation_counts().unwrap();
    assert_eq!((counts.inferences, counts.failures), (1, 0));
}

#[test]
fn a_canary_answers_its_share_of_a_stream_within_the_stream_s_promise() {
    let camera = Camera::new(1.0);
    let rollout = Rollout { canary: Some(0.25), shadow: 0.0 };
    let settings = Settings { rollout, ..with_streams(&["camera"], 1.0) };
    assert!(camera.deploy(3.0, settings).unwrap().canary);
    let answers: Vec<Answer> = (0..12).map(|_| camera.ask(None)).collect();
    let factor = |answer: &Answer| answer.ran.outputs[0].to_f32().unwrap()[0];
    assert_eq!(answers.iter().filter(|answer| factor(answer) == 3.0).count(), 3);
    for answer in &answers {
        assert_eq!(answer.ran.decision.as_ref().map(|d| d.module), Some(answer.digest));
    }
    let digest = Digest::of(&component(&scaling(3.0)));
    camera.deployer.promote("scaling", digest, "for the test").unwrap();
    assert_eq!((camera.factor(), camera.promised()), (3.0, vec!["camera".to_owned()]));
}

#[test]
fn what_cannot_be_kept_any_more_is_set_aside_and_told_also_after_a_restart() {
    let camera = Camera::new(10.0);
    assert_eq!(camera.factor(), 2.0);
    let status = || camera.deployer.stream_status().remove("camera").unwrap();
    assert!(status().promised.is_some() && status().reason.is_none());
    let version =
        Arc::clone(&camera.deployer.serving().model("scaling").unwrap().routing().primary);
    let watch = version.watch.as_ref().unwrap();
    // A run takes longer than its deadline.
    watch.observe(Duration::from_secs(6));
    let begin = std::time::Instant::now();
    while !status().set_aside {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let told = status();
    assert!(told.promised.is_none() && told.exceeded > 0, "{told:?}");
    assert!(told.reason.unwrap().contains("camera") && told.counts.arrived > 0);
    let refused = |deployer: &Deployer| match deployer
        .infer("scaling", TestModel::input([1.0; 4]))
        .unwrap_err()
    {
        ServeError::Run { source, .. } => source.fault(),
        error => panic!("{error}"),
    };
    assert_eq!(refused(&camera.deployer), Fault::SetAside);
    // What was seen is kept: it is not promised after a restart, either.
    let Camera { bench, deployer } = camera;
    drop((version, deployer));
    let again = bench.open();
    let told = again.stream_status().remove("camera").unwrap();
    assert!(told.set_aside && told.reason.unwrap().contains("camera"));
    assert_eq!(refused(&again), Fault::SetAside);
}

/// A device with a stream that hands inputs on to the stream `small` of a smaller model.
struct Degrading(Camera);

impl Degrading {
    fn new() -> Self {
        let bench = Bench::new();
        let deployer = bench.open();
        let own = Self(Camera { bench, deployer });
        own.deploy_small(with_streams(&["small"], 1_000.0)).unwrap();
        own.deploy_large().unwrap();
        own
    }

    fn bring(&self, model: &TestModel, settings: Settings) -> Result<Deployed, Refusal> {
        let Camera { bench, deployer } = &self.0;
        let module = component(model);
        let request = Request { settings: Some(settings), ..bench.request(&module, 1) };
        deploy(deployer, &request, &module)
    }

    fn deploy_small(&self, settings: Settings) -> Result<Deployed, Refusal> {
        self.bring(&TestModel { name: "small".into(), ..scaling(2.0) }, settings)
    }

    fn deploy_large(&self) -> Result<Deployed, Refusal> {
        let mut settings = with_streams(&["camera"], 1_000.0);
        settings.streams[0].overload = crate::state::Overload::Degrade;
        settings.streams[0].degrade_to = Some("small".into());
        self.bring(&TestModel::behaving(Behaviour::Busy(3_000_000)), settings)
    }

    fn promised(&self) -> Vec<String> {
        let mut names = self.0.promised();
        names.sort();
        names
    }

    /// What the status says of the stream.
    fn no_smaller(&self) -> Option<String> {
        let status = self.0.deployer.stream_status().remove("camera").unwrap();
        assert!(status.promised.is_some(), "{status:?}");
        status.no_smaller
    }
}

#[test]
fn a_stream_whose_smaller_model_is_gone_drops_inputs_and_holds_no_deployment_up() {
    const NONE: &str = "there is no stream \"small\"";
    let device = Degrading::new();
    assert_eq!(device.no_smaller(), None);
    device.0.deployer.remove("small", "asked for", None).unwrap();
    assert_eq!(device.no_smaller().as_deref(), Some(NONE));
    assert_eq!(device.promised(), ["camera"]);
    // Others are deployed as before.
    let other = TestModel { name: "other".into(), ..scaling(3.0) };
    device.bring(&other, with_streams(&["other"], 1_000.0)).unwrap();
    assert_eq!(device.promised(), ["camera", "other"]);
    // A candidate asks for what is not there.
    let refusal = device.deploy_large().unwrap_err();
    assert_eq!(refusal.step, Step::Admit);
    assert!(refusal.to_string().contains("\"small\", which is not among"), "{refusal}");
    // It comes back, and goes again by another version without the stream.
    device.deploy_small(with_streams(&["small"], 1_000.0)).unwrap();
    assert_eq!(device.no_smaller(), None);
    // It takes longer than was thought, which is seen while it serves.
    let small = device.0.deployer.serving().model("small").unwrap().routing();
    small.primary.watch.as_ref().unwrap().observe(Duration::from_millis(500));
    device.bring(&other, with_streams(&["other"], 2_000.0)).unwrap();
    let why = device.no_smaller().unwrap();
    assert!(why.contains("the model of \"small\" takes"), "{why}");
    device.deploy_small(with_streams(&["tiny"], 1_000.0)).unwrap();
    assert_eq!(device.no_smaller().as_deref(), Some(NONE));
    assert_eq!(device.promised(), ["camera", "other", "tiny"]);
    // Also after a restart.
    let Degrading(Camera { bench, deployer }) = device;
    drop(deployer);
    let again = bench.open();
    let status = again.stream_status().remove("camera").unwrap();
    assert!(status.promised.is_some() && status.no_smaller.as_deref() == Some(NONE));
}
