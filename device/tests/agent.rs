//! The agent as a program: it is killed without warning again and again while
//! versions come and go, and answers with a whole one each time it starts.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use leeway_client::Client;
use leeway_contract::Digest;
use leeway_control::DeployRequest;
use leeway_runtime::sandbox::Sandbox;
use serde_json::{Value, json};

#[path = "../../runtime/src/testing.rs"]
mod testing;

use testing::TestModel;

struct Running {
    child: Child,
    client: Client,
}

impl Running {
    fn start(folder: &std::path::Path) -> Self {
        let config = folder.join("device.toml");
        let text = "root = \"root\"\nsocket = \"socket\"\n[trust]\nallow_unsigned = true\n";
        std::fs::write(&config, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_leeway-device"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("unix:{}", folder.join("socket").display());
        let client = Client::new(&address, None).unwrap();
        let begin = Instant::now();
        while client.status().is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the agent does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, client }
    }

    /// SIGKILL: nothing is tidied up.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn deploy(&self, module: &[u8]) -> Result<(), leeway_client::ClientError> {
        let digest = self.client.send(module)?;
        self.client.deploy(&DeployRequest::new(digest), |_| {}).map(|_| ())
    }

    fn answer(&self) -> f64 {
        let request = json!({ "inputs": [{
            "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]
        }] });
        let answer: Value = self.client.infer_json("scaling", &request).unwrap();
        answer["outputs"][0]["data"][0].as_f64().unwrap()
    }
}

fn module(factor: f32) -> Vec<u8> {
    TestModel::scaling(factor).component(&Sandbox::engine_claim())
}

#[test]
fn killed_at_any_moment_it_starts_with_the_old_version_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path());
    running.deploy(&module(2.0)).unwrap();
    assert_eq!(running.answer(), 2.0);
    let (mut running, mut before) = (running, 2.0);
    for turn in 0..12u64 {
        let next = 3.0 + turn as f64;
        std::thread::scope(|scope| {
            let deploying = scope.spawn(|| running.deploy(&module(next as f32)).is_ok());
            std::thread::sleep(Duration::from_millis(4 * turn));
            // By its id: the client still waits for its answer.
            let pid = running.child.id().to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            deploying.join().unwrap();
        });
        running.kill();
        running = Running::start(folder.path());
        let now = running.answer();
        assert!(now == before || now == next, "turn {turn}: {now}");
        let status = running.client.status().unwrap();
        assert_eq!(status.models["scaling"].broken, None);
        before = now;
    }
    running.kill();
}

#[test]
fn what_is_refused_says_so_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path());
    running.deploy(&module(2.0)).unwrap();
    let bad =
        TestModel { import: Some("wasi:sockets/tcp@0.2.0".into()), ..TestModel::scaling(3.0) };
    let error = running.deploy(&bad.component(&Sandbox::engine_claim())).unwrap_err().to_string();
    assert!(error.contains("certificate") && error.contains("wasi:sockets"), "{error}");
    assert_eq!(running.answer(), 2.0);
    let missing = DeployRequest::new(Digest::of(b"nothing"));
    let error = running.client.deploy(&missing, |_| {}).unwrap_err().to_string();
    assert!(error.contains("not in the store"), "{error}");
    let error = running.client.roll_back("scaling", None).unwrap_err().to_string();
    assert!(error.contains("409"), "{error}");
    running.client.pin("scaling", true, None).unwrap();
    assert!(running.deploy(&module(3.0)).unwrap_err().to_string().contains("pinned"));
    running.kill();
}
