//! Each kind of bad module is refused by its own step, with wanted and seen, while
//! the one before serves.

use super::*;
use crate::state::StreamSettings;
use crate::store::StoreError;
use crate::testing::Behaviour;
use crate::transaction::{Cause, Opened, Source};
use leeway_contract::{Bound, Fuel};

/// A device that serves a good version.
fn serving() -> (Bench, Arc<Deployer>) {
    let bench = Bench::new();
    let deployer = bench.open();
    bench.deploy(&deployer, &component(&scaling(2.0))).unwrap();
    (bench, deployer)
}

/// The old version serves, the history has the reason, nothing of the bad is kept.
fn after(bench: &Bench, deployer: &Arc<Deployer>, refusal: &Refusal, step: Step, words: &[&str]) {
    let text = refusal.to_string();
    assert_eq!(refusal.step, step, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert_eq!(answer(deployer), 2.0);
    assert_eq!(deployer.store().modules().unwrap().len(), 1);
    let reopened = bench.open();
    assert_eq!(answer(&reopened), 2.0);
}

fn refused(bad: &TestModel, step: Step, words: &[&str]) {
    let (bench, deployer) = serving();
    let refusal = bench.deploy(&deployer, &component(bad)).unwrap_err();
    after(&bench, &deployer, &refusal, step, words);
    assert!(!refusal.cause.is_transient());
}

#[test]
fn wrong_digest() {
    let (bench, deployer) = serving();
    let wanted = component(&scaling(3.0));
    let mut other = wanted.clone();
    *other.last_mut().unwrap() ^= 1;
    let refusal = deploy(&deployer, &bench.request(&wanted, 1), &other).unwrap_err();
    let digests = [Digest::of(&wanted).to_string(), Digest::of(&other).to_string()];
    after(&bench, &deployer, &refusal, Step::Fetch, &[&digests[0], &digests[1]]);
    assert!(!refusal.cause.is_transient());
}

#[test]
fn unsigned_and_signed_by_a_stranger() {
    let (bench, deployer) = serving();
    let module = component(&scaling(3.0));
    let mut request = Request::new(Digest::of(&module));
    let refusal = deploy(&deployer, &request, &module).unwrap_err();
    after(&bench, &deployer, &refusal, Step::Signature, &["not signed"]);
    let stranger = SecretKey::generate().unwrap();
    request.envelope = Some(signed(&stranger, &module, 1));
    let refusal = deploy(&deployer, &request, &module).unwrap_err();
    let ids = [stranger.public().id().to_string(), bench.secret.public().id().to_string()];
    after(&bench, &deployer, &refusal, Step::Signature, &["stranger", &ids[0], &ids[1]]);
}

#[test]
fn imports_sockets() {
    let import = "wasi:sockets/tcp@0.2.0";
    let bad = TestModel { import: Some(import.into()), ..scaling(3.0) };
    refused(&bad, Step::Certificate, &["imports", import]);
}

#[test]
fn lying_certificate() {
    let wanted = scaling(3.0).certificate(&Sandbox::engine_claim()).total_fuel();
    let less = TestModel { call_fuel: Fuel(52), ..scaling(3.0) };
    refused(&less, Step::Golden, &["out of fuel", &format!("certified {}", wanted.0 - 1)]);
    let more = TestModel { call_fuel: Fuel(54), ..scaling(3.0) };
    let words = [format!("exactly {}", wanted.0 + 1), format!("seen {wanted}")];
    refused(&more, Step::Golden, &[&words[0], &words[1]]);
    // Also without golden vectors.
    let more = TestModel { golden: vec![], ..more };
    refused(&more, Step::Golden, &[&words[0], &format!("burned {wanted}")]);
    let stages = TestModel { counted_stages: 2, ..scaling(3.0) };
    refused(&stages, Step::Compile, &["has 2 stages, 1 are certified"]);
    let memory = TestModel { pages: 3, ..scaling(3.0) };
    refused(&memory, Step::Certificate, &["196608", "65536"]);
}

#[test]
fn golden_mismatch() {
    let mut bad = scaling(3.0);
    bad.golden[0].outputs[0].data[5] ^= 1;
    refused(&bad, Step::Golden, &["golden vector 0", "element 1", "wanted 6", "seen 6"]);
}

#[test]
fn never_ends() {
    let bad = TestModel { behaviour: Behaviour::Spin, stage_fuel: Fuel(1 << 60), ..scaling(3.0) };
    let bad = TestModel { bound: Bound::Upper, ..bad };
    refused(&bad, Step::Golden, &["interrupted at its deadline of 2s"]);
}

#[test]
fn too_slow_to_admit() {
    let (bench, deployer) = serving();
    let slow =
        TestModel { name: "scaling".into(), ..TestModel::behaving(Behaviour::Busy(40_000_000)) };
    let slow = component(&slow);
    let stream = StreamSettings::new("camera", 2.0, 2.0);
    let settings = Settings { streams: vec![stream], ..Settings::default() };
    let request = Request { settings: Some(settings), ..bench.request(&slow, 1) };
    let refusal = deploy(&deployer, &request, &slow).unwrap_err();
    after(&bench, &deployer, &refusal, Step::Admit, &["not admitted", "camera", "2ms"]);
    let known = deployer.inspect(|state| state.models["scaling"].settings.clone());
    assert_eq!(known, Settings::default());
}

#[test]
fn another_model_than_was_wanted() {
    let (bench, deployer) = serving();
    let other = component(&TestModel { name: "other".into(), ..scaling(3.0) });
    let request = Request { model: Some("scaling".into()), ..bench.request(&other, 1) };
    let refusal = deploy(&deployer, &request, &other).unwrap_err();
    after(&bench, &deployer, &refusal, Step::Certificate, &["\"scaling\"", "\"other\""]);
}

#[test]
fn not_wasm_and_built_for_another_engine() {
    let (bench, deployer) = serving();
    let envelope = Some(signed(&bench.secret, &component(&scaling(2.0)), 1));
    let noise = b"no module at all".to_vec();
    let request = Request { envelope, ..Request::new(Digest::of(&noise)) };
    let refusal = deploy(&deployer, &request, &noise).unwrap_err();
    after(&bench, &deployer, &refusal, Step::Certificate, &["not a WebAssembly component"]);
    let mut claim = Sandbox::engine_claim();
    claim.wasmtime = "47".into();
    let old = scaling(3.0).component(&claim);
    let refusal = bench.deploy(&deployer, &old).unwrap_err();
    after(&bench, &deployer, &refusal, Step::Certificate, &["engine.wasmtime", "47"]);
}

/// A source whose connection breaks after so many bytes, of so many announced.
struct Breaking {
    bytes: Vec<u8>,
    after: usize,
    announced: u64,
}

impl Source for Breaking {
    fn open(&mut self, offset: u64) -> std::io::Result<Opened<'_>> {
        let (from, to) = (self.after.min(offset as usize), self.after);
        let reader = Box::new(&self.bytes[from..to]);
        Ok(Opened { offset: from as u64, total: Some(self.announced), reader })
    }
}

