//! `leeway-device`: the device agent as a program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leeway_deploy::compile::{compile_here, this_program};
use leeway_device::Agent;
use tracing_subscriber::EnvFilter;

/// Deploys models and serves them to local programs. Logs go to standard error;
/// RUST_LOG chooses how much (default: info).
#[derive(Parser)]
#[command(name = "leeway-device", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file.
    #[arg(long, value_name = "FILE.toml", default_value = "/etc/leeway/device.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Compile the component on standard input: what the agent calls itself.
    #[command(hide = true)]
    Compile { order: String },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    if let Some(Command::Compile { order }) = &arguments.command {
        return compile_here(order);
    }
    match run(&arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leeway-device: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Path) -> anyhow::Result<()> {
    let agent = Agent::open(config, Some(this_program()))?;
    // One thread for sockets; models run on others, as many as are asked at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build()?;
    Ok(runtime.block_on(agent.serve())?)
}
