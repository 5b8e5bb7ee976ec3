//! Each kind of bad module is refused through the agent's socket with its own error,
//! while the version before serves.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::running::testing::Behaviour;
use crate::running::{Running, Start, TestModel, component, module, scaling};
use leeway_contract::{Bound, Digest, Fuel};
use leeway_control::DeployRequest;
use leeway_control::settings::{Settings, StreamSettings};
use leeway_deploy::trust::{Envelope, SecretKey, Statement};

struct Bench {
    _folder: tempfile::TempDir,
    running: Running,
    key: SecretKey,
}

impl Bench {
    /// An agent that trusts one key and serves what that has signed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate().unwrap();
        std::fs::write(folder.path().join("release.pub.pem"), key.public().to_pem()).unwrap();
        let config = "[[trust.key]]\nname = \"release\"\nfile = \"release.pub.pem\"\n";
        let running = Running::start(folder.path(), &Start { config, ..Start::default() });
        let bench = Self { _folder: folder, running, key };
        bench.deploy(&module(2.0)).unwrap();
        bench
    }

    fn deploy(&self, module: &[u8]) -> Result<(), String> {
        self.deploy_as(module, &self.key, None)
    }

    fn deploy_as(
        &self,
        module: &[u8],
        key: &SecretKey,
        settings: Option<Settings>,
    ) -> Result<(), String> {
        let digest = self.running.client.send(module).map_err(|error| error.to_string())?;
        let signature = Some(signed(key, module));
        let request = DeployRequest { signature, settings, ..DeployRequest::new(digest) };
        self.running.deploy_sent(&request).map_err(|error| error.to_string())
    }

    fn refused(&self, module: &[u8], words: &[&str]) {
        self.says(&self.deploy(module).unwrap_err(), words);
    }

    /// The error has these words, and the version before serves.
    fn says(&self, error: &str, words: &[&str]) {
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
        assert_eq!(self.running.answer(), 2.0, "after {error}");
        assert_eq!(self.running.active(), Digest::of(&module(2.0)), "after {error}");
    }

    /// Sends the head of a request and a part of its body; what is answered.
    fn put(&self, digest: Digest, announced: u64, body: &[u8], hang_up: bool) -> String {
        let mut stream = UnixStream::connect(&self.running.socket).unwrap();
        let head = format!(
            "PUT /v1/modules/{digest} HTTP/1.1\r\nhost: device\r\nconnection: close\r\n\
             content-length: {announced}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Who refuses it need not read all of it.
        stream.write_all(body).ok();
        if hang_up {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        answer
    }
}

fn signed(key: &SecretKey, component: &[u8]) -> String {
    let json = leeway_contract::section::certificate_json(component).unwrap();
    let certificate = leeway_contract::section::read_certificate(component).unwrap();
    let statement = Statement::new(Digest::of(component), &certificate, json, 1, 1000);
    let mut envelope = Envelope::new(statement);
    envelope.sign(key);
    envelope.to_json()
}

#[test]
fn by_their_bytes() {
    let bench = Bench::new();
    let (good, other) = (module(3.0), module(4.0));
    let wanted = Digest::of(&good);
    // Other bytes than their digest's.
    let answer = bench.put(wanted, other.len() as u64, &other, false);
    bench.says(&answer, &["400 Bad Request", &wanted.to_string(), &Digest::of(&other).to_string()]);
    // Cut off in the middle; what came stays, to go on from there.
    let half = good.len() / 2;
    let answer = bench.put(wanted, good.len() as u64, &good[..half], true);
    bench.says(&answer, &[]);
    assert!(!answer.contains("201"), "{answer}");
    // 2 GB are refused before they come.
    let answer = bench.put(wanted, 2 << 30, &good[..16], false);
    bench.says(&answer, &["413", "2147483648", "268435456"]);
    bench.deploy(&good).unwrap();
    assert_eq!(bench.running.answer(), 3.0);
}

#[test]
fn by_who_signed_them() {
    let bench = Bench::new();
    let module = module(3.0);
    let digest = bench.running.client.send(&module).unwrap();
    let error = bench.running.deploy_sent(&DeployRequest::new(digest)).unwrap_err();
    bench.says(&error.to_string(), &["signature", "not signed"]);
    let stranger = SecretKey::generate().unwrap();
    let error = bench.deploy_as(&module, &stranger, None).unwrap_err();
    let (seen, wanted) = (stranger.public().id().to_string(), bench.key.public().id().to_string());
    bench.says(&error, &["signature", "stranger", &seen, &wanted]);
}

#[test]
fn by_what_they_are() {
    let bench = Bench::new();
    let import = "wasi:sockets/tcp@0.2.0";
    let sockets = TestModel { import: Some(import.into()), ..scaling(3.0) };
    bench.refused(&component(&sockets), &["certificate", "imports", import]);
    let less = TestModel { call_fuel: Fuel(52), ..scaling(3.0) };
    bench.refused(&component(&less), &["golden", "out of fuel"]);
    let more = TestModel { call_fuel: Fuel(54), ..scaling(3.0) };
    bench.refused(&component(&more), &["golden", "units of fuel"]);
    let mut golden = scaling(3.0);
    golden.golden[0].outputs[0].data[5] ^= 1;
    bench.refused(&component(&golden), &["golden vector 0", "element 1", "wanted 6", "seen 6"]);
}

#[test]
fn by_the_time_that_they_take() {
    let bench = Bench::new();
    let slow =
        TestModel { name: "scaling".into(), ..TestModel::behaving(Behaviour::Busy(40_000_000)) };
    let stream = StreamSettings::new("camera", 2.0, 2.0);
    let settings = Settings { streams: vec![stream], ..Settings::default() };
    let error = bench.deploy_as(&component(&slow), &bench.key, Some(settings)).unwrap_err();
    bench.says(&error, &["admit", "not admitted", "camera", "2ms"]);
    let spin = TestModel { behaviour: Behaviour::Spin, stage_fuel: Fuel(1 << 60), ..scaling(3.0) };
    let spin = TestModel { bound: Bound::Upper, ..spin };
    bench.refused(&component(&spin), &["golden", "interrupted at its deadline"]);
}