#[test]
fn truncated_and_then_resumed() {
    let (bench, deployer) = serving();
    let module = component(&scaling(3.0));
    let (length, half) = (module.len() as u64, module.len() / 2);
    let mut source = Breaking { bytes: module.clone(), after: half, announced: length };
    let request = bench.request(&module, 1);
    let cancel = Cancel::default();
    let refusal = deployer.deploy(&request, Some(&mut source), &cancel, &|_| {}).unwrap_err();
    let words = [format!("ended after {half} bytes"), format!("{length} were announced")];
    assert!(refusal.cause.is_transient());
    assert_eq!(answer(&deployer), 2.0);
    assert!(words.iter().all(|w| refusal.to_string().contains(w)), "{refusal}");
    source.after = module.len();
    deployer.deploy(&request, Some(&mut source), &cancel, &|_| {}).unwrap();
    assert_eq!(answer(&deployer), 3.0);
}

#[test]
fn two_gigabytes() {
    let (bench, deployer) = serving();
    let module = component(&scaling(3.0));
    let mut source = Breaking { bytes: module.clone(), after: 0, announced: 2 << 30 };
    let request = bench.request(&module, 1);
    let refusal =
        deployer.deploy(&request, Some(&mut source), &Cancel::default(), &|_| {}).unwrap_err();
    assert!(matches!(*refusal.cause, Cause::Store(StoreError::TooLarge { .. })));
    after(&bench, &deployer, &refusal, Step::Fetch, &["2147483648", "268435456"]);
}

#[test]
fn cancelled() {
    let (bench, deployer) = serving();
    let module = component(&scaling(3.0));
    let cancel = Cancel::default();
    cancel.cancel();
    let mut source = BytesSource(module.clone());
    let request = bench.request(&module, 1);
    let refusal = deployer.deploy(&request, Some(&mut source), &cancel, &|_| {}).unwrap_err();
    assert!(matches!(*refusal.cause, Cause::Cancelled) && refusal.cause.is_transient());
    assert_eq!(answer(&deployer), 2.0);
}
