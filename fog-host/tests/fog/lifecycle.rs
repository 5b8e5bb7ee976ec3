//! How a host begins, ends, and begins again.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use leeway_contract::Digest;
use leeway_fog_host::{FogConfig, Running, StoreLocation};
use serde_json::json;

use crate::support::{Client, component, request, start, start_with};
use crate::testing::{Behaviour, TestModel};

fn stored(directory: &Path) -> FogConfig {
    FogConfig { store: StoreLocation::Directory(directory.join("fog")), ..FogConfig::default() }
}

#[test]
fn a_restart_keeps_modules_and_aliases() {
    let directory = tempfile::tempdir().unwrap();
    let (host, client) = start_with(stored(directory.path()));
    let (two, three) =
        (client.push(&TestModel::scaling(2.0)), client.push(&TestModel::scaling(3.0)));
    client.alias("m", "1", two);
    client.alias("m", "2", three);
    let models = client.get("/v1/models").json();
    host.kill();

    let (host, client) = start_with(stored(directory.path()));
    assert_eq!(client.get("/v1/models").json(), models);
    let ones = request(json!([1, 1, 1, 1]));
    assert_eq!(client.infer("m", &ones).values(), [3.0; 4]);
    assert_eq!(client.infer("m/versions/1", &ones).values(), [2.0; 4]);
    while client.get("/v2/health/ready").status != 200 {}
    let component = component(&TestModel::scaling(2.0));
    assert_eq!(client.put(&format!("/v1/modules/{two}"), &component).status, 200);
    host.shutdown().unwrap();
}

#[test]
fn a_stored_module_that_decayed_is_not_served_until_it_is_pushed_again() {
    let directory = tempfile::tempdir().unwrap();
    let (host, client) = start_with(stored(directory.path()));
    let (bad, good) =
        (client.push(&TestModel::scaling(2.0)), client.push(&TestModel::scaling(3.0)));
    host.shutdown().unwrap();
    let file = directory.path().join(format!("fog/repository/modules/{}.wasm", bad.to_hex()));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let (host, client) = start_with(stored(directory.path()));
    while client.get("/v2/health/ready").status != 200 {}
    let ones = request(json!([1, 1, 1, 1]));
    assert!(client.infer(bad, &ones).error(404).contains("push it first"));
    assert_eq!(client.head(&format!("/v1/modules/{bad}")).status, 404);
    assert_eq!(client.infer(good, &ones).values(), [3.0; 4]);
    client.push(&TestModel::scaling(2.0));
    assert_eq!(client.infer(bad, &ones).values(), [2.0; 4]);
    host.shutdown().unwrap();

    let (_host, client) = start_with(stored(directory.path()));
    assert_eq!(client.infer(bad, &ones).values(), [2.0; 4]);
}

#[test]
fn a_shutdown_finishes_what_was_accepted_and_takes_no_more() {
    let (host, client) = start();
    let busy = client.push(&TestModel::behaving(Behaviour::Busy(1_000_000_000)));
    let address = host.local_addr();
    // One connection that idles after a request, one that never made any.
    client.get("/v2/health/live");
    let _silent = TcpStream::connect(address).unwrap();
    let running = {
        let client = Client::new(&host);
        std::thread::spawn(move || client.infer(busy, &request(json!([1, 2, 3, 4]))))
    };
    std::thread::sleep(Duration::from_millis(150));
    let start = Instant::now();
    host.shutdown().unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(running.join().unwrap().values(), [1.0, 2.0, 3.0, 4.0]);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_host_that_is_killed_answers_nothing_more() {
    let (host, client) = start();
    let busy = client.push(&TestModel::behaving(Behaviour::Busy(1_000_000_000)));
    let base = host.url();
    let running = std::thread::spawn(move || {
        let body = request(json!([1, 2, 3, 4])).to_string();
        ureq::post(format!("{base}/v2/models/{busy}/infer")).send(body.as_bytes()).is_err()
    });
    std::thread::sleep(Duration::from_millis(150));
    let start = Instant::now();
    host.kill();
    assert!(running.join().unwrap(), "the request was answered");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn an_address_in_use_is_an_error() {
    let (host, _client) = start();
    let config = FogConfig { listen: host.local_addr(), ..FogConfig::default() };
    let error = Running::start(config).unwrap_err().to_string();
    assert!(error.contains(&host.local_addr().to_string()), "{error}");
}

/// A child that is killed with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_serves_and_ends_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_leeway-fog"))
            .args(["--listen", &address.to_string(), "--workers", "1", "--engine", "pulley"])
            .args(["--store".as_ref(), directory.path().join("fog").as_os_str()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let pushed = ureq::put(format!("http://{address}/v1/modules/{digest}")).send(&component[..]);
    assert_eq!(pushed.unwrap().status(), 201);
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(program.0.wait().unwrap().success());
}
