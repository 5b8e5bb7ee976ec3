//! The command line of the benchmarks of single layers.

use clap::Parser;

use crate::race::stay_on;

/// Compare single layers with native tract.
#[derive(Parser)]
pub struct Arguments {
    /// Only shapes whose description contains one of these.
    shapes: Vec<String>,
    /// Rounds, in each of which all have one turn.
    #[arg(long, default_value_t = 30)]
    pub rounds: usize,
    /// The CPU that all run on; the last that is allowed, if not given.
    #[arg(long)]
    cpu: Option<usize>,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Those of the command, whose thread then stays on its CPU.
    pub fn of_command() -> Self {
        let arguments = Self::parse();
        stay_on(arguments.cpu);
        arguments
    }

    /// Whether the shape that is described so is to be measured.
    pub fn want(&self, what: &str) -> bool {
        self.shapes.is_empty() || self.shapes.iter().any(|wanted| what.contains(wanted.as_str()))
    }
}
