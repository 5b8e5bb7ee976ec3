//! Probation, canaries and shadow runs, with versions that fail on demand.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::serving::{Fault, Ran, RunFailure, Runner};
use crate::state::{DriftRule, Event, Rollout, StreamSettings};
use crate::transaction::Cause;
use leeway_runtime::sandbox::Module;

/// Runs a module, until it shall fail.
struct Fragile {
    inner: Box<dyn Runner>,
    digest: Digest,
    failing: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Runner for Fragile {
    fn run(&self, inputs: &[Tensor]) -> Result<Ran, RunFailure> {
        match lock(&self.failing).contains(&self.digest) {
            true => Err(RunFailure::of(Fault::Model, "the component trapped")),
            false => self.inner.run(inputs),
        }
    }
}

struct Fixture {
    bench: Bench,
    deployer: Arc<Deployer>,
    failing: Arc<Mutex<BTreeSet<Digest>>>,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// A device that serves a version that has proven itself, and is to get a new one.
fn fixture() -> Fixture {
    let bench = Bench::new();
    let failing: Arc<Mutex<BTreeSet<Digest>>> = Arc::default();
    let given = Arc::clone(&failing);
    let launch: Launch = Arc::new(move |module: &Module, deadline| {
        let inner = Instances::launch(module, deadline)?;
        Ok(Box::new(Fragile { inner, digest: module.digest(), failing: Arc::clone(&given) }))
    });
    let deployer = bench.open_with(Config { launch, ..bench.config() });
    let (old, new) = (component(&scaling(2.0)), component(&scaling(3.0)));
    bench.deploy(&deployer, &old).unwrap();
    deployer.conclude(&outcome(&old, "fine"));
    Fixture { bench, deployer, failing, old, new }
}

impl Fixture {
    fn deploy(&self, settings: Option<Settings>) {
        let request = Request { settings, ..self.bench.request(&self.new, 1) };
        deploy(&self.deployer, &request, &self.new).unwrap();
    }

    fn fails(&self, component: &[u8]) {
        lock(&self.failing).insert(Digest::of(component));
    }

