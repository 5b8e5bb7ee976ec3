//! `leeway-fog`: the fog host as a program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use leeway_fog_host::{FogConfig, FogHost, StoreLocation};
use leeway_runtime::sandbox::EngineKind;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Runs the models of embedded devices, by digest, over the Open Inference
/// Protocol v2. Logs go to standard error; RUST_LOG chooses how much (default:
/// info).
#[derive(Parser)]
#[command(name = "leeway-fog", version)]
struct Arguments {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where modules, aliases and compiled code are kept. Without it they are
    /// lost at the end.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Threads that run models [default: one for each processor].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Requests that may wait for a worker; one more is refused.
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// What executes the models: native or pulley.
    #[arg(long, default_value_t = EngineKind::Native)]
    engine: EngineKind,
    /// The longest that a request may wait and run, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    request_time: u64,
}

impl Arguments {
    fn into_config(self) -> FogConfig {
        let default = FogConfig::default();
        FogConfig {
            listen: self.listen,
            store: self.store.map_or(StoreLocation::Temporary, StoreLocation::Directory),
            engine: self.engine,
            workers: self.workers.unwrap_or(default.workers),
            queue: self.queue,
            request_time: Duration::from_secs(self.request_time),
            ..default
        }
    }
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Arguments::parse().into_config()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leeway-fog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: FogConfig) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot await SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot await SIGINT")?;
    if config.store == StoreLocation::Temporary {
        tracing::warn!("no --store was given: pushed modules are lost at the end");
    }
    if !config.listen.ip().is_loopback() {
        tracing::warn!(
            address = %config.listen,
            "whoever reaches this address can push and run modules: there is no authentication yet"
        );
    }
    let host = FogHost::bind(config).await?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    host.serve(shutdown).await?;
    Ok(())
}
