//! Modules by digest, and names as aliases to them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use leeway_contract::section::GoldenVector;
use leeway_contract::{Digest, Tensor};
use leeway_fog_host::FogConfig;
use serde_json::json;

use crate::support::{Client, component, request, start, start_with};
use crate::testing::TestModel;

fn path(digest: Digest) -> String {
    format!("/v1/modules/{digest}")
}

#[test]
fn a_module_is_pushed_asked_for_fetched_and_removed() {
    let (_host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let path = path(digest);
    assert_eq!(client.head(&path).status, 404);
    assert!(client.get(&path).error(404).contains(&digest.to_string()));

    let pushed = client.put(&path, &component);
    assert_eq!(pushed.status, 201);
    assert_eq!(pushed.json()["digest"], digest.to_string());
    assert_eq!(pushed.json()["name"], "scaling");
    assert_eq!(client.put(&path, &component).status, 200);
    assert_eq!(client.head(&path).status, 200);
    let fetched = client.get(&path);
    assert_eq!(fetched.body, component);
    assert_eq!(fetched.header("content-type"), Some("application/wasm"));
    assert_eq!(client.get("/v1/modules").json()["modules"], json!([digest]));

    assert_eq!(client.infer(digest, &request(json!([1, 2, 3, 4]))).status, 200);
    assert_eq!(client.delete(&path).status, 204);
    assert_eq!(client.head(&path).status, 404);
    client.delete(&path).error(404);
    client.infer(digest, &request(json!([1, 2, 3, 4]))).error(404);
    assert_eq!(client.put(&path, &component).status, 201);
    assert_eq!(client.infer(digest, &request(json!([1, 2, 3, 4]))).status, 200);
}

#[test]
fn other_bytes_than_named_are_refused_with_both_digests() {
    let (_host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let (named, seen) = (Digest::of(b"another"), Digest::of(&component));
    let error = client.put(&path(named), &component).error(400);
    assert!(error.contains(&named.to_string()) && error.contains(&seen.to_string()), "{error}");
    assert_eq!(client.head(&path(named)).status, 404);
    assert_eq!(client.head(&path(seen)).status, 404);
    let error = client.put("/v1/modules/sha256:12", &component).error(400);
    assert!(error.contains("64 hexadecimal digits"), "{error}");
}

#[test]
fn what_the_sandbox_refuses_is_refused_with_its_reason() {
    let (_host, client) = start();
    let push = |bytes: &[u8]| client.put(&path(Digest::of(bytes)), bytes).error(422);
    let error = push(b"not wasm at all");
    assert!(error.contains("certificate: not a WebAssembly component"), "{error}");
    let mut importing = TestModel::scaling(1.0);
    importing.import = Some("wasi:cli/environment@0.2.0".into());
    let error = push(&component(&importing));
    assert!(error.contains("wasi:cli/environment@0.2.0"), "{error}");

    let mut lying = TestModel::scaling(2.0);
    let (x, y) = (TestModel::input([1.0; 4]), vec![Tensor::from_f32(&[1, 4], &[3.0; 4])]);
    lying.golden = vec![GoldenVector { inputs: x, outputs: y }];
    let error = push(&component(&lying));
    assert!(
        error.contains("golden: ")
            && error.contains("golden vector 0")
            && error.contains("wanted 3"),
        "{error}"
    );
}

#[test]
fn a_body_that_breaks_off_leaves_nothing_behind() {
    let (host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let path = path(Digest::of(&component));
    let mut stream = TcpStream::connect(host.local_addr()).unwrap();
    let length = component.len();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: fog\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&component[..length / 2]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(client.head(&path).status, 404);
    assert_eq!(client.put(&path, &component).status, 201);
}

#[test]
fn a_client_has_two_pushes_at_a_time() {
    let (host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let (path, length) = (path(Digest::of(&component)), component.len());
    let head = format!("PUT {path} HTTP/1.1\r\nHost: fog\r\nContent-Length: {length}\r\n\r\n");
    let mut slow: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(host.local_addr()).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    // One of them, whichever is noticed last, is answered before it has sent anything.
    while slow.iter().all(|stream| stream.peek(&mut [0]).is_err()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let refused = client.put(&path, &component);
    assert!(refused.error(429).contains("2 requests are under way"));
    assert!(refused.header("retry-after").is_some());
    drop(slow);
    // And that they have gone.
    while client.put(&path, &component).status != 200 {}
}

#[test]
fn a_module_that_is_too_large_is_refused() {
    let (host, client) = start_with(FogConfig { max_module_bytes: 1000, ..FogConfig::default() });
    let component = component(&TestModel::scaling(2.0));
    assert!(component.len() > 1000);
    let path = path(Digest::of(&component));
    let error = client.put(&path, &component).error(413);
    assert!(error.contains("1000 bytes"), "{error}");

    // And without a length that says so beforehand.
    let mut stream = TcpStream::connect(host.local_addr()).unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: fog\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..3 {
        let _ = stream.write_all(b"1f4\r\n").and_then(|()| stream.write_all(&[0; 500]));
        let _ = stream.write_all(b"\r\n");
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn an_alias_switches_at_once_and_old_versions_stay() {
    let (_host, client) = start();
    let (two, three) =
        (client.push(&TestModel::scaling(2.0)), client.push(&TestModel::scaling(3.0)));
    let ones = request(json!([1, 1, 1, 1]));
    client.infer("m", &ones).error(404);
    assert_eq!(client.alias("m", "1", two).json(), json!({ "digest": two }));
    assert_eq!(client.infer("m", &ones).values(), [2.0; 4]);
    client.alias("m", "2", three);
    let answer = client.infer("m", &ones);
    assert_eq!(answer.values(), [3.0; 4]);
    assert_eq!(answer.json()["model_version"], "2");
    assert_eq!(answer.json()["parameters"]["digest"], three.to_string());
    assert_eq!(client.infer("m/versions/1", &ones).values(), [2.0; 4]);

    let models = client.get("/v1/models").json();
    let versions = json!({ "1": two, "2": three });
    let entry = json!([{ "name": "m", "current": "2", "versions": versions }]);
    assert_eq!(models["models"], entry);
    assert_eq!(client.get("/v2/models/m").json()["versions"], json!(["1", "2"]));

    // What an alias stands for stays.
    assert!(client.delete(&path(three)).error(409).contains("version 2 of m"));
    assert_eq!(client.delete("/v1/models/m/versions/2").status, 204);
    assert_eq!(client.infer("m", &ones).values(), [2.0; 4]);
    assert_eq!(client.delete(&path(three)).status, 204);
    assert_eq!(client.delete("/v1/models/m/versions/1").status, 204);
    client.infer("m", &ones).error(404);
}

#[test]
fn a_name_goes_back_to_the_version_before() {
    let (_host, client) = start();
    let (two, three) =
        (client.push(&TestModel::scaling(2.0)), client.push(&TestModel::scaling(3.0)));
    let roll_back = || client.post("/v1/models/m/rollback", b"");
    roll_back().error(404);
    client.alias("m", "1", two);
    assert!(roll_back().error(409).contains("no other version"));
    client.alias("m", "2", three);
    let ones = request(json!([1, 1, 1, 1]));
    assert_eq!(client.infer("m", &ones).values(), [3.0; 4]);
    assert_eq!(roll_back().json(), json!({ "current": "1", "digest": two }));
    assert_eq!(client.infer("m", &ones).values(), [2.0; 4]);
    // And forth again.
    assert_eq!(roll_back().json()["current"], "2");
    assert_eq!(client.delete("/v1/models/m/versions/1").status, 204);
    roll_back().error(409);
}

#[test]
fn requests_during_a_switch_get_the_old_or_the_new() {
    let (host, client) = start();
    let digests = [client.push(&TestModel::scaling(2.0)), client.push(&TestModel::scaling(3.0))];
    client.alias("m", "1", digests[0]);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let client = Client::new(&host);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let values = client.infer("m", &request(json!([1, 1, 1, 1]))).values();
                        assert!(values == [2.0; 4] || values == [3.0; 4], "{values:?}");
                    }
                })
            })
            .collect();
        for i in 1..=20 {
            assert_eq!(client.alias("m", "1", digests[i % 2]).status, 200);
        }
        for asker in askers {
            asker.join().unwrap();
        }
    });
}

#[test]
fn aliases_that_cannot_be_are_refused() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    let unknown = Digest::of(b"unknown");
    assert!(client.alias("m", "1", unknown).error(404).contains("push it first"));
    client.alias("a%2Fb", "1", digest).error(400);
    client.alias("m", ".hidden", digest).error(400);
    assert!(client.put("/v1/models/m/versions/1", b"{").error(400).contains("not an alias"));
    assert_eq!(client.get("/v1/models").json(), json!({ "models": [] }));
}
