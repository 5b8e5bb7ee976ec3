//! `leeway lab`.

use clap::Args;

/// Play a slow device, a real link and a fog host on this machine, and report.
#[derive(Args)]
pub struct Arguments {}

pub fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
