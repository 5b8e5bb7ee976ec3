//! `leeway fleet`: many devices at once, by a file that names them.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::{LineStyle, Table, presets};

mod deploy;
mod rollback;
mod status;

/// Operate the devices of a fleet file.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a version to a fleet, wave after wave, and stop where too many devices fail.
    Deploy(Box<deploy::Arguments>),
    /// Show what serves on each device.
    Status(status::Arguments),
    /// Return a model to the version before, on every device at once.
    Rollback(rollback::Arguments),
}

/// Does it. The exit status is 0 where every device did what was asked, else 1.
pub fn run(arguments: &Arguments) -> ExitCode {
    let result = match &arguments.command {
        Command::Deploy(arguments) => deploy::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Rollback(arguments) => rollback::run(arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A table with this head.
fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(head);
    table
}
