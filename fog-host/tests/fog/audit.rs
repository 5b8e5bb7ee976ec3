//! The audit log: a line for each push, change of a name and removal, and for each of these
//! that was refused, whatever route it came by and whatever refused it.

use leeway_contract::Digest;
use leeway_fog_host::{FogConfig, StoreLocation};
use leeway_protocol::grpc::{Empty, LoadRequest};
use serde_json::Value;

use crate::grpc;
use crate::support::{Client, component, start_with};
use crate::testing::TestModel;

/// Action, object and outcome of all lines.
fn lines(directory: &std::path::Path) -> Vec<[String; 3]> {
    let log = std::fs::read_to_string(directory.join("audit.jsonl")).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["client"], "127.0.0.1");
        ["action", "object", "outcome"].map(|key| line[key].as_str().unwrap().to_owned())
    };
    log.lines().map(line).collect()
}

/// What is refused, in turn: method, path and body, the scope that it wants, and words of
/// the refusal.
fn refusals(named: Digest) -> Vec<(&'static str, String, Vec<u8>, &'static str, &'static str)> {
    let none = Digest::of(b"nothing");
    let alias = |digest| format!("{{\"digest\": \"{digest}\"}}").into_bytes();
    vec![
        ("PUT", "/v1/modules/x".into(), vec![], "push", "digest"),
        ("PUT", format!("/v1/modules/{none}"), b"other".to_vec(), "push", "fetch"),
        ("PUT", format!("/v1/modules/{none}/signature"), b"{}".to_vec(), "push", "signature"),
        ("DELETE", format!("/v1/modules/{named}"), vec![], "admin", "stands for the module"),
        ("DELETE", format!("/v1/modules/{none}"), vec![], "admin", "no module"),
        ("PUT", "/v1/models/m/versions/2".into(), alias(none), "admin", "no module"),
        ("PUT", "/v1/models/m/versions/2".into(), b"[]".to_vec(), "admin", "not an alias"),
        ("DELETE", "/v1/models/m/versions/2".into(), vec![], "admin", "no version 2"),
        ("POST", "/v1/models/m/rollback".into(), vec![], "admin", "no other version"),
        ("POST", "/v2/repository/models/n/load".into(), vec![], "admin", "no model"),
        ("POST", "/v2/repository/models/n/unload".into(), vec![], "admin", "no model"),
    ]
}

#[test]
fn every_change_and_every_change_that_is_refused_is_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let (host, client) = start_with(FogConfig {
        listen_grpc: Some(([127, 0, 0, 1], 0).into()),
        store: StoreLocation::Directory(directory.path().to_owned()),
        ..FogConfig::default()
    });
    let digest = client.push(&TestModel::scaling(2.0));
    assert_eq!(client.alias("m", "1", digest).status, 200);
    for (method, path, body, ..) in refusals(digest) {
        assert!(client.with(method, &path, &[], &body).status >= 400, "{method} {path}");
    }
    let load = LoadRequest { model_name: "n".into(), ..LoadRequest::default() };
    for method in ["RepositoryModelLoad", "RepositoryModelUnload"] {
        grpc::call::<Empty>(&host, method, &[], &load).unwrap_err();
    }
    changes(&client, digest);
    let load = LoadRequest { model_name: "m".into(), ..LoadRequest::default() };
    for method in ["RepositoryModelUnload", "RepositoryModelLoad"] {
        grpc::call::<Empty>(&host, method, &[], &load).unwrap();
    }

    let lines = lines(directory.path());
    let (begin, rest) = lines.split_at(2);
    let (text, alias) = (digest.to_string(), format!("m 1 {digest}"));
    assert_eq!(begin, [["push", text.as_str(), "done"], ["alias", alias.as_str(), "done"]]);
    let refusals = refusals(digest);
    let (refused, rest) = rest.split_at(refusals.len());
    for ([action, object, outcome], (method, path, _, scope, words)) in refused.iter().zip(refusals)
    {
        assert_eq!((&**action, object), (scope, &format!("{method} {path}")));
        assert!(outcome.contains(words), "{words:?}: {outcome}");
    }
    let actions: Vec<String> =
        rest.iter().map(|[action, _, outcome]| format!("{action}: {outcome}")).collect();
    let none = "there is no model \"n\" here";
    let (load, unload) = (format!("load: {none}"), format!("unload: {none}"));
    let wanted = [
        load.as_str(),
        unload.as_str(),
        "sign: done",
        "push: done",
        "alias: done",
        "roll back: done",
        "unload: done",
        "load: done",
        "remove alias: done",
        "remove: done",
        "unload: done",
        "load: done",
    ];
    assert_eq!(actions, wanted);
}

/// One of each, by HTTP.
fn changes(client: &Client, first: Digest) {
    let second = component(&TestModel::scaling(3.0));
    let digest = Digest::of(&second);
    let key = leeway_deploy::trust::SecretKey::generate().unwrap();
    let envelope = crate::trust::signed(&second, &key);
    let path = format!("/v1/modules/{digest}");
    assert_eq!(client.put(&format!("{path}/signature"), envelope.as_bytes()).status, 204);
    assert_eq!(client.put(&path, &second).status, 201);
    assert_eq!(client.alias("m", "2", digest).status, 200);
    let rolled = client.post("/v1/models/m/rollback", b"");
    assert_eq!(rolled.json()["digest"], first.to_string());
    for what in ["unload", "load"] {
        assert_eq!(client.post(&format!("/v2/repository/models/m/{what}"), b"").status, 200);
    }
    assert_eq!(client.delete("/v1/models/m/versions/2").status, 204);
    assert_eq!(client.delete(&path).status, 204);
}
