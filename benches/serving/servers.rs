//! The servers, each in a process of its own that stays on one CPU.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use leeway_fog_host::{FogConfig, FogHost, StoreLocation, runtime};
use leeway_runtime::realtime::RealTime;
use serde_json::json;
use tempfile::TempDir;

use crate::exchange::Encoding;
use crate::{Cpus, Model};

/// The longest that a server may take until it answers.
const START: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MLServer with a runtime of ONNX Runtime.
    MlServer,
    /// FastAPI on uvicorn, with ONNX Runtime.
    FastApi,
    /// The fog host.
    Leeway,
}

impl Kind {
    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::MlServer => "MLServer",
            Kind::FastApi => "FastAPI",
            Kind::Leeway => "Leeway",
        }
    }
}

/// A running server.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    process: Child,
    http: SocketAddr,
    grpc: SocketAddr,
    _folder: TempDir,
}

/// Keeps this thread, and what it starts from now on, on a CPU.
pub fn stay_on(cpu: usize) {
    RealTime { cpu: Some(cpu), ..RealTime::default() }.apply();
}

/// An address that is free at this moment.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn beside(file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/serving")).join(file)
}

impl Server {
    /// Starts a server of the models and returns when it answers for each.
    pub async fn start(
        kind: Kind,
        python: Option<&Path>,
        models: &[Model],
        cpus: &Cpus,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (http, grpc) = (free()?, free()?);
        let python = || python.context("the peers need --python");
        let mut command = match kind {
            Kind::MlServer => ml_server(python()?, models, folder.path(), http, grpc)?,
            Kind::FastApi => fast_api(python()?, models, folder.path(), http)?,
            Kind::Leeway => leeway(folder.path(), http, grpc)?,
        };
        stay_on(cpus.server);
        let log = std::fs::File::create(folder.path().join("log"))?;
        command.stdout(log.try_clone()?).stderr(log).env("OMP_NUM_THREADS", "1");
        let process = command.stdin(Stdio::null()).spawn();
        stay_on(cpus.client);
        let process = process.with_context(|| format!("{} does not start", kind.name()))?;
        let mut server = Self { kind, process, http, grpc, _folder: folder };
        server.wait("/v2/health/live")?;
        if kind == Kind::Leeway {
            server.push(models)?;
        }
        for model in models {
            server.wait(&format!("/v2/models/{}/ready", model.name))?;
        }
        Ok(server)
    }

    /// Where it listens for an encoding.
    pub fn address(&self, encoding: Encoding) -> SocketAddr {
        if encoding == Encoding::Grpc { self.grpc } else { self.http }
    }

    /// The CPU time of all its threads until now.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // After the command's name, which may have spaces: fields 14 and 15, in 1/100 s.
        let fields = stat.rsplit_once(')').context("no name")?.1.split_whitespace();
        let ticks: Vec<u64> =
            fields.skip(11).take(2).filter_map(|text| text.parse().ok()).collect();
        Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
    }

    fn wait(&mut self, path: &str) -> Result<()> {
        let end = Instant::now() + START;
        while ureq::get(format!("http://{}{path}", self.http)).call().is_err() {
            if let Some(status) = self.process.try_wait()? {
                let log = std::fs::read_to_string(self._folder.path().join("log"))?;
                bail!("{} ended with {status}:\n{log}", self.kind.name());
            }
            if Instant::now() > end {
                bail!("{} does not answer {path}", self.kind.name());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn push(&self, models: &[Model]) -> Result<()> {
        for model in models {
            let (host, digest) = (self.http, model.digest());
            ureq::put(format!("http://{host}/v1/modules/{digest}")).send(&model.component)?;
            let alias = format!("http://{host}/v1/models/{}/versions/1", model.name);
            ureq::put(alias).send_json(json!({ "digest": digest }))?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn ml_server(
    python: &Path,
    models: &[Model],
    folder: &Path,
    http: SocketAddr,
    grpc: SocketAddr,
) -> Result<Command> {
    let settings = json!({
        "debug": false,
        "host": "127.0.0.1",
        "http_port": http.port(),
        "grpc_port": grpc.port(),
        "metrics_endpoint": null,
        // Inference in the server's own process, and so on its CPU.
        "parallel_workers": 0,
    });
    std::fs::write(folder.join("settings.json"), settings.to_string())?;
    for model in models {
        let place = folder.join(&model.name);
        std::fs::create_dir(&place)?;
        std::fs::write(place.join("model.onnx"), model.onnx)?;
        let settings = json!({
            "name": model.name,
            "implementation": "mlserver_runtime.OnnxRuntime",
            "parameters": { "uri": "./model.onnx" },
        });
        std::fs::write(place.join("model-settings.json"), settings.to_string())?;
    }
    let mut command = Command::new(python);
    command.args(["-m", "mlserver.cli.main", "start", "."]).current_dir(folder);
    command.env("PYTHONPATH", beside("")).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

fn fast_api(python: &Path, models: &[Model], folder: &Path, http: SocketAddr) -> Result<Command> {
    for model in models {
        std::fs::write(folder.join(&model.name).with_extension("onnx"), model.onnx)?;
    }
    let mut command = Command::new(python);
    command.arg(beside("fastapi_server.py")).arg(folder).arg(http.port().to_string());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

fn leeway(folder: &Path, http: SocketAddr, grpc: SocketAddr) -> Result<Command> {
    std::fs::write(folder.join("addresses"), format!("{http} {grpc}"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--host").arg(folder);
    Ok(command)
}

/// The fog host as it is measured: what `leeway-fog` is, with one worker, as it has one
/// CPU. Benchmarks build no other package's programs, so this program is it too.
pub fn host(folder: &Path) -> Result<()> {
    let addresses = std::fs::read_to_string(folder.join("addresses"))?;
    let (http, grpc) = addresses.split_once(' ').context("two addresses")?;
    let config = FogConfig {
        listen: http.parse()?,
        listen_grpc: Some(grpc.parse()?),
        store: StoreLocation::Directory(folder.join("store")),
        workers: 1,
        pin_workers: true,
        ..FogConfig::default()
    };
    runtime(None)?.block_on(async {
        FogHost::bind(config).await?.serve(std::future::pending()).await?;
        Ok(())
    })
}
