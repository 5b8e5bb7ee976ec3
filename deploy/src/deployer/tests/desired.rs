//! Desired states against a whole deployer: what hangs is superseded, what is broken
//! holds nobody up, and a restart goes on where it was.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::*;
use crate::desired::machine::RetryRule;
use crate::desired::{
    DesiredModel, DesiredState, DesiredStatus, GoalState, Origin, OriginError, Others, Reconciler,
    Resolved, WantError,
};
use crate::state::StreamSettings;
use crate::testing::Behaviour;
use crate::transaction::{Opened, Source};

/// Bytes that come after somebody lets them.
struct Gated {
    bytes: Vec<u8>,
    gate: Option<Receiver<()>>,
}

impl Read for Gated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(gate) = self.gate.take() {
            gate.recv().ok();
        }
        let count = buffer.len().min(self.bytes.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        Ok(count)
    }
}

impl Source for Gated {
    fn open(&mut self, offset: u64) -> io::Result<Opened<'_>> {
        let total = Some(self.bytes.len() as u64);
        self.bytes.drain(..offset as usize);
        let (bytes, gate) = (std::mem::take(&mut self.bytes), self.gate.take());
        Ok(Opened { offset, total, reader: Box::new(Gated { bytes, gate }) })
    }
}

/// What a source of a name does.
enum Place {
    Has(Vec<u8>),
    Hangs(Vec<u8>, Receiver<()>),
    Fails { times: u32, then: Vec<u8> },
}

/// Places by name; whoever has a shelf can put more there.
#[derive(Clone)]
struct Shelf(Arc<Mutex<HashMap<String, Place>>>, Arc<SecretKey>);

impl Origin for Shelf {
    fn resolve(&self, source: &str, _: &DesiredModel, _: &Cancel) -> Result<Resolved, OriginError> {
        let mut places = lock(&self.0);
        let failed = |error: &str| OriginError::Failed {
            source_name: source.to_owned(),
            error: io::Error::other(error.to_owned()),
        };
        let (bytes, gate) = match places.remove(source) {
            Some(Place::Has(bytes)) => {
                places.insert(source.to_owned(), Place::Has(bytes.clone()));
                (bytes, None)
            }
            Some(Place::Hangs(bytes, gate)) => (bytes, Some(gate)),
            Some(Place::Fails { times: 0, then }) => (then, None),
            Some(Place::Fails { times, then }) => {
                places.insert(source.to_owned(), Place::Fails { times: times - 1, then });
                return Err(failed("no route"));
            }
            None => return Err(failed("no such place")),
        };
        // A stranger has put a newer release's signature there as well.
        let stranger = SecretKey::generate().unwrap();
        let envelopes = vec![signed(&stranger, &bytes, 9), signed(&self.1, &bytes, 1)];
        Ok(Resolved {
            digest: Digest::of(&bytes),
            envelopes,
            source: Box::new(Gated { bytes, gate }),
        })
    }
}

struct Fixture {
    bench: Bench,
    shelf: Shelf,
    deployer: Arc<Deployer>,
    reconciler: Arc<Reconciler>,
}

impl Fixture {
    fn new() -> Self {
        let bench = Bench::new();
        let secret = SecretKey::from_pem(&bench.secret.to_pem()).unwrap();
        let shelf = Shelf(Arc::default(), Arc::new(secret));
        let (deployer, reconciler) = Self::begin(&bench, &shelf);
        Self { bench, shelf, deployer, reconciler }
    }

    fn begin(bench: &Bench, shelf: &Shelf) -> (Arc<Deployer>, Arc<Reconciler>) {
        let deployer = bench.open();
        let rule = RetryRule { first: Duration::from_millis(4), ..RetryRule::default() };
        let origin = Box::new(shelf.clone());
        let reconciler = Reconciler::start(Arc::clone(&deployer), origin, rule).unwrap();
        (deployer, reconciler)
    }

    fn restart(&mut self) {
        let (deployer, reconciler) = Self::begin(&self.bench, &self.shelf);
        (self.deployer, self.reconciler) = (deployer, reconciler);
    }

    fn put(&self, name: &str, place: Place) {
        lock(&self.shelf.0).insert(name.to_owned(), place);
    }

    fn hangs(&self, name: &str, bytes: Vec<u8>) -> Sender<()> {
        let (sender, receiver) = channel();
        self.put(name, Place::Hangs(bytes, receiver));
        sender
    }

