//! `leeway fleet` against real agents, one of which believes another key.

#[allow(dead_code, reason = "each of its users needs a part")]
mod bench;

use bench::{Bench, fixture};
use serde_json::Value;

/// Four agents: `b` refuses what `release` has signed; `e` is not there.
fn fleet(rollout: &str) -> Bench {
    let bench = Bench::new();
    bench.succeed(&["keygen", "other"]);
    for (name, key) in [("a", "release"), ("b", "other"), ("c", "release"), ("d", "release")] {
        bench.agent(name, key);
    }
    for (version, counter) in [("1", "1"), ("2", "2")] {
        let file = format!("{version}.wasm");
        bench.succeed(&["sign", &file, "--key", "release.pem", "--counter", counter]);
    }
    // A second without any failure is enough to have proven itself.
    std::fs::write(bench.path("settings.toml"), "[probation]\nseconds = 1\n").unwrap();
    let device = |name: &str| {
        let label = if name == "a" { "canary" } else { "rest" };
        format!(
            "[[device]]\nname = \"{name}\"\naddress = \"unix:{name}.sock\"\nlabels = [\"{label}\"]\n"
        )
    };
    let devices: String = ["a", "b", "c", "d", "e"].map(device).concat();
    let waves = "[[wave]]\nlabel = \"canary\"\n[[wave]]\ncount = 1\n";
    std::fs::write(bench.path("fleet.toml"), format!("{rollout}{waves}{devices}")).unwrap();
    bench
}

fn deploy(bench: &Bench, version: &str, more: &[&str]) -> (bool, Value) {
    let file = format!("{version}.wasm");
    let deploy = ["fleet", "deploy", "fleet.toml", &file, "--settings", "settings.toml", "--json"];
    let output = bench.leeway(&[&deploy[..], more].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), serde_json::from_slice(&output.stdout).expect(&text))
}

/// The outcome of each device, `a` to `e`.
fn outcomes(summary: &Value) -> Vec<&str> {
    let devices = summary["devices"].as_array().unwrap();
    devices.iter().map(|device| device["outcome"].as_str().unwrap_or("none")).collect()
}

#[test]
fn a_rollout_stops_at_its_limit_goes_on_where_it_was_and_comes_back() {
    let bench = fleet("[rollout]\nfailures = 0\nhealth_s = 60\n");
    let (done, summary) = deploy(&bench, "1", &[]);
    assert!(!done);
    assert_eq!(outcomes(&summary), ["healthy", "failed", "none", "none", "none"]);
    assert_eq!(summary["stopped"]["failures"]["seen"], 1);
    let reason = summary["devices"][1]["reason"].as_str().unwrap();
    assert!(reason.contains("refused at the step signature"), "{reason}");

    // Again, with one failure allowed: what was done is not done again.
    let (done, summary) = deploy(&bench, "1", &["--failures", "1"]);
    assert!(!done);
    assert_eq!(outcomes(&summary), ["healthy", "failed", "healthy", "healthy", "unreachable"]);
    assert_eq!(summary["stopped"], Value::Null);
    let journal = std::fs::read_to_string(bench.path("fleet.toml.rollout")).unwrap();
    assert_eq!(journal.matches("\"a\"").count(), 1, "{journal}");

    // The device that was away is back, the one that refused believes the key now.
    bench.agent("e", "release");
    std::fs::copy(bench.path("release.pub.pem"), bench.path("other.pub.pem")).unwrap();
    let (done, summary) = deploy(&bench, "1", &["--failures", "1"]);
    assert!(!done);
    assert_eq!(outcomes(&summary)[4], "healthy");

    let (done, summary) = deploy(&bench, "2", &["--failures", "1"]);
    assert!(!done, "{summary}");
    let status = bench.leeway(&["fleet", "status", "fleet.toml", "tabular"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(text.lines().filter(|line| line.contains(" 2 ")).count(), 4, "{text}");
    assert!(text.contains("no model"), "{text}");

    let back = ["fleet", "rollback", "fleet.toml", "tabular", "--label", "canary", "--json"];
    let rolled: Value = serde_json::from_str(&bench.succeed(&back)).unwrap();
    assert_eq!(rolled[0]["result"], "rolled-back");
    let digest = summary["digest"].as_str().unwrap();
    let rest = ["fleet", "rollback", "fleet.toml", "tabular", "--digest", digest];
    let output = bench.leeway(&rest);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("rolled back to").count(), 3, "{text}");
    assert_eq!(text.matches("keeps what it has").count(), 2, "{text}");
}

#[test]
fn what_is_wrong_with_a_fleet_s_file_is_said_before_anything_is_sent() {
    let bench = fleet("[rollout]\nparalel = 3\n");
    let output = bench.leeway(&["fleet", "deploy", "fleet.toml", "1.wasm"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("fleet.toml") && error.contains("paralel"), "{error}");
    let error = bench.fail(&["fleet", "status", "nowhere.toml"]);
    assert!(error.contains("nowhere.toml"), "{error}");
}

#[test]
fn a_fleet_is_reached_with_one_certificate() {
    let bench = Bench::new();
    let address = bench.secure_agent("far", "release");
    bench.succeed(&["sign", "1.wasm", "--key", "release.pem"]);
    std::fs::write(bench.path("settings.toml"), "[probation]\nseconds = 0\n").unwrap();
    let [authority, certificate, key] = ["ca.pem", "operator.pem", "operator.key"].map(fixture);
    let access = format!(
        "[access]\nauthority = {authority:?}\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    let devices = format!(
        "[[device]]\nname = \"far\"\naddress = \"{address}\"\n\
         [[device]]\nname = \"near\"\naddress = \"unix:device.sock\"\n"
    );
    std::fs::write(bench.path("fleet.toml"), format!("{access}{devices}")).unwrap();
    let (done, summary) = deploy(&bench, "1", &[]);
    assert!(done, "{summary}");
    assert_eq!(outcomes(&summary), ["healthy", "healthy"]);
    let half = format!("{access}{devices}key = {key:?}\n");
    std::fs::write(bench.path("fleet.toml"), half).unwrap();
    let error = bench.fail(&["fleet", "status", "fleet.toml"]);
    assert!(error.contains("\"near\" has one of certificate and key"), "{error}");
}
