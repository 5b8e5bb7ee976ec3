//! How a host begins, ends, and begins again.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use leeway_contract::Digest;
use leeway_fog_host::{FogConfig, Running, StoreLocation};
use serde_json::json;

use crate::program::Program;
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
fn hosts_that_share_a_store_see_each_others_changes_and_lose_none() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        FogConfig { follow_interval: Duration::from_millis(50), ..stored(directory.path()) };
    let (host_a, client_a) = start_with(config.clone());
    let (host_b, client_b) = start_with(config);
    let (two, three) =
        (client_a.push(&TestModel::scaling(2.0)), client_b.push(&TestModel::scaling(3.0)));
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    std::thread::scope(|scope| {
        for (client, factor, digest) in [(&client_a, 2, two), (&client_b, 3, three)] {
            scope.spawn(move || {
                for number in 0..8 {
                    let answer = client.alias("m", &format!("{factor}.{number}"), digest);
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    let ones = request(json!([1, 1, 1, 1]));
    let versions = |client: &Client| {
        let models = client.get("/v1/models").json();
        models["models"][0]["versions"].as_object().map_or(0, |versions| versions.len())
    };
    eventually("both know all versions", &|| {
        versions(&client_a) == 16 && versions(&client_b) == 16
    });
    // A swap on one is a swap on the other, and a removal too.
    client_a.alias("m", "last", three);
    eventually("the swap", &|| client_b.infer("m", &ones).values() == [3.0; 4]);
    assert!(client_b.delete(&format!("/v1/modules/{three}")).error(409).contains("stands for"));
    for version in
        client_a.get("/v1/models").json()["models"][0]["versions"].as_object().unwrap().keys()
    {
        assert_eq!(client_b.delete(&format!("/v1/models/m/versions/{version}")).status, 204);
    }
    assert_eq!(client_b.delete(&format!("/v1/modules/{three}")).status, 204);
    eventually("the name is gone", &|| client_a.infer("m", &ones).status == 404);
    eventually("the module is gone", &|| client_a.infer(three, &ones).status == 404);
    drop((host_a, host_b));
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

#[test]
fn the_program_finishes_what_it_accepted_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start(directory.path(), &["--engine", "pulley"]);
    let client = Client::at(program.address);
    let busy = client.push(&TestModel::behaving(Behaviour::Busy(5_000_000)));
    let running = std::thread::spawn(move || client.infer(busy, &request(json!([1, 2, 3, 4]))));
    std::thread::sleep(Duration::from_millis(150));
    program.signal("-TERM");
    assert_eq!(running.join().unwrap().values(), [1.0, 2.0, 3.0, 4.0]);
    assert!(program.wait().success());
}

#[test]
fn no_module_is_lost_to_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut confirmed = Vec::new();
    // What the name may stand for: what was confirmed last, or tried since then.
    let mut named: Vec<f32> = Vec::new();
    for round in 0..8u8 {
        let mut program = Program::start(directory.path(), &[]);
        let client = Client::at(program.address);
        for digest in &confirmed {
            let status = client.head(&format!("/v1/modules/{digest}")).status;
            assert_eq!(status, 200, "round {round}, {digest}");
        }
        if confirmed.len() > named.len() {
            let values = client.infer("m", &request(json!([1, 1, 1, 1]))).values();
            assert!(named.contains(&values[0]), "round {round}: {values:?}, wanted {named:?}");
        }
        // Killed at some point of some push or change of the name.
        let (pushed, wait) = std::sync::mpsc::channel();
        let killer = std::thread::spawn(move || {
            wait.iter().take(2).for_each(drop);
            std::thread::sleep(Duration::from_millis(7 * u64::from(round)));
            program.signal("-KILL");
            program.wait()
        });
        for number in 1.. {
            let factor = f32::from(round) * 1000.0 + number as f32;
            let component = component(&TestModel::scaling(factor));
            let digest = Digest::of(&component);
            match client.try_put(&format!("/v1/modules/{digest}"), &component) {
                Some(status) => assert_eq!(status, 201),
                None => break,
            }
            confirmed.push(digest);
            // The killer may be about its work already.
            let _ = pushed.send(());
            named.push(factor);
            let alias = json!({ "digest": digest }).to_string();
            match client.try_put("/v1/models/m/versions/1", alias.as_bytes()) {
                Some(status) => assert_eq!(status, 200),
                None => break,
            }
            named = vec![factor];
        }
        assert!(!killer.join().unwrap().success());
    }
    assert!(confirmed.len() >= 16, "only {} pushes", confirmed.len());
}
