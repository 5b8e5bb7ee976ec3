//! Modules that somebody who is trusted must have signed.

use std::path::Path;

use leeway_contract::{Digest, section};
use leeway_deploy::trust::{Envelope, SecretKey, Statement};
use leeway_fog_host::{FogConfig, FogHost, StoreLocation};
use leeway_runtime::sandbox::Sandbox;
use serde_json::json;

use crate::support::{Client, component, request, start, start_with};
use crate::testing::TestModel;

pub fn signed(component: &[u8], key: &SecretKey) -> String {
    release(component, key, 1)
}

/// A signature of a release with this counter.
fn release(component: &[u8], key: &SecretKey, counter: u64) -> String {
    let certificate = Sandbox::check(component).unwrap();
    let json = section::certificate_json(component).unwrap();
    let statement =
        Statement::new(Digest::of(component), &certificate, json, counter, 1_700_000_000);
    let mut envelope = Envelope::new(statement);
    envelope.sign(key);
    envelope.to_json()
}

fn trusting(directory: &Path, key: &SecretKey, more: &str) -> FogConfig {
    std::fs::write(directory.join("release.pub.pem"), key.public().to_pem()).unwrap();
    let trust = format!("{more}\n[[key]]\nname = \"release\"\nfile = \"release.pub.pem\"\n");
    std::fs::write(directory.join("trust.toml"), trust).unwrap();
    FogConfig {
        store: StoreLocation::Directory(directory.join("fog")),
        trust: Some(directory.join("trust.toml")),
        ..FogConfig::default()
    }
}

#[test]
fn a_module_is_taken_when_its_signature_is_good_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let (key, stranger) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let (_host, client) = start_with(trusting(directory.path(), &key, ""));
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let (path, signature) =
        (format!("/v1/modules/{digest}"), format!("/v1/modules/{digest}/signature"));
    client.get(&signature).error(404);
    let error = client.put(&path, &component).error(403);
    assert!(error.contains("signature: the module is not signed"), "{error}");

    let wrong = signed(&component, &stranger);
    assert_eq!(client.put(&signature, wrong.as_bytes()).status, 204);
    let error = client.put(&path, &component).error(403);
    assert!(error.contains("signature: ") && error.contains("stranger"), "{error}");
    assert_eq!(client.head(&path).status, 404);
    // Nothing of it was compiled.
    let code = std::fs::read_dir(directory.path().join("fog/code"));
    assert!(code.is_err() || code.unwrap().next().is_none());

    let good = signed(&component, &key);
    assert_eq!(client.put(&signature, good.as_bytes()).status, 204);
    assert_eq!(client.put(&path, &component).status, 201);
    assert_eq!(client.get(&signature).body, good.as_bytes());
    assert_eq!(client.infer(digest, &request(json!([1, 2, 3, 4]))).status, 200);
    // A worse signature does not take the place of a good one.
    client.put(&signature, wrong.as_bytes()).error(403);
    assert_eq!(client.get(&signature).body, good.as_bytes());
    // Nor that of another module.
    let other = crate::support::component(&TestModel::scaling(3.0));
    let error = client.put(&signature, signed(&other, &key).as_bytes()).error(400);
    assert!(error.contains("another module"), "{error}");
    assert!(client.put(&signature, b"{}").error(400).contains("not a signature"));

    let audit = std::fs::read_to_string(directory.path().join("fog/audit.jsonl")).unwrap();
    let outcomes: Vec<String> = audit
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| format!("{} {}", line["action"], line["outcome"]).replace('"', ""))
        .collect();
    assert!(outcomes[0].starts_with("push refused: signature: "), "{outcomes:?}");
    assert!(outcomes.contains(&"sign done".into()), "{outcomes:?}");
    assert!(outcomes.contains(&"push done".into()), "{outcomes:?}");
}

#[test]
fn without_a_file_of_trust_every_module_is_taken_whoever_has_signed_it() {
    let (_host, client) = start();
    let stranger = SecretKey::generate().unwrap();
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let signature = format!("/v1/modules/{digest}/signature");
    let envelope = signed(&component, &stranger);
    assert_eq!(client.put(&signature, envelope.as_bytes()).status, 204);
    assert_eq!(client.put(&format!("/v1/modules/{digest}"), &component).status, 201);
    // Also where the module is here already.
    assert_eq!(client.put(&signature, envelope.as_bytes()).status, 204);
    assert_eq!(client.get(&signature).body, envelope.as_bytes());
    assert_eq!(client.alias("m", "1", digest).status, 200);
    assert_eq!(client.infer("m", &request(json!([1, 2, 3, 4]))).status, 200);
}

