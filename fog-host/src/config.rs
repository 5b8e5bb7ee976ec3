//! The fog host's settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use leeway_runtime::sandbox::EngineKind;

/// Where modules and aliases are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreLocation {
    /// A local directory, created where it does not exist: `repository/` holds
    /// modules and aliases, `code/` compiled code.
    Directory(PathBuf),
    /// A temporary directory that is removed with the host.
    Temporary,
}

/// The settings of a [`FogHost`](crate::FogHost).
#[derive(Clone, Debug)]
pub struct FogConfig {
    /// The address to listen on; port 0 takes any free one. Default: any free
    /// port on the loopback interface.
    pub listen: SocketAddr,
    /// Where modules and aliases are stored. Default: a temporary directory.
    pub store: StoreLocation,
    /// What executes the components. Default: native.
    pub engine: EngineKind,
    /// The threads that run models. Default: one for each processor.
    pub workers: usize,
    /// The requests that may wait for a worker; one more is refused with 503.
    /// Default: 64.
    pub queue: usize,
    /// The instances that each worker keeps, of as many modules; the least
    /// recently used goes first. Default: 32.
    pub instances_per_worker: usize,
    /// The longest that a request may take to arrive, and again to wait and
    /// run. Default: 30 s.
    pub request_time: Duration,
    /// The longest that a module may take to arrive. Default: 10 min.
    pub push_time: Duration,
    /// The longest that accepted requests may take after the shutdown began.
    /// Default: 30 s.
    pub shutdown_time: Duration,
    /// The largest module, in bytes. Default: 256 MiB.
    pub max_module_bytes: usize,
    /// The largest body of any other request, in bytes. Default: 64 MiB.
    pub max_request_bytes: usize,
}

impl Default for FogConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            store: StoreLocation::Temporary,
            engine: EngineKind::Native,
            workers: std::thread::available_parallelism().map_or(1, |n| n.get()),
            queue: 64,
            instances_per_worker: 32,
            request_time: Duration::from_secs(30),
            push_time: Duration::from_secs(600),
            shutdown_time: Duration::from_secs(30),
            max_module_bytes: 256 << 20,
            max_request_bytes: 64 << 20,
        }
    }
}
