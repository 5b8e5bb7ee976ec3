//! Streams through the agent's sockets: an input is answered as was promised, and the
//! answer says how.

use leeway_client::{Answer, ClientError, Input};
use leeway_contract::Digest;
use leeway_control::settings::{Rules, Settings, StreamSettings};
use leeway_control::{DeployRequest, Status};

use super::running::testing::Behaviour;
use super::running::{Running, Start, TestModel, UNSIGNED, component, module, scaling};

/// Settings with these streams, under which nothing passes or fails by time.
pub fn with_streams(names: &[&str], period_ms: f64) -> Settings {
    let streams = names.iter().map(|name| StreamSettings::new(*name, period_ms, 20_000.0));
    let probation =
        Rules { seconds: 3600, overruns: u64::MAX, deadline_misses: u64::MAX, ..Rules::default() };
    Settings { streams: streams.collect(), probation, ..Settings::default() }
}

pub fn deploy(running: &Running, module: &[u8], settings: Settings) -> Result<(), ClientError> {
    let digest = running.client.send(module)?;
    running.deploy_sent(&DeployRequest { settings: Some(settings), ..DeployRequest::new(digest) })
}

pub fn ask(running: &Running, stream: Option<&str>) -> Result<Answer, ClientError> {
    let tensor = &TestModel::input([1.0; 4])[0];
    let inputs = [Input { name: "x", tensor }];
    match stream {
        Some(stream) => running.client.infer_on("scaling", stream, &inputs),
        None => running.client.infer("scaling", &inputs),
    }
}

fn refused(result: Result<Answer, ClientError>, wanted: u16) -> String {
    match result.unwrap_err() {
        ClientError::Status { status, message, .. } if status == wanted => message,
        error => panic!("{error}"),
    }
}

pub fn agent(folder: &std::path::Path, config: &str) -> Running {
    let config = format!("{UNSIGNED}{config}");
    Running::start(folder, &Start { config: &config, ..Start::default() })
}

#[test]
fn an_input_of_a_stream_is_answered_with_its_decision_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = agent(
        folder.path(),
        "[sensors]\nroot = \"tree\"\n[power]\nidle_watts = 1\nbusy_watts = 3\n\
         transmit_watts = 2\nreceive_watts = 2\n",
    );
    deploy(&running, &module(2.0), with_streams(&["left", "right"], 50.0)).unwrap();
    let answer = ask(&running, Some("right")).unwrap();
    assert_eq!(answer.outputs[0].tensor, TestModel::input([2.0; 4])[0]);
    let decision = answer.decision.unwrap();
    assert_eq!((&decision["task"], &decision["outcome"]), (&"right".into(), &"local".into()));
    assert_eq!(decision["deadline_ns"], 20_000_000_000u64);
    let (joules, local) = (decision["joules"].as_f64().unwrap(), decision["local_ns"].as_f64());
    assert!((joules - 2.0 * local.unwrap() / 1e9).abs() < 1e-12, "{decision}");
    let several = refused(ask(&running, None), 400);
    assert!(several.contains("name one of [\"left\", \"right\"]"), "{several}");
    assert!(refused(ask(&running, Some("front")), 400).contains("no stream \"front\""));
    running.kill();
    let running = agent(folder.path(), "[sensors]\nroot = \"tree\"\n");
    let decision = ask(&running, Some("left")).unwrap().decision.unwrap();
    assert_eq!((&decision["task"], &decision["joules"]), (&"left".into(), &().into()));
    // With one stream it is that one.
    deploy(&running, &module(3.0), with_streams(&["right"], 50.0)).unwrap();
    assert_eq!(ask(&running, None).unwrap().decision.unwrap()["task"], "right");
}

#[test]
fn a_fog_host_that_is_dead_changes_nothing_but_what_is_told_of_it() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on the first port.
    let running = agent(folder.path(), "[fog]\nurl = \"http://127.0.0.1:1\"\n");
    deploy(&running, &module(2.0), with_streams(&["camera"], 50.0)).unwrap();
    running.wait("a probe has failed", |running| {
        running.status().conditions.fog.is_some_and(|fog| fog.link == "down")
    });
    let decision = ask(&running, None).unwrap().decision.unwrap();
    assert_eq!(decision["policy"], "deadline-aware");
    assert_eq!(decision["decision"]["placement"], "local");
    assert_eq!(decision["decision"]["reason"], "link-down");
    let stream = running.status().streams["camera"].clone();
    assert!(stream.promised.unwrap().arm_after_ms.is_some(), "it may be offloaded");
    assert_eq!((stream.counts.arrived, stream.counts.offloaded), (1, 0));
}

