//! What the agent measures of a model and of the device, on a recorded tree of `proc` and
//! `sys`: joules, the set-up under which times are taken, and the clock.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leeway_control::calibration::CalibrationStatus;
use leeway_runtime::realtime::allowed_cpus;
use serde_json::Value;

use super::running::{Running, module};
use super::streams::{agent, ask, deploy, with_streams};

/// A Jetson Orin Nano, which has an INA3221 on its power input.
const JETSON: &str = include_str!("../../../runtime/fixtures/jetson-orin-nano.txt");
const CPUFREQ: &str = "sys/devices/system/cpu/cpu0/cpufreq";

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join("tree").join(file);
    let new = path.with_extension("new");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Whoever reads meanwhile finds the old one or the new one.
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn jetson() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in JETSON.split("== ").skip(1) {
        let (path, text) = file.split_once('\n').unwrap();
        write(folder.path(), path, text);
    }
    folder
}

const TREE: &str = "[sensors]\nroot = \"tree\"\n";
/// What nobody would take for measured.
const POWER: &str = "[power]\nidle_watts = 1\nbusy_watts = 1001\ntransmit_watts = 2\n\
                     receive_watts = 2\n";

fn calibration(running: &Running) -> CalibrationStatus {
    running.status().models["scaling"].calibration.clone().expect("it is calibrated")
}

/// How the joules of an inference on the device are known, and their watts.
fn watts(running: &Running) -> (String, f64) {
    let decision: Value = ask(running, None).unwrap().decision.unwrap();
    let (joules, ns) = (&decision["joules"], &decision["local_ns"]);
    let watts = joules.as_f64().unwrap() / (ns.as_f64().unwrap() * 1e-9);
    (decision["joules_basis"].as_str().unwrap().to_owned(), watts)
}

#[test]
fn joules_are_measured_with_the_times_and_every_decision_goes_by_them() {
    let folder = jetson();
    let running = agent(folder.path(), &format!("{TREE}{POWER}"));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Later is busier.
            let mut milliamperes = 1_000;
            while !ended.load(Ordering::Relaxed) {
                milliamperes += 1;
                let text = format!("{milliamperes}\n");
                write(folder.path(), "sys/class/hwmon/hwmon1/curr1_input", &text);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let deployed = deploy(&running, &module(2.0), with_streams(&["camera"], 50.0));
        ended.store(true, Ordering::Relaxed);
        deployed.unwrap();
    });
    let energy = calibration(&running).energy.expect("there is a sensor");
    assert_eq!((&*energy.basis, energy.instead), ("measured, above idle", None));
    assert_eq!(energy.sensors, ["ina3221:VDD_IN"]);
    let (basis, measured) = watts(&running);
    assert_eq!(basis, "measured");
    assert!(measured > 0.0 && measured < 900.0, "{measured} W are not what was declared");
    // They are kept, and need no declared model.
    running.kill();
    let running = agent(folder.path(), TREE);
    let (basis, again) = watts(&running);
    assert_eq!(basis, "measured");
    assert!((again - measured).abs() < 1e-6 * measured, "{again} and {measured} W");
}

#[test]
fn without_a_sensor_joules_are_modelled_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let running = agent(folder.path(), &format!("{TREE}{POWER}"));
    deploy(&running, &module(2.0), with_streams(&["camera"], 50.0)).unwrap();
    let energy = calibration(&running).energy.expect("there is a model");
    assert_eq!(energy.basis, "modelled, above idle");
    assert!(energy.instead.unwrap().contains("no power sensor") && energy.sensors.is_empty());
    let (basis, watts) = watts(&running);
    assert_eq!(basis, "modelled");
    assert!((watts - 1000.0).abs() < 1e-3, "{watts} W");
}

#[test]
fn times_are_measured_under_the_set_up_of_the_streams_and_anew_under_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let cpu = *allowed_cpus().last().expect("a thread runs somewhere");
    let set_up = format!(
        "{TREE}[executor]\ncpus = [{cpu}]\n[realtime]\npriority = 10\nlock_memory = true\n"
    );
    let running = agent(folder.path(), &set_up);
    deploy(&running, &module(2.0), with_streams(&["camera"], 50.0)).unwrap();
    let (of_streams, measured) = (running.status().conditions.real_time, calibration(&running));
    // Each right, granted or not, is as it is for the stream.
    assert_eq!(of_streams, std::slice::from_ref(&measured.real_time));
    assert!(measured.real_time.starts_with(&format!("CPU {cpu} granted")), "{measured:?}");
    assert!(!measured.real_time.contains("not asked for"), "{measured:?}");
    running.kill();
    // The same CPU, and other rights.
    let running = agent(folder.path(), &format!("{TREE}[executor]\ncpus = [{cpu}]\n"));
    assert_eq!(calibration(&running), measured);
    assert!(running.log().contains("another real-time set-up"), "{}", running.log());
    deploy(&running, &module(2.0), with_streams(&["camera"], 50.0)).unwrap();
    let (of_streams, anew) = (running.status().conditions.real_time, calibration(&running));
    assert_eq!(of_streams, std::slice::from_ref(&anew.real_time));
    assert_ne!(anew.real_time, measured.real_time);
}

#[test]
fn a_slower_clock_lengthens_what_is_promised_and_another_governor_breaks_it() {
    let folder = jetson();
    let running = agent(folder.path(), &format!("{TREE}energy = false\n"));
    deploy(&running, &module(2.0), with_streams(&["camera"], 1_000.0)).unwrap();
    let promised = |running: &Running| {
        let camera = running.status().streams["camera"].clone();
        (camera.bound_ms.unwrap(), camera.promised.expect("it is promised").response_ms)
    };
    let (bound, response) = promised(&running);
    write(folder.path(), &format!("{CPUFREQ}/scaling_max_freq"), "755200\n");
    running.wait("twice the time is promised", |running| {
        let (slower, longer) = promised(running);
        (slower - 2.0 * bound).abs() < 1e-3 * bound && longer > response
    });
    let clock = running.status().conditions.clock.expect("it is another one");
    assert!(clock.contains("2.00 times as slow"), "{clock}");
    write(folder.path(), &format!("{CPUFREQ}/scaling_max_freq"), "1510400\n");
    running.wait("the clock is back", |running| promised(running) == (bound, response));
    assert_eq!(running.status().conditions.clock, None);
    write(folder.path(), &format!("{CPUFREQ}/scaling_governor"), "powersave\n");
    running.wait("the governor is seen", |running| running.status().conditions.clock.is_some());
    let clock = running.status().conditions.clock.unwrap();
    assert!(clock.contains("governor is powersave") && clock.contains("calibrate"), "{clock}");
    // As long as at the lowest clock, until it is calibrated anew.
    running.wait("the lowest clock counts", |running| promised(running).0 > 10.0 * bound);
}
