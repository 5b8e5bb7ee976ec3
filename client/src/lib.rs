//! A client of the device agent, on its Unix socket or over TCP with a token or a
//! certificate, for programs without async. It carries no engine: a program on the device that wants
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
pub use leeway_tls::client::{Access, AccessError};

use unix::{NoResolver, UnixConnector};

/// A client of one agent. Connections are kept and used again; it may be shared
/// between threads.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// The longest that the agent may be silent.
const SILENCE: Duration = Duration::from_secs(120);
/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

impl Client {
    /// A client for an agent's address, `unix:PATH` or `http://HOST:PORT`. Nothing is
    /// sent yet.
    pub fn new(address: &str, token: Option<String>) -> Result<Self, ClientError> {
        Self::with_access(address, &Access::with_token(token))
    }

    /// The same of an agent that knows its clients, and that they know: with an authority
    /// at `https://HOST:PORT`, and nowhere else. Where the address is a Unix socket there
    /// is nothing between, and no TLS.
    pub fn with_access(address: &str, access: &Access) -> Result<Self, ClientError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .tls_config(access.tls())
            .build();
        let (agent, base) = match address.strip_prefix("unix:") {
            Some(path) => {
                let connector = UnixConnector::new(path.into());
                (Agent::with_parts(config, connector, NoResolver), "http://device".to_owned())
            }
            None => {
                let base = tcp(address, access)?;
                let connector = DefaultConnector::default();
                (Agent::with_parts(config, connector, DefaultResolver::default()), base)
            }
        };
        Ok(Self { agent, base, authorization: access.authorization() })
    }
}

/// What paths are appended to. What is meant for TLS goes nowhere without.
fn tcp(address: &str, access: &Access) -> Result<String, ClientError> {
    let (scheme, wanted) = match access.wants_tls() {
        true => ("https://", "https://HOST:PORT, as there is an authority or a certificate"),
        false => ("http://", "unix:PATH, http://HOST:PORT, or https://HOST:PORT with an authority"),
    };
    match address.starts_with(scheme) {
        true => Ok(address.trim_end_matches('/').to_owned()),
        false => Err(ClientError::Address { seen: address.chars().take(200).collect(), wanted }),
    }
}

#[test]
fn an_authority_goes_with_https_and_no_other_address() {
    let plain = Access::default();
    let authority = format!("{}/../tls/fixtures/ca.pem", env!("CARGO_MANIFEST_DIR"));
    let secure = Access::read(Some(authority.as_ref()), None, None).unwrap();
    for (address, access, taken) in [
        ("http://host:1", &plain, true),
        ("https://host:1", &plain, false),
        ("http://host:1", &secure, false),
        ("https://host:1/", &secure, true),
        ("unix:socket", &secure, true),
        ("host:1", &plain, false),
    ] {
        let client = Client::with_access(address, access);
        assert_eq!(client.is_ok(), taken, "{address}: {client:?}");
    }
}
