//! What the tests share that need a device: an agent in this process.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use leeway_device::Agent;

/// A folder with two versions of a model, a pair of keys, and an agent that trusts them.
pub struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    /// Two versions of a model, a pair of keys, and an agent that trusts them.
    pub fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        let model = leeway_guest_models::reference_model("mlp-tabular").unwrap();
        std::fs::write(bench.path("model.onnx"), model.onnx).unwrap();
        for version in ["1", "2"] {
            let component = format!("{version}.wasm");
            let build = ["build", "model.onnx", "-o", &component, "--name", "tabular"];
            bench.succeed(&[&build[..], &["--version", version]].concat());
        }
        bench.succeed(&["keygen", "release"]);
        bench.agent("device", "release");
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts another agent, `NAME.sock`, that trusts the key in `KEY.pub.pem`.
    pub fn agent(&self, name: &str, key: &str) {
        self.agent_with(name, key, "");
    }

    /// The same on TCP as well, with TLS: who shows a certificate of the fixtures'
    /// authority is let in. Its address.
    pub fn secure_agent(&self, name: &str, key: &str) -> String {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let [certificate, of, authority] = ["host.pem", "host.key", "ca.pem"].map(fixture);
        let tcp = format!(
            "[tcp]\nlisten = \"{free}\"\ncertificate = {certificate:?}\nkey = {of:?}\n\
             client_authority = {authority:?}\n"
        );
        self.agent_with(name, key, &tcp);
        format!("https://{free}")
    }

    fn agent_with(&self, name: &str, key: &str, more: &str) {
        let (root, socket) = (self.path(&format!("{name}.state")), self.socket(name));
        let config = format!(
            "root = {root:?}\nsocket = {socket:?}\n[[trust.key]]\nname = \"release\"\nfile = \"{key}.pub.pem\"\n{more}"
        );
        let file = self.path(&format!("{name}.toml"));
        std::fs::write(&file, config).unwrap();
        let agent = Agent::open(&file, None).unwrap();
        // It ends with the process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(agent.serve())
        });
        let begin = Instant::now();
        while !socket.exists() {
            assert!(begin.elapsed() < Duration::from_secs(30), "the agent does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.sock"))
    }

    pub fn leeway(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leeway"));
        command.current_dir(self.directory.path()).args(arguments).output().expect("leeway starts")
    }

    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.leeway(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "leeway {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).expect("the output is text")
    }

    /// Runs a command that must fail; what it says last.
    pub fn fail(&self, arguments: &[&str]) -> String {
        let output = self.leeway(arguments);
        assert!(!output.status.success(), "leeway {arguments:?} succeeded");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        stderr.lines().rfind(|line| line.starts_with("error: ")).expect(&stderr).to_owned()
    }
}

/// A certificate or key of the tests.
pub fn fixture(name: &str) -> String {
    format!("{}/../tls/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Arguments for the agent that every bench has.
pub fn with_device<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--to", "unix:device.sock"]].concat()
}
