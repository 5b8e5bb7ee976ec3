//! Whole deployments: of good versions, of bad ones, and with the power going at
//! every operation.

mod desired;
mod faults;
mod health;
mod refused;
mod streams;

use std::path::PathBuf;

use leeway_contract::section::GoldenVector;
use leeway_runtime::admission::Executor;
use leeway_runtime::offload::Setup;
use leeway_runtime::timing::measure::MeasureOptions;

use super::*;
use crate::files::simulated::{Disk, Loss};
use crate::serving::Instances;
use crate::state::{Rules, Settings};
use crate::testing::TestModel;
use crate::transaction::{BytesSource, Cancel, Refusal, Request, Step};
use crate::trust::{Envelope, SecretKey, Statement, TrustedKey};

/// A device: a simulated disk for modules and state, a real directory for code.
struct Bench {
    directory: tempfile::TempDir,
    disk: Disk,
    secret: SecretKey,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path());
        Self { directory, disk, secret: SecretKey::generate().unwrap() }
    }

    fn config(&self) -> Config {
        let key = TrustedKey { name: "release".into(), key: self.secret.public(), expires: None };
        let measure = MeasureOptions {
            warm_up: 1,
            repetitions: 20,
            rest: Duration::ZERO,
            ..MeasureOptions::default()
        };
        Config {
            root: PathBuf::from(self.directory.path()),
            limits: Limits::default(),
            trust: Trust { keys: vec![key], ..Trust::default() },
            sandbox: SandboxConfig::default(),
            compiler: None,
            instance_bytes: u64::MAX,
            trial: TrialOptions {
                limit: Duration::from_secs(2),
                measure,
                ..TrialOptions::default()
            },
            bound: BoundRule::default(),
            streams: Arc::new(Streams::start(Setup::alone(Executor::default())).unwrap()),
            offloading: None,
            launch: Arc::new(Instances::launch),
        }
    }

    fn open(&self) -> Arc<Deployer> {
        self.open_with(self.config())
    }

    fn open_with(&self, config: Config) -> Arc<Deployer> {
        open(Arc::new(self.disk.clone()), config).unwrap()
    }

    fn request(&self, component: &[u8], counter: u64) -> Request {
        let envelope = Some(signed(&self.secret, component, counter));
        Request { envelope, ..Request::new(Digest::of(component)) }
    }

    fn deploy(&self, deployer: &Deployer, component: &[u8]) -> Result<Deployed, Refusal> {
        deploy(deployer, &self.request(component, 1), component)
    }
}

fn signed(key: &SecretKey, component: &[u8], counter: u64) -> Vec<u8> {
    let certificate = leeway_contract::section::read_certificate(component).unwrap();
    let json = leeway_contract::section::certificate_json(component).unwrap();
    let statement = Statement::new(Digest::of(component), &certificate, json, counter, 1000);
    let mut envelope = Envelope::new(statement);
    envelope.sign(key);
    envelope.to_json().into_bytes()
}

fn deploy(deployer: &Deployer, request: &Request, component: &[u8]) -> Result<Deployed, Refusal> {
    let mut source = BytesSource(component.to_vec());
    deployer.deploy(request, Some(&mut source), &Cancel::default(), &|_| {})
}

/// A model that multiplies by `factor`, with a golden vector.
fn scaling(factor: f32) -> TestModel {
    let golden = vec![GoldenVector {
        inputs: TestModel::input([1.0, 2.0, 3.0, 4.0]),
        outputs: TestModel::input([1.0, 2.0, 3.0, 4.0].map(|x| x * factor)),
    }];
    TestModel { golden, ..TestModel::scaling(factor) }
}

fn component(model: &TestModel) -> Vec<u8> {
    model.component(&Sandbox::engine_claim())
}

/// What the model makes of ones.
fn answer(deployer: &Deployer) -> f32 {
    let answer = deployer.infer("scaling", TestModel::input([1.0; 4])).unwrap();
    answer.ran.outputs[0].to_f32().unwrap()[0]
}

#[test]
fn a_version_is_brought_in_replaced_and_returned_to() {
    let bench = Bench::new();
    let deployer = bench.open();
    assert!(matches!(deployer.infer("scaling", vec![]), Err(ServeError::NoModel { .. })));
    let steps = Mutex::new(Vec::new());
    let first = component(&scaling(2.0));
    let deployed = deployer.deploy(
        &bench.request(&first, 1),
        Some(&mut BytesSource(first.clone())),
        &Cancel::default(),
        &|progress| lock(&steps).push(progress.step),
    );
    assert_eq!(deployed.unwrap().digest, Digest::of(&first));
    use Step::*;
    let all = [Fetch, Certificate, Signature, Propose, Compile, Golden, Calibrate, Admit, Switch];
    assert_eq!(*lock(&steps), all);
    assert_eq!(answer(&deployer), 2.0);

    deployer.conclude(&outcome(&first, "fine"));
    bench.deploy(&deployer, &component(&scaling(3.0))).unwrap();
    assert_eq!(answer(&deployer), 3.0);
    let rolled = deployer.roll_back("scaling", "asked for").unwrap();
    assert_eq!(rolled.to, Digest::of(&first));
    assert_eq!(answer(&deployer), 2.0);
    // And after a restart, without a source.
    drop(deployer);
    bench.disk.power_cut(Loss::All);
    assert_eq!(answer(&bench.open()), 2.0);
}