    fn want(&self, generation: u64, models: Vec<DesiredModel>) {
        let state = DesiredState { generation, models, ..DesiredState::default() };
        self.reconciler.want(state, false).unwrap();
    }

    fn wait(&self, what: &str, until: impl Fn(&DesiredStatus) -> bool) -> DesiredStatus {
        let begin = Instant::now();
        loop {
            let status = self.reconciler.status();
            if until(&status) {
                return status;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {status:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for(&self, model: &str, state: GoalState) -> String {
        let what = format!("{model} is {state:?}");
        let is = |status: &DesiredStatus| status.models[model].state == state;
        let status = self.wait(&what, is);
        status.models[model].reason.clone().unwrap_or_default()
    }
}

fn from(source: &str, name: &str) -> DesiredModel {
    let source = Some(source.to_owned());
    DesiredModel { name: name.into(), source, ..DesiredModel::default() }
}

fn named(name: &str, factor: f32) -> Vec<u8> {
    component(&TestModel { name: name.into(), ..scaling(factor) })
}

#[test]
fn a_device_becomes_what_it_shall_be_and_remembers_it() {
    let mut fixture = Fixture::new();
    let module = component(&scaling(2.0));
    fixture.put("shelf", Place::Has(module.clone()));
    let wanted = DesiredModel { version: Some("0.0.1".into()), ..from("shelf", "scaling") };
    fixture.want(1, vec![wanted.clone()]);
    let reason = fixture.wait_for("scaling", GoalState::Refused);
    assert!(reason.contains("wanted the version \"0.0.1\""), "{reason}");
    let version = leeway_contract::section::read_certificate(&module).unwrap().model.version;
    fixture.want(2, vec![DesiredModel { version: Some(version), ..wanted }]);
    fixture.wait("reached", DesiredStatus::is_reached);
    assert_eq!(answer(&fixture.deployer), 2.0);
    // Nothing is left of the shelf: after a restart none is needed.
    lock(&fixture.shelf.0).clear();
    fixture.bench.disk.power_cut(Loss::All);
    fixture.restart();
    let status = fixture.reconciler.status();
    assert!(status.is_reached() && status.generation == Some(2), "{status:?}");
    assert_eq!((answer(&fixture.deployer), status.models["scaling"].attempts), (2.0, 0));
}

#[test]
fn a_newer_state_takes_the_place_of_a_fetch_that_hangs_at_once() {
    let fixture = Fixture::new();
    let module = component(&scaling(2.0));
    let gate = fixture.hangs("stuck", module.clone());
    let digest = Some(Digest::of(&module));
    fixture.want(1, vec![DesiredModel { digest, ..from("stuck", "scaling") }]);
    // It is open, and gives nothing.
    let begun =
        || fixture.deployer.store().used_bytes().is_ok() && lock(&fixture.shelf.0).is_empty();
    fixture.wait("the fetch begins", |_| begun());
    // The same module, from a place that has it.
    fixture.put("shelf", Place::Has(module));
    fixture.want(2, vec![DesiredModel { digest, ..from("shelf", "scaling") }]);
    fixture.wait("reached", DesiredStatus::is_reached);
    assert_eq!(answer(&fixture.deployer), 2.0);
    // What hung wakes up, and changes nothing.
    drop(gate);
    assert_eq!(answer(&fixture.deployer), 2.0);
    assert!(fixture.reconciler.status().is_reached());
}

#[test]
fn what_hangs_or_is_broken_holds_no_other_model_up() {
    let fixture = Fixture::new();
    let _gate = fixture.hangs("stuck", named("a", 2.0));
    let mut bad = TestModel { name: "b".into(), ..scaling(3.0) };
    bad.golden[0].outputs[0].data[5] ^= 1;
    fixture.put("bad", Place::Has(component(&bad)));
    fixture.put("good", Place::Has(component(&scaling(4.0))));
    fixture.put("late", Place::Fails { times: 3, then: named("d", 5.0) });
    let models = [("stuck", "a"), ("bad", "b"), ("good", "scaling"), ("late", "d"), ("no", "e")];
    fixture.want(1, models.map(|(source, name)| from(source, name)).into());
    fixture.wait_for("scaling", GoalState::Reached);
    let reason = fixture.wait_for("b", GoalState::Refused);
    assert!(reason.contains("golden vector 0"), "{reason}");
    fixture.wait_for("d", GoalState::Reached);
    let status = fixture.wait("e fails", |status| status.models["e"].reason.is_some());
    assert_eq!(status.models["d"].attempts, 4);
    assert_eq!(status.models["a"].state, GoalState::Working);
    assert!(status.models["e"].reason.as_ref().unwrap().contains("no such place"));
    assert_eq!(answer(&fixture.deployer), 4.0);
}

#[test]
fn a_version_that_failed_its_probation_is_not_brought_in_again_until_it_is_wanted_anew() {
    let mut fixture = Fixture::new();
    fixture.put("old", Place::Has(component(&scaling(2.0))));
    fixture.put("new", Place::Has(component(&scaling(3.0))));
    fixture.want(1, vec![from("old", "scaling")]);
    fixture.wait_for("scaling", GoalState::Reached);
    fixture.deployer.conclude(&outcome(&component(&scaling(2.0)), "fine"));
    fixture.want(2, vec![from("new", "scaling")]);
    fixture.wait_for("scaling", GoalState::Reached);
    fixture.deployer.roll_back("scaling", "it trapped").unwrap();
    let reason = fixture.wait_for("scaling", GoalState::Lost);
    assert!(reason.contains("it trapped"), "{reason}");
    fixture.restart();
    fixture.wait_for("scaling", GoalState::Lost);
    assert_eq!(answer(&fixture.deployer), 2.0);
    fixture.want(3, vec![from("new", "scaling")]);
    fixture.wait_for("scaling", GoalState::Reached);
    assert_eq!(answer(&fixture.deployer), 3.0);
}

#[test]
fn what_had_no_time_is_tried_again_when_another_model_takes_less() {
    let fixture = Fixture::new();
    let slow = TestModel { name: "slow".into(), ..TestModel::behaving(Behaviour::Busy(2_000_000)) };
    fixture.put("slow", Place::Has(component(&slow)));
    fixture.put("light", Place::Has(component(&scaling(2.0))));
    let stream = |name: &str, ms: f64| vec![StreamSettings::new(name, ms, ms)];
    let slow = |streams| DesiredModel { streams, ..from("slow", "slow") };
    let light = |ms| DesiredModel { streams: stream("light", ms), ..from("light", "scaling") };
    // Not even alone is there time for it.
    fixture.want(1, vec![slow(stream("slow", 0.01)), light(10_000.0)]);
    let reason = fixture.wait_for("slow", GoalState::Refused);
    assert!(reason.contains("not admitted"), "{reason}");
    fixture.wait_for("scaling", GoalState::Reached);
    fixture.want(2, vec![slow(stream("slow", 10_000.0)), light(10_000.0)]);
    fixture.wait("reached", DesiredStatus::is_reached);
}

#[test]
fn models_that_are_not_listed_go_where_that_is_wanted() {
    let fixture = Fixture::new();
    fixture.put("a", Place::Has(named("a", 3.0)));
    fixture.put("good", Place::Has(component(&scaling(2.0))));
    fixture.want(1, vec![from("a", "a"), from("good", "scaling")]);
    fixture.wait("reached", DesiredStatus::is_reached);
    let models = vec![from("good", "scaling")];
    let state = DesiredState { generation: 2, others: Others::Remove, models };
    fixture.reconciler.want(state.clone(), false).unwrap();
    fixture.wait("reached", DesiredStatus::is_reached);
    assert!(matches!(fixture.deployer.infer("a", vec![]), Err(ServeError::NoModel { .. })));
    assert_eq!(fixture.deployer.store().modules().unwrap().len(), 1);
    assert_eq!(answer(&fixture.deployer), 2.0);
    // The same once more is no news, another one of this generation is refused.
    fixture.reconciler.want(state.clone(), false).unwrap();
    let other = DesiredState { others: Others::Keep, ..state };
    let error = fixture.reconciler.want(other, false).unwrap_err();
    assert!(matches!(error, WantError::Stale(_)), "{error}");
}

#[test]
fn a_desired_state_that_the_disk_does_not_take_is_refused_and_the_old_one_holds() {
    let fixture = Fixture::new();
    fixture.put("good", Place::Has(component(&scaling(2.0))));
    fixture.want(1, vec![from("good", "scaling")]);
    fixture.wait("reached", DesiredStatus::is_reached);
    fixture.bench.disk.set_capacity(Some(100));
    let state = DesiredState { generation: 2, ..DesiredState::default() };
    let error = fixture.reconciler.want(state, false).unwrap_err();
    assert!(matches!(error, WantError::State(_)), "{error}");
    assert_eq!(fixture.reconciler.status().generation, Some(1));
    assert!(fixture.deployer.read_only().is_some());
    assert_eq!(answer(&fixture.deployer), 2.0);
}