/// Pushes a model that a key has signed as the release with this counter.
fn push_release(client: &Client, key: &SecretKey, factor: f32, counter: u64) -> Digest {
    let component = component(&TestModel::scaling(factor));
    let digest = Digest::of(&component);
    let (path, envelope) = (format!("/v1/modules/{digest}"), release(&component, key, counter));
    assert_eq!(client.put(&format!("{path}/signature"), envelope.as_bytes()).status, 204);
    assert!(matches!(client.put(&path, &component).status, 200 | 201));
    digest
}

#[test]
fn a_name_goes_forward_on_all_hosts_unless_the_request_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    let config = trusting(directory.path(), &key, "");
    let (_host, client) = start_with(config.clone());
    let (old, new) = (push_release(&client, &key, 2.0, 6), push_release(&client, &key, 3.0, 7));
    assert_eq!(client.alias("m", "1", old).status, 200);
    assert_eq!(client.alias("m", "2", new).status, 200);
    let error = client.alias("m", "1", old).error(409);
    assert!(error.contains("release 6 of m is older than release 7"), "{error}");
    assert!(error.contains("allow_older"), "{error}");
    let ones = request(json!([1, 1, 1, 1]));
    assert_eq!(client.infer("m", &ones).values(), [3.0; 4]);
    // Another host knows it, also when the name stands for nothing any more.
    let (_other, other) = start_with(config);
    for version in ["1", "2"] {
        assert_eq!(client.delete(&format!("/v1/models/m/versions/{version}")).status, 204);
    }
    other.alias("m", "1", old).error(409);
    // Other names are others.
    assert_eq!(other.alias("n", "1", old).status, 200);
    let body = json!({ "digest": old, "allow_older": true }).to_string();
    assert_eq!(other.put("/v1/models/m/versions/1", body.as_bytes()).status, 200);
    assert_eq!(other.infer("m", &ones).values(), [2.0; 4]);
    let models = other.get("/v1/models").json();
    assert_eq!(models["models"][0]["highest_counter"], 6);
    let audit = std::fs::read_to_string(directory.path().join("fog/audit.jsonl")).unwrap();
    assert!(audit.lines().any(|line| line.contains("older than release 7")), "{audit}");
}

#[test]
fn the_way_back_to_the_version_before_stays_open() {
    let directory = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    let (_host, client) = start_with(trusting(directory.path(), &key, ""));
    let (old, new) = (push_release(&client, &key, 2.0, 6), push_release(&client, &key, 3.0, 7));
    client.alias("m", "1", old);
    client.alias("m", "2", new);
    assert_eq!(client.post("/v1/models/m/rollback", b"").json()["current"], "1");
    // It is no new release: what is older than the newest stays refused.
    client.alias("m", "3", old).error(409);
    assert_eq!(client.alias("m", "3", new).status, 200);
}

#[tokio::test]
async fn what_is_revoked_does_not_serve_after_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    let host = FogHost::bind(trusting(directory.path(), &key, "")).await.unwrap();
    let (reload, address) = (host.reloader(), host.local_addr());
    tokio::spawn(host.serve(std::future::pending()));
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let revoke = format!("revoked_modules = [\"{digest}\"]");
    let (client, signature) = (Client::at(address), signed(&component, &key));
    let asked = client.clone();
    let ask = move || asked.infer(digest, &request(json!([1, 2, 3, 4])));
    let push = move || {
        let path = format!("/v1/modules/{digest}");
        client.put(&format!("{path}/signature"), signature.as_bytes());
        client.put(&path, &component).status
    };
    assert_eq!(tokio::task::spawn_blocking(push).await.unwrap(), 201);
    assert_eq!(tokio::task::spawn_blocking(ask.clone()).await.unwrap().status, 200);
    trusting(directory.path(), &key, &revoke);
    reload.reload().unwrap();
    let error = tokio::task::spawn_blocking(ask.clone()).await.unwrap().error(403);
    assert!(error.contains("revoked"), "{error}");
    // A file that is wrong changes nothing.
    std::fs::write(directory.path().join("trust.toml"), "threshhold = 1").unwrap();
    assert!(reload.reload().unwrap_err().to_string().contains("threshhold"));
    tokio::task::spawn_blocking(ask).await.unwrap().error(403);
}
