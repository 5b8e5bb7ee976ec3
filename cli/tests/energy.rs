//! Joules in `leeway run` and `leeway calibrate`: measured on a recorded tree whose
//! counter moves, modelled where there is no sensor, refused where there is neither.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leeway_compiler::Options;
use leeway_guest_models::reference_model;
use serde_json::Value;

const MODEL: &str =
    "idle_watts = 2.0\nbusy_watts = 4.5\ntransmit_watts = 3.0\nreceive_watts = 2.5\n";

/// A component, an input for it, a power model, and an empty tree.
fn bench() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = reference_model("mlp-tabular").unwrap();
    let built = leeway_compiler::compile(model.onnx, &Options::default()).unwrap();
    std::fs::write(at("model.wasm"), built.seal(&[]).component).unwrap();
    let input = &model.test().unwrap().inputs[0];
    let values = input.to_f32().unwrap();
    let shape: Vec<usize> = input.shape.iter().map(|&d| d as usize).collect();
    let array = ndarray::ArrayD::from_shape_vec(shape, values).unwrap();
    ndarray_npy::write_npy(at("x.npy"), &array).unwrap();
    std::fs::write(at("power.toml"), MODEL).unwrap();
    std::fs::create_dir(at("root")).unwrap();
    folder
}

fn run(folder: &Path, more: &[&str]) -> Output {
    let input = format!("input={}", folder.join("x.npy").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
    command.current_dir(folder).args(["run", "model.wasm", "--json", "--input", &input]);
    command.args(["--energy", "--sysfs-root", "root"]).args(more);
    command.output().expect("leeway starts")
}

fn energy(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["energy"].clone()
}

#[test]
fn without_a_sensor_joules_are_modelled_or_refused() {
    let folder = bench();
    let output = run(folder.path(), &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        stderr.contains("there is no power sensor") && stderr.contains("--power-model"),
        "{stderr}"
    );

    let energy = energy(&run(folder.path(), &["--power-model", "power.toml"]));
    assert_eq!((&energy["basis"], &energy["idle_watts"]), (&"modelled".into(), &2.0.into()));
    let seconds = energy["execution_ns"].as_f64().unwrap() * 1e-9;
    let joules = energy["joules"].as_f64().unwrap();
    assert!((joules - 2.5 * seconds).abs() < 1e-3 * joules, "{energy}");

    std::fs::write(folder.path().join("power.toml"), "idle_watts = 9\n").unwrap();
    let output = run(folder.path(), &["--power-model", "power.toml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("power.toml") && stderr.contains("busy_watts"), "{stderr}");
}

#[test]
fn a_counter_that_moves_faster_under_load_is_measured() {
    let folder = bench();
    let zone = folder.path().join("root/sys/class/powercap/intel-rapl:0");
    std::fs::create_dir_all(&zone).unwrap();
    let write = |name: &str, text: String| {
        // Replaced as a whole, as the kernel's files are read.
        let new = zone.join(".new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, zone.join(name)).unwrap();
    };
    write("name", "package-0\n".into());
    write("max_energy_range_uj", "262143328850\n".into());
    write("energy_uj", "0\n".into());
    let done = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            // More in each step than in the one before: later is busier.
            let (mut count, mut step) = (0u64, 1_000);
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(2));
                count += step;
                step += 10;
                write("energy_uj", format!("{count}\n"));
            }
        });
        let output = run(folder.path(), &[]);
        done.store(true, Ordering::Relaxed);
        output
    });
    let energy = energy(&output);
    assert_eq!((&energy["basis"], &energy["domain"]), (&"measured".into(), &"processor".into()));
    assert_eq!(energy["sensors"][0], "rapl:package-0");
    let number = |name: &str| energy[name].as_f64().unwrap();
    let above_idle = number("busy_watts") - number("idle_watts");
    let joules = above_idle * number("execution_ns") * 1e-9;
    assert!(above_idle > 0.0 && (number("joules") - joules).abs() < 1e-3 * joules, "{energy}");
}

#[test]
fn a_sensor_that_is_not_there_is_named_with_those_that_are() {
    let folder = bench();
    let chip = folder.path().join("root/sys/class/hwmon/hwmon0");
    std::fs::create_dir_all(&chip).unwrap();
    std::fs::write(chip.join("name"), "ina226\n").unwrap();
    std::fs::write(chip.join("power1_input"), "2500000\n").unwrap();
    let output = run(folder.path(), &["--power-sensor", "rapl:package-0"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("\"rapl:package-0\"; there are ina226:1"), "{stderr}");
}

#[test]
fn a_calibration_keeps_the_joules() {
    let folder = bench();
    let model = reference_model("mlp-tabular").unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-models");
    let validation = models.join(model.name).join("validation.npz");
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
    command.current_dir(folder.path()).args(["calibrate", "model.wasm", "--no-real-time"]);
    command.args(["--runs", "1", "--cold-runs", "0", "--store", "store", "-o", "out.json"]);
    command.arg("--validation").arg(validation);
    command.args(["--energy", "--power-model", "power.toml", "--sysfs-root", "root"]);
    let output = command.output().expect("leeway starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("per inference (modelled, above idle; there is no power sensor)"),
        "{text}"
    );
    let kept = std::fs::read(folder.path().join("out.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["energy"]["basis"], "modelled");
    assert!(kept["energy"]["joules"].as_f64().unwrap() > 0.0);
}
