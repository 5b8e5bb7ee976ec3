//! A client of the device agent, on its Unix socket or over TCP with a token, for
//! programs without async. It carries no engine: a program on the device that wants
//! an inference pays for HTTP and JSON only.
//!
//! ```no_run
//! use leeway_client::{Client, Input};
//! use leeway_contract::Tensor;
//!
//! let client = Client::new("unix:/run/leeway/device.sock", None)?;
//! let image = Tensor::from_f32(&[1, 64], &[0.0; 64]);
//! let answer = client.infer("digits", &[Input { name: "input", tensor: &image }])?;
//! println!("{:?} by version {}", answer.outputs[0].tensor.shape, answer.version);
//! # Ok::<(), leeway_client::ClientError>(())
//! ```

use std::time::Duration;

use ureq::Agent;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;

mod control;
mod error;
mod exchange;
mod inference;
mod unix;

pub use error::ClientError;
pub use inference::{Answer, Input, Output};

use unix::{NoResolver, UnixConnector};

/// A client of one agent. Connections are kept and used again; it may be shared
/// between threads.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// The longest that the agent may be silent.
const SILENCE: Duration = Duration::from_secs(120);
/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

impl Client {
    /// A client for an agent's address, `unix:PATH` or `http://HOST:PORT`. Nothing is
    /// sent yet.
    pub fn new(address: &str, token: Option<String>) -> Result<Self, ClientError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .build();
        let (agent, base) = match address.strip_prefix("unix:") {
            Some(path) => {
                let connector = UnixConnector::new(path.into());
                (Agent::with_parts(config, connector, NoResolver), "http://device".to_owned())
            }
            None if address.starts_with("http://") => {
                let connector = DefaultConnector::default();
                let agent = Agent::with_parts(config, connector, DefaultResolver::default());
                (agent, address.trim_end_matches('/').to_owned())
            }
            None => return Err(ClientError::Address(address.chars().take(200).collect())),
        };
        Ok(Self { agent, base, token })
    }
}
