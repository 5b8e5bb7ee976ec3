//! `leeway-device`: the device agent as a program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use leeway_device::Agent;
use tracing_subscriber::EnvFilter;

/// Deploys models and serves them to local programs. Logs go to standard error;
/// RUST_LOG chooses how much (default: info).
#[derive(Parser)]
#[command(name = "leeway-device", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE.toml", default_value = "/etc/leeway/device.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leeway-device: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let agent = Agent::open(&arguments.config)?;
    // One thread for sockets; models run on others, as many as are asked at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build()?;
    Ok(runtime.block_on(agent.serve())?)
}
