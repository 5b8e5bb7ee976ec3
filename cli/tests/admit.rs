//! `leeway admit` as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn admit(folder: &Path, streams: &str, more: &[&str]) -> Output {
    let file = folder.join("streams.toml");
    std::fs::write(&file, streams).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
    command.arg("admit").arg(file).args(more).output().expect("leeway starts")
}

fn refused(streams: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = admit(folder.path(), streams, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.starts_with("error: "), "{stderr}");
    stderr
}

const LONG: &str = "[[stream]]\nname = \"long\"\nstages_ms = [10, 10, 10, 10]\n\
                    period_ms = 100\ndeadline_ms = 100\n";

fn short(deadline_ms: u32) -> String {
    format!(
        "{LONG}[[stream]]\nname = \"short\"\nstages_ms = [2]\nperiod_ms = 50\n\
         deadline_ms = {deadline_ms}\noffload = {{ setup_us = 100 }}\n"
    )
}

#[test]
fn each_stream_is_told_its_response_and_slack() {
    let folder = tempfile::tempdir().unwrap();
    let output = admit(folder.path(), &short(30), &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let promise: Value = serde_json::from_slice(&output.stdout).unwrap();
    let streams = promise["streams"].as_array().unwrap();
    for (stream, deadline_ns) in streams.iter().zip([100_000_000, 30_000_000]) {
        let ns = |name: &str| stream[name].as_u64().unwrap();
        assert_eq!(ns("response_ns") + ns("slack_ns"), deadline_ns);
    }
    assert_eq!(streams[0]["segments"].as_array().unwrap().len(), 2);
    assert!(streams[1]["arm_after_ns"].as_u64().is_some());

    let output = admit(folder.path(), &short(30), &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("admitted") && text.contains("2 pieces"), "{text}");
    assert!(text.contains("no stream is calibrated"), "{text}");
}

#[test]
fn a_calibration_of_another_device_is_told_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-models/mlp-tabular");
    let leeway = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
        let output = command.current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    leeway(&["build", &format!("{root}/model.onnx"), "-o", "m.wasm", "--name", "m"]);
    let validation = format!("{root}/validation.npz");
    leeway(&[
        "calibrate",
        "m.wasm",
        "--validation",
        &validation,
        "--output",
        "m.json",
        "--runs",
        "30",
        "--cold-runs",
        "0",
    ]);
    let streams = "[[stream]]\nname = \"m\"\ncalibration = \"m.json\"\nperiod_ms = 60000\n\
                   deadline_ms = 60000\n";
    let told = |wanted: &str| {
        let text = admit(folder.path(), streams, &[]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains(wanted), "{text}");
        let json = admit(folder.path(), streams, &["--json"]);
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        json["calibrations"][0].clone()
    };
    assert_eq!(told("of this device and engine")["holds_here"], true);
    let file = folder.path().join("m.json");
    let mut calibration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    calibration["claims"]["device"]["kernel"] = "2.4.37".into();
    std::fs::write(&file, calibration.to_string()).unwrap();
    let compared = told("its kernel is \"2.4.37\"");
    assert_eq!(compared["differs"]["claim"], "kernel");
}

#[test]
fn a_refusal_names_the_stream_and_fails() {
    let stderr = refused(&short(11));
    assert!(stderr.contains("\"short\"") && stderr.contains("\"long\""), "{stderr}");
}

#[test]
fn a_file_that_is_none_says_where() {
    let cases = [
        ("[[stream]]\nname = 1\n".to_owned(), "name"),
        ("speed = 3\n".to_owned(), "speed"),
        (LONG.replace("period_ms = 100", "period_ms = -1"), "period_ms is -1"),
        (LONG.replace("stages_ms = [10, 10, 10, 10]", "calibration = \"none.json\""), "none.json"),
        (LONG.replace("stages_ms = [10, 10, 10, 10]\n", ""), "calibration and stages_ms"),
        ("exceedance = 2\n".to_owned(), "exceedance is 2"),
    ];
    for (streams, wanted) in cases {
        let stderr = refused(&streams);
        assert!(stderr.contains(wanted), "{wanted}: {stderr}");
    }
}
