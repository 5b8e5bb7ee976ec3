//! The page, its login, and what it draws. What a browser makes of it is the subject
//! of `tests/interop/page_check.py`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leeway_contract::Digest;
use leeway_fog_host::FogConfig;
use leeway_protocol::device::{Decisions, DeviceReport, ModelReport};
use leeway_runtime::offload::fog::HttpFog;
use leeway_runtime::offload::report::{ReportRule, Reports};
use serde_json::{Value, json};

use crate::support::{Answer, Client, request, start, start_with};
use crate::testing::TestModel;

/// A host that wants to know who asks. The tokens are `viewer` and `device`.
fn closed(directory: &tempfile::TempDir) -> FogConfig {
    let path = directory.path().join("clients.toml");
    let entry = |name: &str, scope: &str| {
        let hash = Digest::of(name.as_bytes()).to_hex();
        format!("[[token]]\nname = {name:?}\nsha256 = {hash:?}\nscopes = [{scope:?}]\n")
    };
    std::fs::write(&path, entry("viewer", "view") + &entry("device", "infer")).unwrap();
    FogConfig { access: Some(path), ..FogConfig::default() }
}

fn login(client: &Client, token: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    client.with("POST", "/login", &headers, format!("token={token}").as_bytes())
}

fn overview(client: &Client, query: &str) -> Value {
    let answer = client.get(&format!("/v1/overview{query}"));
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

fn sum(steps: &Value) -> u64 {
    steps.as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

#[test]
fn the_page_and_its_files_come_with_a_strict_policy() {
    let (_host, client) = start();
    let page = client.get("/");
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body.clone()).unwrap();
    // No script or style in the page itself, and every file that it names is there.
    assert!(!text.contains("style=") && !text.contains("<style"));
    let mut files = 0;
    for part in text.split('"').filter(|part| part.starts_with("/page/")) {
        assert_eq!(client.get(part).status, 200, "{part}");
        files += 1;
    }
    assert!(files >= 3, "{text}");
    for answer in [page, client.get("/page/app.js"), client.get("/v1/overview")] {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(client.get("/page/nothing.js").status, 404);
    assert_eq!(client.get("/page/../Cargo.toml").status, 404);
}

#[test]
fn where_clients_must_be_known_the_page_wants_a_login_with_its_scope() {
    let directory = tempfile::tempdir().unwrap();
    let (_host, client) = start_with(closed(&directory));
    let away = client.get("/");
    assert_eq!((away.status, away.header("location")), (303, Some("/login")));
    client.get("/v1/overview").error(401);
    for (token, why) in [("wrong", "No client"), ("device", "scope"), ("%22", "No client")] {
        let refused = login(&client, token);
        assert_eq!(refused.status, 401);
        assert!(refused.header("set-cookie").is_none());
        assert!(String::from_utf8(refused.body).unwrap().contains(why));
    }
    let let_in = login(&client, "viewer");
    assert_eq!((let_in.status, let_in.header("location")), (303, Some("/")));
    let cookie = let_in.header("set-cookie").unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let with = |path: &str| client.with("GET", path, &[("cookie", cookie)], b"");
    assert_eq!(with("/").status, 200);
    let seen = with("/v1/overview").json();
    assert_eq!((&seen["viewer"], &seen["login"]), (&json!("viewer"), &json!(true)));
    let events = seen["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["action"] == "login" && event["outcome"] == "done"));
    assert!(events.iter().any(|event| event["outcome"] != "done"));
    // The login lets one look, and do nothing.
    for path in ["/v1/models", "/v2", "/metrics"] {
        with(path).error(401);
    }
    // A token is as good as a login, with the scope only.
    let bearing = |token: &str| {
        let value = format!("Bearer {token}");
        client.with("GET", "/v1/overview", &[("authorization", &value)], b"")
    };
    assert_eq!(bearing("viewer").json()["login"], false);
    assert!(bearing("device").error(403).contains("view"));
    let left = client.with("POST", "/logout", &[("cookie", cookie)], b"");
    assert!(left.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[test]
fn pages_of_other_sites_get_nothing_done() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    client.alias("m", "1", digest);
    let cross = [("sec-fetch-site", "cross-site")];
    let unload = "/v2/repository/models/m/unload";
    assert!(client.with("POST", unload, &cross, b"").error(400).contains("another site"));
    client.with("POST", "/login", &cross, b"token=x").error(400);
    assert_eq!(client.get("/v2/models/m/ready").status, 200);
}

#[test]
fn what_happens_is_to_be_seen() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    let nameless = client.push(&TestModel::scaling(3.0));
    client.alias("m", "1", digest);
    let mut ones = request(json!([1, 1, 1, 1]));
    client.infer("m", &ones).values();
    ones["parameters"] = json!({ "timeout": 10_000_000 });
    client.infer("m", &ones).values();
    client.put(&format!("/v1/modules/{}", Digest::of(b"x")), b"x").error(422);

    let seen = overview(&client, "");
    assert_eq!(sum(&seen["traffic"]["answered"]), 2);
    assert_eq!(seen["totals"]["answered"], 2);
    assert_eq!(seen["totals"]["refusals"]["module"], 1);
    let models = seen["models"].as_array().unwrap();
    assert_eq!(models[0]["name"], "m");
    let version = &models[0]["versions"][0];
    assert_eq!(version["digest"], digest.to_string());
    let certificate = &version["certificate"];
    assert!(certificate["fuel"].as_u64().unwrap() > 0, "{certificate}");
    assert!(certificate["memory_bytes"].as_u64().unwrap() > 0, "{certificate}");
    assert_eq!(certificate["stages"].as_array().unwrap().len(), 1);
    assert_eq!(models[1]["name"], Value::Null);
    assert_eq!(models[1]["versions"][0]["digest"], nameless.to_string());
    let latency = &seen["latency"][0];
    assert_eq!(latency["request"]["count"], 2);
    assert_eq!(latency["deadline"]["count"], 1);
    let actions: Vec<_> =
        seen["events"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
    assert_eq!(actions, ["push", "push", "alias", "push"]);
    assert_eq!(seen["clients"][0]["answered"], 2);
}

#[test]
fn a_device_reports_through_its_own_client() {
    let (host, client) = start();
    let fog = HttpFog::new(&host.url()).unwrap();
    let decisions = Decisions { local: 3, fog: 5, fallback: 1, compensated: 0, missed: 2 };
    let model = ModelReport {
        name: "<b>m</b>".into(),
        digest: Digest::of(b"m"),
        policy: "threshold".into(),
        decisions,
        wcet_ns: 12_000_000,
        transfer_ns: Some(4_000_000),
        fog_ns: Some(1_000_000),
        latency_ns: 20_000_000,
        deadline_ns: Some(15_000_000),
    };
    let report = DeviceReport { models: vec![model] };
    let traffic = fog.report("line-3", &report, Duration::from_secs(10)).unwrap();
    assert!(traffic.up_bytes < 800, "{traffic:?}");
    fog.report("line-4", &report, Duration::from_secs(10)).unwrap();
    let all = overview(&client, "");
    assert_eq!(sum(&all["flow"]["fog"]), 10);
    let device = &all["devices"][0];
    assert_eq!((&device["name"], &device["client"]), (&json!("line-3"), &json!("127.0.0.1")));
    assert_eq!((&device["local"], &device["missed"]), (&json!(3), &json!(2)));
    let one = overview(&client, "?client=127.0.0.1&device=line-3");
    assert_eq!(sum(&one["flow"]["fog"]), 5);
    let transfer = one["flow"]["transfer_ms"].as_array().unwrap();
    assert!(transfer.iter().any(|value| value.as_f64() == Some(4.0)), "{transfer:?}");
    let none = overview(&client, "?client=x&device=line-3");
    assert_eq!(sum(&none["flow"]["fog"]), 0);
    for (name, body) in [("line-3", "{}"), ("%3Cb%3E", r#"{"models":[]}"#), ("x", "")] {
        client.post(&format!("/v1/devices/{name}/report"), body.as_bytes()).error(400);
    }
}

#[test]
fn reports_come_by_themselves_also_of_nothing() {
    let (host, client) = start();
    let reports = Arc::new(Reports::default());
    let rule = ReportRule { interval: Duration::from_millis(20), ..ReportRule::default() };
    let fog = Arc::new(HttpFog::new(&host.url()).unwrap());
    let thread = reports.spawn("quiet".into(), fog, rule).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while overview(&client, "")["devices"][0]["name"] != "quiet" {
        assert!(Instant::now() < end, "no report came");
    }
    drop(thread);
}
