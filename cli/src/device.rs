//! What the commands share that talk to a device's agent.

use std::path::PathBuf;

use clap::Args;
use leeway_client::{Access, Client};

/// Where the agent is, and what it is shown.
#[derive(Args)]
pub struct DeviceArguments {
    /// The agent's address.
    #[arg(
        long = "to",
        value_name = "unix:PATH|https://HOST:PORT",
        default_value = "unix:/run/leeway/device.sock"
    )]
    address: String,
    /// The file with the token for TCP.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that has signed the device's certificate, in PEM: for https.
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The certificate to show the device, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["key", "authority"])]
    certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl DeviceArguments {
    /// A client for it. Nothing is sent yet.
    pub fn client(&self) -> anyhow::Result<Client> {
        let pair = self.certificate.as_deref().zip(self.key.as_deref());
        let access = Access::read(self.authority.as_deref(), pair, self.token_file.as_deref())?;
        Ok(Client::with_access(&self.address, &access)?)
    }
}
