//! The device agent: deploys models and serves them to local programs, over HTTP
//! on a Unix socket, and on TCP only to who has a token or a certificate.
//!
//! | file      | subject                                                 |
//! |-----------|---------------------------------------------------------|
//! | `config`  | the configuration file                                  |
//! | `agent`   | a deployer with sockets: how it begins, serves and ends |
//! | `api`     | the routes: the Open Inference Protocol, and control    |
//! | `tcp`     | the TCP socket: TLS, and who is let in                  |
//! | `mqtt`    | the channel by an MQTT broker                           |
//! | `runner`  | what runs a version: through the offloader              |
//! | `desired` | the file that says what the device shall be             |
//! | `origin`  | where it fetches modules itself                         |
//! | `notify`  | what systemd is told                                    |

mod agent;
mod api;
pub mod config;
mod desired;
mod mqtt;
mod notify;
mod origin;
mod runner;
mod tcp;

pub use agent::{Agent, AgentError};
pub use config::Config;
pub use mqtt::{MqttConfig, MqttError};
pub use tcp::{TcpConfig, TcpError};