/// A device whose temperature is a file.
fn heat(folder: &std::path::Path, celsius: u32) {
    let zone = folder.join("tree/sys/class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).unwrap();
    std::fs::write(zone.join("type"), "cpu-thermal\n").unwrap();
    // Whoever reads meanwhile finds the old one or the new one.
    std::fs::write(zone.join("new"), format!("{}\n", 1000 * celsius)).unwrap();
    std::fs::rename(zone.join("new"), zone.join("temp")).unwrap();
}

#[test]
fn heat_degrades_a_stream_to_its_smaller_model_and_status_tells_it_until_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    heat(folder.path(), 40);
    let running = agent(
        folder.path(),
        "[sensors]\nroot = \"tree\"\n[thermal]\nsoft_celsius = 60\nhard_celsius = 80\n\
         hold_seconds = 0\ndegrade = [\"camera\"]\n",
    );
    let small = TestModel { name: "small".into(), ..scaling(5.0) };
    let large = TestModel::behaving(Behaviour::Busy(2_000_000));
    let large = TestModel { name: "scaling".into(), ..large };
    deploy(&running, &component(&small), with_streams(&["camera-small"], 100.0)).unwrap();
    let mut settings = with_streams(&["camera"], 100.0);
    settings.streams[0].degrade_to = Some("camera-small".into());
    deploy(&running, &component(&large), settings).unwrap();
    let first = || ask(&running, None).unwrap().outputs[0].tensor.to_f32().unwrap()[0];
    assert_eq!(first(), 1.0);
    let status = || -> Status { running.status() };
    let stream = |name: &str| status().streams[name].clone();
    let camera = stream("camera");
    assert!(camera.promised.is_some() && !camera.set_aside && camera.counts.by_device > 0);
    assert_eq!(camera.model, "scaling");
    heat(folder.path(), 90);
    running.wait("it is set aside", |running| running.status().streams["camera"].set_aside);
    assert_eq!(status().conditions.heat, "hot");
    let answer = ask(&running, None).unwrap();
    assert_eq!(answer.outputs[0].tensor.to_f32().unwrap()[0], 5.0);
    assert_eq!(answer.digest, Digest::of(&component(&small)));
    assert_eq!(answer.decision.unwrap()["task"], "camera-small");
    assert_eq!(stream("camera").counts.degraded, 1);
    heat(folder.path(), 40);
    running.wait("it is back", |running| !running.status().streams["camera"].set_aside);
    assert_eq!(first(), 1.0);
}

/// With a fog host, which is not there, and without one: the same run, judged the same.
#[test]
fn an_input_that_a_model_refuses_is_its_sender_s_fault_and_no_reason_to_roll_back() {
    for fog in ["", "[fog]\nurl = \"http://127.0.0.1:9\"\n"] {
        for streams in [&[][..], &["camera"]] {
            let folder = tempfile::tempdir().unwrap();
            let running = agent(folder.path(), fog);
            let settings = with_streams(streams, 50.0);
            deploy(&running, &module(2.0), settings.clone()).unwrap();
            let picky = TestModel { version: "2".into(), ..TestModel::behaving(Behaviour::Picky) };
            deploy(&running, &component(&picky), settings).unwrap();
            let infer = |first: f32| {
                let tensor = &TestModel::input([first, 1.0, 1.0, 1.0])[0];
                running.client.infer("scaling", &[Input { name: "x", tensor }])
            };
            let error = refused(infer(-1.0), 400);
            assert!(error.contains("no"), "{error}");
            infer(1.0).unwrap();
            let status = running.status();
            let counts = status.models["scaling"].probation.expect("it is on probation");
            assert_eq!((counts.inferences, counts.failures), (1, 0), "{fog} {streams:?}");
        }
    }
}
