//! `leeway doctor` as a user runs it, on this machine and on recorded ones.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
    command.arg("doctor").args(arguments).output().expect("leeway starts")
}

/// Writes a recorded tree, in which a line `== path` begins a file.
fn record(folder: &Path, text: &str) {
    for file in text.split("== ").skip(1) {
        let (path, text) = file.split_once('\n').unwrap();
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

const BOARD: &str = include_str!("../../runtime/fixtures/raspberry-pi-4.txt");

#[test]
fn this_machine_is_examined() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(&["--json", "--data", &folder.path().display().to_string()]);
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let failed = findings.iter().any(|finding| finding["severity"] == "failure");
    assert_eq!(output.status.success(), !failed, "{findings:#?}");
    for check in ["kernel", "real-time priority", "engine", "power", "file system", "clock source"]
    {
        assert!(findings.iter().any(|finding| finding["check"] == check), "{check}");
    }
}

#[test]
fn warnings_are_no_failure_unless_they_are_to_be_and_failures_are() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), BOARD);
    let root = folder.path().display().to_string();
    let output = doctor(&["--root", &root]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        table.contains("ondemand, 600 to 1800 MHz") && table.contains("LimitRTPRIO"),
        "{table}"
    );
    let strict = doctor(&["--root", &root, "--strict"]);
    assert!(!strict.status.success());
    assert!(String::from_utf8_lossy(&strict.stderr).contains("0 failed and 2 warn"));

    let zone = folder.path().join("sys/class/thermal/thermal_zone0/temp");
    std::fs::write(zone, "91000\n").unwrap();
    let hot = doctor(&["--root", &root, "--json"]);
    assert!(!hot.status.success());
    let findings: Value = serde_json::from_slice(&hot.stdout).unwrap();
    let failure = findings.as_array().unwrap().iter().find(|f| f["severity"] == "failure");
    assert_eq!(failure.unwrap()["check"], "temperature");
}
