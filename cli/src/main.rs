//! The `leeway` command. Arguments are parsed here; each command is a module of
//! [`commands`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;
mod deployment;
mod device;
mod energy;
mod fog;
mod golden;
mod npy;
mod registry;
mod source;
mod streams;
mod tune;
mod units;

/// Compiles ML models to WebAssembly components with a certified cost, runs
/// them, and shows where they run best.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile an ONNX model to a certified component.
    Build(commands::build::Arguments),
    /// Give a component that was written by hand a certificate, by measuring it.
    Certify(commands::certify::Arguments),
    /// Show what a component's certificate says of it.
    Inspect(commands::inspect::Arguments),
    /// Run a component on tensors from .npy files.
    Run(commands::run::Arguments),
    /// Measure how long a component takes on this device.
    Calibrate(commands::calibrate::Arguments),
    /// Test whether a device keeps every deadline of a set of streams.
    Admit(commands::admit::Arguments),
    /// Send a module to an OCI registry.
    Push(commands::push::Arguments),
    /// Fetch a module from an OCI registry.
    Pull(commands::pull::Arguments),
    /// Put modules into one file, for devices without a network.
    Bundle(commands::bundle::Arguments),
    /// Check whether this machine is fit to run models within deadlines.
    Doctor(commands::doctor::Arguments),
    /// Make a pair of keys for signatures.
    Keygen(commands::keygen::Arguments),
    /// Sign a module.
    Sign(commands::sign::Arguments),
    /// Check a module's digest, certificate and signatures.
    Verify(commands::verify::Arguments),
    /// Send a module to a device and have it deployed.
    Deploy(commands::deploy::Arguments),
    /// Tell a device what it shall be: its models, by one file.
    Apply(commands::apply::Arguments),
    /// Show a device's models.
    Status(commands::status::Arguments),
    /// Return a device's model to the version before.
    Rollback(commands::rollback::RollbackArguments),
    /// Keep the version of a model that a device serves.
    Pin(commands::rollback::PinArguments),
    /// Operate many devices at once.
    Fleet(commands::fleet::Arguments),
    /// Play a slow device, a real link and a fog host on this machine, and report.
    Lab(commands::lab::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    // A panic inside the compiler becomes an error.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !leeway_compiler::contain::is_contained() {
            report(panic);
        }
    }));
    let result = match arguments.command {
        Command::Build(arguments) => commands::build::run(&arguments),
        Command::Certify(arguments) => commands::certify::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Calibrate(arguments) => commands::calibrate::run(&arguments),
        Command::Admit(arguments) => commands::admit::run(&arguments),
        Command::Push(arguments) => commands::push::run(&arguments),
        Command::Pull(arguments) => commands::pull::run(&arguments),
        Command::Bundle(arguments) => commands::bundle::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Keygen(arguments) => commands::keygen::run(&arguments),
        Command::Sign(arguments) => commands::sign::run(&arguments),
        Command::Verify(arguments) => return commands::verify::run(&arguments),
        Command::Deploy(arguments) => commands::deploy::run(&arguments),
        Command::Apply(arguments) => commands::apply::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Rollback(arguments) => commands::rollback::roll_back(&arguments),
        Command::Pin(arguments) => commands::rollback::pin(&arguments),
        Command::Fleet(arguments) => return commands::fleet::run(&arguments),
        Command::Lab(arguments) => commands::lab::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output has gone, which is its right.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
