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

/// Builds a model and calibrates it, as `m.wasm` and `m.json`.
fn calibrate(folder: &Path, more: &[&str]) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-models/mlp-tabular");
    let leeway = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
        let output = command.current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    leeway(&["build", &format!("{root}/model.onnx"), "-o", "m.wasm", "--name", "m"]);
    let validation = format!("{root}/validation.npz");
    let measured = ["--output", "m.json", "--runs", "30", "--cold-runs", "0"];
    leeway(&[&["calibrate", "m.wasm", "--validation", &validation], &measured[..], more].concat());
}

#[test]
fn a_calibration_of_another_device_is_told_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    calibrate(folder.path(), &[]);
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

const HOT: &str = "[thermal]\nsoft_celsius = 70\nhard_celsius = 80\ndegrade = [\"large\"]\n";

/// A large model and a small one, each with its times on a hot device.
fn large_and_small(hot_large_ms: u32) -> String {
    let stream = |name: &str, ms: u32, hot_ms: u32, more: &str| {
        format!(
            "[[stream]]\nname = \"{name}\"\nstages_ms = [{ms}]\nthrottled_stages_ms = [{hot_ms}]\n\
             period_ms = 100\ndeadline_ms = 100\n{more}"
        )
    };
    let large = stream("large", 30, hot_large_ms, "degrade_to = \"small\"\n");
    format!("{HOT}{large}{}", stream("small", 5, 15, ""))
}

#[test]
fn a_hot_device_is_asked_for_its_throttled_times_and_streams_make_room_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for (hot_ms, text, set_aside) in [
        (60, "while the device is hot: admitted as well", vec![]),
        (
            90,
            "while the device is hot: admitted, with large by their smaller models",
            vec!["large"],
        ),
    ] {
        let output = admit(folder.path(), &large_and_small(hot_ms), &[]);
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && seen.contains(text), "{seen}");
        let output = admit(folder.path(), &large_and_small(hot_ms), &["--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let seen = json["hot"]["set_aside"].as_array().unwrap();
        assert_eq!(*seen, set_aside);
    }
    let neither = large_and_small(90).replace("[15]", "[101]");
    assert!(refused(&neither).contains("not admitted while the device is hot"));
    let unknown = large_and_small(90).replace("throttled_stages_ms = [15]\n", "");
    assert!(refused(&unknown).contains("throttled_khz"));
    let wrong = HOT.replace("80", "60");
    assert!(refused(&format!("{wrong}{LONG}")).contains("hard_celsius is 60"));
}

#[test]
fn a_slower_clock_than_calibrated_makes_times_longer() {
    let folder = tempfile::tempdir().unwrap();
    calibrate(folder.path(), &["--store", "kept"]);
    let file = folder.path().join("m.json");
    let mut calibration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    calibration["claims"]["device"]["governor"] = "performance".into();
    calibration["claims"]["device"]["frequency_khz"] = serde_json::json!([600_000, 1_800_000]);
    calibration["claims"]["device"]["core"] = 0.into();
    std::fs::write(&file, calibration.to_string()).unwrap();
    let clock = |name: &str, text: &str| {
        let directory = folder.path().join("root/sys/devices/system/cpu/cpu0/cpufreq");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name), text).unwrap();
    };
    let response = |highest_khz: &str| {
        clock("scaling_governor", "performance\n");
        clock("scaling_min_freq", "600000\n");
        clock("scaling_max_freq", highest_khz);
        let streams = "[[stream]]\nname = \"m\"\ncalibration = \"m.json\"\nperiod_ms = 60000\n\
                       deadline_ms = 60000\n";
        let tree = folder.path().join("root").display().to_string();
        let output = admit(folder.path(), streams, &["--json", "--sysfs-root", &tree]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let slower = json["calibrations"][0]["slower"].as_f64().unwrap();
        (json["streams"][0]["response_ns"].as_u64().unwrap(), slower)
    };
    let ((fast, one), (slow, twice)) = (response("1800000\n"), response("900000\n"));
    assert_eq!((one, twice), (1.0, 2.0));
    // What the executor adds, 20 us, is the same.
    let execution = |response: u64| response - 20_000;
    assert!(execution(slow).abs_diff(2 * execution(fast)) <= 8, "{slow} {fast}");
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
