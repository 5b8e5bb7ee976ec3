//! What the commands share that talk to a device's agent.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use leeway_client::Client;

/// Where the agent is.
#[derive(Args)]
pub struct DeviceArguments {
    /// The agent's address.
    #[arg(
        long = "to",
        value_name = "unix:PATH|http://HOST:PORT",
        default_value = "unix:/run/leeway/device.sock"
    )]
    address: String,
    /// The file with the token for TCP.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl DeviceArguments {
    /// A client for it. Nothing is sent yet.
    pub fn client(&self) -> anyhow::Result<Client> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string());
            text.map(|text| text.trim().to_owned())
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        Ok(Client::new(&self.address, token)?)
    }
}