    /// Waits for what a thread of the deployer does.
    fn wait(&self, what: &str, done: impl Fn(&crate::state::Slots) -> bool) {
        let begin = std::time::Instant::now();
        while !self.deployer.inspect(|state| done(&state.models["scaling"])) {
            let state = self.deployer.inspect(|state| state.models["scaling"].clone());
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}: {state:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn last(&self) -> (Event, String) {
        let last = self.deployer.inspect(|s| s.models["scaling"].history.last().cloned());
        let last = last.unwrap();
        (last.event, last.reason)
    }
}

#[test]
fn a_version_that_traps_gives_way_and_no_inference_is_lost() {
    let fixture = fixture();
    fixture.deploy(watched(Rules::default()));
    assert_eq!(answer(&fixture.deployer), 3.0);
    fixture.fails(&fixture.new);
    // The old one answers in its place, at once.
    assert_eq!(answer(&fixture.deployer), 2.0);
    fixture.wait("rollback", |slots| slots.proven);
    let (event, reason) = fixture.last();
    assert_eq!(event, Event::RolledBack);
    assert!(reason.contains("1 of 2 inferences failed, at most 0"), "{reason}");
    assert_eq!(answer(&fixture.deployer), 2.0);
}

#[test]
fn a_healthy_version_proves_itself() {
    let fixture = fixture();
    fixture.deploy(watched(Rules { inferences: 5, overruns: 5, ..Rules::default() }));
    (0..5).for_each(|_| assert_eq!(answer(&fixture.deployer), 3.0));
    fixture.wait("proof", |slots| slots.proven);
    assert_eq!(fixture.last().0, Event::Proven);
    // A failure from now on is an error of that inference, and no reason.
    fixture.fails(&fixture.new);
    assert!(fixture.deployer.infer("scaling", TestModel::input([1.0; 4])).is_err());
}

#[test]
fn time_alone_is_enough_where_nothing_runs() {
    let fixture = fixture();
    let probation = Rules { seconds: 0, ..Rules::default() };
    fixture.deploy(Some(Settings { probation, ..Settings::default() }));
    fixture.wait("proof", |slots| slots.proven);
}

#[test]
fn a_wrong_input_says_nothing_of_the_version() {
    let fixture = fixture();
    fixture.deploy(watched(Rules::default()));
    let wrong = vec![Tensor::from_f32(&[1], &[1.0])];
    assert!(fixture.deployer.infer("scaling", wrong).is_err());
    let model = fixture.deployer.serving().model("scaling").unwrap();
    let probation = model.probation_counts().unwrap();
    assert_eq!((probation.inferences, probation.failures), (0, 0));
}

fn canary(share: f64, rules: Rules) -> Option<Settings> {
    let rollout = Rollout { canary: Some(share), shadow: 0.0 };
    watched(rules).map(|settings| Settings { rollout, ..settings })
}

#[test]
fn a_canary_answers_its_share_and_is_promoted() {
    let fixture = fixture();
    let rules = Rules { inferences: 3, overruns: 100, ..Rules::default() };
    fixture.deploy(canary(0.25, rules));
    let answers: Vec<f32> = (0..12).map(|_| answer(&fixture.deployer)).collect();
    assert_eq!(answers.iter().filter(|&&factor| factor == 3.0).count(), 3, "{answers:?}");
    fixture.wait("promotion", |slots| slots.proven && slots.candidate.is_none());
    let digest = fixture.deployer.inspect(|s| s.models["scaling"].active.clone()).unwrap().digest;
    assert_eq!(digest, Digest::of(&fixture.new));
    fixture.wait("promotion", |slots| slots.proven);
    assert_eq!(answer(&fixture.deployer), 3.0);
}

#[test]
fn a_canary_that_fails_is_withdrawn_and_its_inputs_are_answered() {
    let fixture = fixture();
    fixture.deploy(canary(0.5, Rules::default()));
    fixture.fails(&fixture.new);
    (0..8).for_each(|_| assert_eq!(answer(&fixture.deployer), 2.0));
    fixture.wait("withdrawal", |slots| slots.candidate.is_none());
    let (event, reason) = fixture.last();
    assert!(event == Event::Refused && reason.contains("as a canary"), "{reason}");
    let active = fixture.deployer.inspect(|s| s.models["scaling"].active.clone()).unwrap();
    assert_eq!(active.digest, Digest::of(&fixture.old));
}

#[test]
fn what_a_canary_takes_is_admitted_with_what_is_active_until_it_is_decided() {
    let bench = Bench::new();
    let deployer = bench.open();
    let old = component(&scaling(2.0));
    bench.deploy(&deployer, &old).unwrap();
    deployer.conclude(&outcome(&old, "fine"));
    let slow = TestModel::behaving(crate::testing::Behaviour::Busy(1_000_000));
    let slow = component(&TestModel { name: "scaling".into(), ..slow });
    let digest = Digest::of(&slow);
    let stages = || lock(&deployer.loads)["scaling"].stages();
    let alone = stages();
    let begin = |shadow| {
        let stream = StreamSettings::new("s", 1e6, 1e6);
        let settings = canary(0.5, Rules { overruns: 1 << 30, ..Rules::default() }).unwrap();
        let rollout = Rollout { shadow, ..settings.rollout };
        let settings = Some(Settings { streams: vec![stream], rollout, ..settings });
        let request = Request { settings, ..bench.request(&slow, 1) };
        assert!(deploy(&deployer, &request, &slow).unwrap().canary);
    };
    begin(0.0);
    let other = deployer.serving().model("scaling").unwrap().routing().other.clone().unwrap();
    // Each input is either's: the longer one counts.
    assert_eq!(stages(), [alone[0].max(other.stages()[0])]);
    deployer.withdraw("scaling", digest, "for the test").unwrap();
    assert_eq!(stages(), alone);
    // Each input is both's.
    begin(0.5);
    let other = deployer.serving().model("scaling").unwrap().routing().other.clone().unwrap();
    assert_eq!(stages(), [other.stages()[0], alone[0]]);
    let task = &deployer.admission().unwrap().streams[0];
    assert!(task.response >= other.stages()[0] + alone[0], "{task:?}");
    deployer.promote("scaling", digest, "for the test").unwrap();
    assert_eq!(stages(), other.stages());
}

#[test]
fn outputs_that_drift_in_the_shadow_are_a_reason() {
    for canary in [None, Some(0.0)] {
        let fixture = fixture();
        let drift = Some(DriftRule { tolerance: 0.1, inferences: 1 });
        let rules = Rules { overruns: 1 << 30, inferences: 1 << 30, drift, ..Rules::default() };
        let rollout = Rollout { canary, shadow: 1.0 };
        let settings = watched(rules).map(|settings| Settings { rollout, ..settings });
        fixture.deploy(settings);
        let begin = std::time::Instant::now();
        let settled = |slots: &crate::state::Slots| slots.proven && slots.candidate.is_none();
        while !fixture.deployer.inspect(|state| settled(&state.models["scaling"])) {
            answer(&fixture.deployer);
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
        let (_, reason) = fixture.last();
        assert!(reason.contains("drifted") && reason.contains("0.500"), "{reason}");
        // The pointer follows the state.
        while answer(&fixture.deployer) != 2.0 {
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
    }
}

#[test]
fn a_version_with_which_the_device_keeps_starting_gives_way() {
    let bench = Bench::new();
    let (old, new) = (component(&scaling(2.0)), component(&scaling(3.0)));
    let deployer = bench.open();
    bench.deploy(&deployer, &old).unwrap();
    deployer.conclude(&outcome(&old, "fine"));
    let settings = watched(Rules { starts: 2, ..Rules::default() });
    let request = Request { settings, ..bench.request(&new, 1) };
    deploy(&deployer, &request, &new).unwrap();
    drop(deployer);
    assert_eq!([(); 4].map(|()| answer(&bench.open())), [3.0, 3.0, 2.0, 2.0]);
}

#[test]
fn a_swap_under_load_loses_no_inference() {
    let fixture = fixture();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = || {
            let mut answers = 0u64;
            while !ended.load(Ordering::Relaxed) {
                assert!([2.0, 3.0].contains(&answer(&fixture.deployer)));
                answers += 1;
            }
            answers
        };
        let loads = [scope.spawn(load), scope.spawn(load)];
        let deployed: Vec<_> = (0..20)
            .map(|turn| {
                let module = if turn % 2 == 0 { &fixture.new } else { &fixture.old };
                fixture.bench.deploy(&fixture.deployer, module)
            })
            .collect();
        ended.store(true, Ordering::Relaxed);
        for result in deployed {
            result.unwrap();
        }
        for load in loads {
            assert!(load.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_failure_that_is_not_the_versions_fault_is_told() {
    let fixture = fixture();
    let request = fixture.bench.request(&fixture.new, 1);
    let cancel = Cancel::default();
    let refusal = fixture.deployer.deploy(&request, None, &cancel, &|_| {}).unwrap_err();
    assert!(matches!(*refusal.cause, Cause::NoSource), "{refusal}");
}
