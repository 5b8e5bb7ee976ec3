//! The agent as a process of its own.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use leeway_client::{Client, ClientError};
use leeway_contract::Digest;
use leeway_contract::section::GoldenVector;
use leeway_control::{DeployRequest, Status};
use leeway_runtime::sandbox::Sandbox;
use serde_json::{Value, json};

#[path = "../../../runtime/src/testing.rs"]
pub mod testing;

pub use testing::TestModel;

/// A configuration in which nobody need sign.
pub const UNSIGNED: &str = "[trust]\nallow_unsigned = true\n";

/// How an agent is started.
#[derive(Default)]
pub struct Start<'a> {
    /// What follows in the configuration, after the root and the socket.
    pub config: &'a str,
    /// More of its environment.
    pub environment: &'a [(&'a str, &'a str)],
}

/// An agent that runs, until it is killed or dropped.
pub struct Running {
    pub child: Child,
    pub client: Client,
    pub socket: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Running {
    /// Starts one, and waits until it answers.
    pub fn start(folder: &Path, start: &Start<'_>) -> Self {
        let config = folder.join("device.toml");
        let text = format!("root = \"root\"\nsocket = \"socket\"\n{}", start.config);
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_leeway-device"))
            .arg("--config")
            .arg(&config)
            .envs(start.environment.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = folder.join("socket");
        let client = Client::new(&format!("unix:{}", socket.display()), None).unwrap();
        let running = Self { child, client, socket };
        running.wait("the agent answers", |running| running.client.status().is_ok());
        running
    }

    pub fn wait(&self, what: &str, until: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !until(self) {
            assert!(begin.elapsed() < Duration::from_secs(120), "{what}: it does not come to that");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has written since it began.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.socket.with_file_name("log")).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        // By its id: a client may still wait for its answer.
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The processes that it has started and that have not ended.
    pub fn children(&self) -> Vec<u32> {
        let parent = self.child.id().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name in parentheses may have anything in it: state and parent follow.
            let mut after = stat.rsplit_once(')')?.1.split_whitespace();
            (after.next()? != "Z" && after.next()? == parent).then_some(id)
        });
        processes.collect()
    }

    /// SIGKILL: nothing is tidied up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn deploy(&self, module: &[u8]) -> Result<(), ClientError> {
        let digest = self.client.send(module)?;
        self.deploy_sent(&DeployRequest::new(digest))
    }

    pub fn deploy_sent(&self, request: &DeployRequest) -> Result<(), ClientError> {
        self.client.deploy(request, |_| {}).map(|_| ())
    }

    pub fn status(&self) -> Status {
        self.client.status().unwrap()
    }

    pub fn active(&self) -> Digest {
        self.status().models["scaling"].slots.active.as_ref().expect("one is active").digest
    }

    /// What the model makes of ones.
    pub fn answer(&self) -> f64 {
        let request = json!({ "inputs": [{
            "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]
        }] });
        let answer: Value = self.client.infer_json("scaling", &request).unwrap();
        answer["outputs"][0]["data"][0].as_f64().unwrap()
    }
}

/// A model that multiplies by `factor`, with a golden vector.
pub fn scaling(factor: f32) -> TestModel {
    let golden = vec![GoldenVector {
        inputs: TestModel::input([1.0, 2.0, 3.0, 4.0]),
        outputs: TestModel::input([1.0, 2.0, 3.0, 4.0].map(|x| x * factor)),
    }];
    TestModel { golden, ..TestModel::scaling(factor) }
}

pub fn component(model: &TestModel) -> Vec<u8> {
    model.component(&Sandbox::engine_claim())
}

pub fn module(factor: f32) -> Vec<u8> {
    component(&scaling(factor))
}