fn outcome(component: &[u8], reason: &str) -> crate::serving::Outcome {
    let verdict = crate::probation::Verdict::Passed(reason.into());
    crate::serving::Outcome { model: "scaling".into(), digest: Digest::of(component), verdict }
}

#[test]
fn an_active_version_that_has_decayed_gives_way_to_the_one_before() {
    let bench = Bench::new();
    let (first, second) = (component(&scaling(2.0)), component(&scaling(3.0)));
    let deployer = bench.open();
    bench.deploy(&deployer, &first).unwrap();
    deployer.conclude(&outcome(&first, "fine"));
    bench.deploy(&deployer, &second).unwrap();
    drop(deployer);
    let blobs = bench.directory.path().join("blobs");
    bench.disk.decay(&blobs.join(Digest::of(&second).to_hex()));
    let deployer = bench.open();
    assert_eq!(answer(&deployer), 2.0);
    let last = deployer.inspect(|state| state.models["scaling"].history.last().cloned()).unwrap();
    assert!(last.reason.contains("decayed"), "{last:?}");
    // The same one comes again, whole.
    bench.deploy(&deployer, &second).unwrap();
    assert_eq!(answer(&deployer), 3.0);
}

#[test]
fn on_a_disk_that_takes_nothing_what_serves_goes_on_and_it_is_said() {
    let bench = Bench::new();
    let deployer = bench.open();
    bench.deploy(&deployer, &component(&scaling(2.0))).unwrap();
    assert_eq!(deployer.read_only(), None);
    bench.disk.set_capacity(Some(100));
    drop(deployer);
    let deployer = bench.open();
    let refusal = bench.deploy(&deployer, &component(&scaling(3.0))).unwrap_err();
    assert_eq!(refusal.step, Step::Fetch);
    assert!(deployer.read_only().is_some() && refusal.to_string().contains("no room"));
    assert_eq!(answer(&deployer), 2.0);
    bench.disk.set_capacity(None);
    bench.deploy(&deployer, &component(&scaling(3.0))).unwrap();
    assert_eq!((answer(&deployer), deployer.read_only()), (3.0, None));
}

#[test]
fn the_next_release_comes_back_only_where_an_operator_says_so() {
    let bench = Bench::new();
    let deployer = bench.open();
    let (first, second) = (component(&scaling(2.0)), component(&scaling(3.0)));
    deploy(&deployer, &bench.request(&first, 7), &first).unwrap();
    let mut request = bench.request(&second, 6);
    let refusal = deploy(&deployer, &request, &second).unwrap_err();
    assert_eq!(refusal.step, Step::Signature);
    assert!(refusal.to_string().contains("older than release 7"), "{refusal}");
    request.allow_older = true;
    deploy(&deployer, &request, &second).unwrap();
    assert_eq!(answer(&deployer), 3.0);
    assert_eq!(deployer.inspect(|state| state.models["scaling"].highest_counter), 6);
}

#[test]
fn what_is_pinned_is_not_replaced() {
    let bench = Bench::new();
    let deployer = bench.open();
    bench.deploy(&deployer, &component(&scaling(2.0))).unwrap();
    deployer.pin("scaling", true, "an exhibition").unwrap();
    let refusal = bench.deploy(&deployer, &component(&scaling(3.0))).unwrap_err();
    assert_eq!(refusal.step, Step::Propose);
    assert!(refusal.to_string().contains("pinned"), "{refusal}");
    deployer.pin("scaling", false, "it is over").unwrap();
    bench.deploy(&deployer, &component(&scaling(3.0))).unwrap();
}

#[test]
fn what_nothing_needs_is_removed_and_what_is_fallen_back_to_is_not() {
    let bench = Bench::new();
    let deployer = bench.open();
    let versions: Vec<Vec<u8>> = [2.0, 3.0, 4.0].map(|f| component(&scaling(f))).into();
    for version in &versions {
        bench.deploy(&deployer, version).unwrap();
        deployer.conclude(&outcome(version, "fine"));
    }
    let mut kept: Vec<Digest> = versions[1..].iter().map(|v| Digest::of(v)).collect();
    kept.sort();
    let modules = deployer.store().modules().unwrap();
    assert_eq!(modules.into_iter().map(|(digest, _)| digest).collect::<Vec<_>>(), kept);
}

/// Settings under which nothing passes by time.
fn watched(rules: Rules) -> Option<Settings> {
    let probation = Rules { seconds: 3600, ..rules };
    Some(Settings { probation, ..Settings::default() })
}
