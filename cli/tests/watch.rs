//! `leeway run` feeds what was promised of a model's time.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-models/mlp-tabular");

/// The user's data are in the folder, so that no other calibration is found.
fn leeway(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
    command.current_dir(folder).env("XDG_DATA_HOME", folder.join("data")).args(arguments);
    command.output().expect("leeway starts")
}

fn succeed(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = leeway(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn run(folder: &Path, more: &[&str]) -> Value {
    let fixed = ["run", "m.wasm", "--input", "input=x.npy", "--repeat", "5", "--json"];
    serde_json::from_slice(&succeed(folder, &[&fixed[..], more].concat())).unwrap()
}

/// A component, an input, and its calibration in `m.json` and in the user's data.
fn bench() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    succeed(at, &["build", &format!("{MODEL}/model.onnx"), "-o", "m.wasm", "--name", "m"]);
    let model = leeway_guest_models::reference_model("mlp-tabular").unwrap();
    let input = &model.test().unwrap().inputs[0];
    let shape: Vec<usize> = input.shape.iter().map(|&d| d as usize).collect();
    let array = ndarray::ArrayD::from_shape_vec(shape, input.to_f32().unwrap()).unwrap();
    ndarray_npy::write_npy(at.join("x.npy"), &array).unwrap();
    let validation = format!("{MODEL}/validation.npz");
    let fixed = ["calibrate", "m.wasm", "--output", "m.json", "--runs", "30", "--cold-runs", "0"];
    succeed(at, &[&fixed[..], &["--validation", &validation]].concat());
    folder
}

#[test]
fn every_run_is_counted_and_kept_with_the_calibration_of_this_device() {
    let folder = bench();
    let first = run(folder.path(), &[]);
    assert_eq!(first["watch"]["seen"]["runs"], 5);
    let second = run(folder.path(), &[]);
    assert_eq!(second["watch"]["seen"]["runs"], 10);
    let exceeded = |ran: &Value| ran["watch"]["exceeded"].as_u64().unwrap();
    let seen = second["watch"]["seen"]["exceeded"].as_u64().unwrap();
    assert_eq!(seen, exceeded(&first) + exceeded(&second));
    // Without a calibration there is nothing to watch.
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    assert_eq!(run(folder.path(), &[])["watch"], Value::Null);
}

#[test]
fn a_run_over_the_promise_is_told_and_raises_it() {
    let folder = bench();
    let file = folder.path().join("m.json");
    let mut calibration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    // Nothing runs as fast as that.
    let whole = &mut calibration["warm"]["whole"];
    for time in ["highest_observed_ns", "highest_undisturbed_ns", "worst_input_ns"] {
        whole[time] = 1.into();
    }
    std::fs::write(&file, calibration.to_string()).unwrap();
    let watch = run(folder.path(), &["--calibration", "m.json"])["watch"].clone();
    assert!(watch["exceeded"].as_u64().unwrap() >= 1, "{watch}");
    assert_eq!(watch["bound"]["basis"], "raised");
    assert!(watch["bound"]["time_ns"].as_u64() > watch["seen"]["highest_ns"].as_u64());

    calibration["claims"]["module"] = format!("sha256:{}", "0".repeat(64)).into();
    std::fs::write(&file, calibration.to_string()).unwrap();
    let arguments = ["run", "m.wasm", "--input", "input=x.npy", "--calibration", "m.json"];
    let output = leeway(folder.path(), &arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("m.json is of sha256:0000"), "{stderr}");
}
