//! What each client may keep, on one host and on two that share a store.

use std::path::Path;

use leeway_contract::Digest;
use leeway_fog_host::{FogConfig, StoreLocation};
use serde_json::{Value, json};

use crate::support::{Answer, Client, component, start_with};
use crate::testing::TestModel;

/// A host's configuration with clients whose tokens are their names: `small` may keep so
/// many bytes, `admin` two names.
fn limited(directory: &Path, bytes: u64) -> FogConfig {
    let entry = |name: &str, scope: &str, more: String| {
        let sha256 = Digest::of(name.as_bytes()).to_hex();
        format!(
            "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nscopes = [\"{scope}\"]\n{more}\n"
        )
    };
    let clients = entry("small", "push", format!("module_bytes = {bytes}"))
        + &entry("large", "push", String::new())
        + &entry("admin", "admin", "names = 2".into());
    std::fs::write(directory.join("clients.toml"), clients).unwrap();
    FogConfig {
        store: StoreLocation::Directory(directory.join("fog")),
        access: Some(directory.join("clients.toml")),
        ..FogConfig::default()
    }
}

/// One of a host's clients.
struct As<'a>(&'a Client, &'static str);

impl As<'_> {
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.0.with(method, path, &[("authorization", &format!("Bearer {}", self.1))], body)
    }

    fn push(&self, component: &[u8]) -> Answer {
        self.ask("PUT", &path(component), component)
    }

    fn alias(&self, name: &str, component: &[u8]) -> Answer {
        let body = json!({ "digest": Digest::of(component) }).to_string();
        self.ask("PUT", &format!("/v1/models/{name}/versions/1"), body.as_bytes())
    }

    fn usage(&self) -> Value {
        self.ask("GET", "/v1/usage", b"").json()
    }
}

fn path(component: &[u8]) -> String {
    format!("/v1/modules/{}", Digest::of(component))
}

fn components() -> [Vec<u8>; 3] {
    [2.0, 3.0, 4.0].map(|factor| component(&TestModel::scaling(factor)))
}

#[test]
fn what_a_client_brings_counts_on_all_hosts_until_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second, third] = components();
    let most = (first.len() + second.len()) as u64;
    let config = limited(directory.path(), most);
    let (_one, one) = start_with(config.clone());
    let (_two, two) = start_with(config);
    let (here, there, admin) = (As(&one, "small"), As(&two, "small"), As(&two, "admin"));
    assert_eq!(here.push(&first).status, 201);
    assert_eq!(there.push(&second).status, 201);
    // Again costs nothing, and neither does what somebody else keeps.
    assert_eq!(there.push(&first).status, 200);
    assert_eq!(As(&one, "large").push(&third).status, 201);
    assert_eq!(here.push(&third).status, 200);
    let usage = json!({
        "bytes": most, "most_bytes": most, "modules": 2, "names": 0, "most_names": null
    });
    assert_eq!(there.usage(), usage);

    let fourth = component(&TestModel::scaling(5.0));
    let error = here.push(&fourth).error(507);
    assert!(error.contains(&format!("small keeps {most} of the {most} bytes")), "{error}");
    // Its signature counts as well, and a part of it is not waited for.
    let ranged = format!("bytes 0-0/{}", fourth.len());
    let headers = [("authorization", "Bearer small"), ("content-range", &ranged)];
    let error = one.with("PUT", &path(&fourth), &headers, &fourth[..1]).error(507);
    assert!(error.contains("small keeps"), "{error}");
    let audit = std::fs::read_to_string(directory.path().join("fog/audit.jsonl")).unwrap();
    assert!(audit.lines().any(|line| line.contains("push") && line.contains("small keeps")));
    assert!(one_metrics(&one).contains("leeway_refusals_total{reason=\"quota\"} 2"));

    assert_eq!(admin.ask("DELETE", &path(&second), b"").status, 204);
    assert_eq!(here.usage()["modules"], 1);
    assert_eq!(here.push(&fourth).status, 201);
}

fn one_metrics(client: &Client) -> String {
    String::from_utf8(As(client, "admin").ask("GET", "/metrics", b"").body).unwrap()
}

#[test]
fn a_module_that_is_larger_than_all_that_may_be_kept_is_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let [first, ..] = components();
    let (_host, client) = start_with(limited(directory.path(), first.len() as u64 - 1));
    let error = As(&client, "small").push(&first).error(413);
    assert!(error.contains(&format!("{} bytes are more than", first.len())), "{error}");
    assert_eq!(As(&client, "small").usage()["bytes"], 0);
    assert_eq!(
        client.with("HEAD", &path(&first), &[("authorization", "Bearer admin")], b"").status,
        404
    );
}

#[test]
fn names_count_until_their_last_version_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let [first, ..] = components();
    let (_host, client) = start_with(limited(directory.path(), 0));
    let admin = As(&client, "admin");
    assert_eq!(admin.push(&first).status, 201);
    assert_eq!(admin.alias("a", &first).status, 200);
    assert_eq!(admin.alias("b", &first).status, 200);
    assert_eq!(admin.alias("a", &first).status, 200);
    let error = admin.alias("c", &first).error(507);
    assert!(error.contains("admin has 2 of the 2 names"), "{error}");
    assert_eq!(admin.ask("DELETE", "/v1/models/a/versions/1", b"").status, 204);
    assert_eq!(admin.alias("c", &first).status, 200);
    assert_eq!(admin.usage()["names"], 2);
}
