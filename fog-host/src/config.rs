//! The fog host's settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use leeway_deploy::compile::{CompileLimits, Compiler};
use leeway_runtime::sandbox::EngineKind;
use leeway_telemetry::Collector;
use leeway_tls::server::TlsFiles;

use crate::clients::ClientLimits;
use crate::preload::Preload;

/// Where modules and aliases are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreLocation {
    /// A local directory, created where it does not exist: `repository/` holds
    /// modules and aliases, `code/` compiled code, `uploads/` parts of modules.
    Directory(PathBuf),
    /// A bucket of an object store, which any number of hosts may share:
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
    /// Credentials, region and endpoint are the environment's (`AWS_*`,
    /// `GOOGLE_*`, `AZURE_*`).
    Bucket {
        /// Its URL.
        url: String,
        /// The directory of compiled code and the audit log; `None` is a temporary one.
        local: Option<PathBuf>,
    },
    /// A temporary directory that is removed with the host.
    Temporary,
}

/// The settings of a [`FogHost`](crate::FogHost).
#[derive(Clone, Debug)]
pub struct FogConfig {
    /// The address to listen on; port 0 takes any free one. Default: any free
    /// port on the loopback interface.
    pub listen: SocketAddr,
    /// The address to listen on for gRPC. Default: none, and there is no gRPC.
    pub listen_grpc: Option<SocketAddr>,
    /// Where modules and aliases are stored. Default: a temporary directory.
    pub store: StoreLocation,
    /// How often the store is looked at for what other hosts changed there: their
    /// aliases are seen here after this time, and that of loading what is new.
    /// Default: 2 s.
    pub follow_interval: Duration,
    /// Components to have from the beginning. Default: none.
    pub preload: Option<Preload>,
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
    /// The most memory that an instance may have, in bytes: a module that is certified
    /// for more is refused. Default: 4 GiB, which is all that one can have.
    pub max_instance_bytes: u64,
    /// Whether instances come from a pool where each call needs a fresh one. Default: yes.
    pub pool: bool,
    /// Whether each worker stays on one processor. Default: no.
    pub pin_workers: bool,
    /// The limits of clients that are not asked who they are, each an address.
    /// Default: none but a fair share of the queue when there are several.
    pub client_limits: ClientLimits,
    /// TLS. Default: none.
    pub tls: Option<TlsFiles>,
    /// The file with the clients and what they may do. Default: none, and whoever
    /// reaches the address may do everything.
    pub access: Option<PathBuf>,
    /// The file with the keys that must have signed modules. Default: none, and
    /// every module is taken.
    pub trust: Option<PathBuf>,
    /// Whether an address that is not on the loopback interface may be listened on
    /// without TLS. Default: no.
    pub without_tls: bool,
    /// Whether such an address may be listened on without `access`. Default: no.
    pub without_authentication: bool,
    /// What compiles pushed modules, by the program `leeway-fog`. Default: none, they
    /// are compiled in this process, which cannot stop one that takes too long.
    pub compiler: Option<Compiler>,
    /// The collector of spans, by OTLP over HTTP. Default: none, and no span is made.
    pub traces: Option<Collector>,
    /// The connections that there may be at once. Default: 4096.
    pub connections: usize,
    /// The longest that a connection may be idle. Default: 75 s.
    pub idle_time: Duration,
    /// The longest that the head of a request may take to arrive, over HTTP/1.1.
    /// Default: 10 s.
    pub head_time: Duration,
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

impl FogConfig {
    /// What compiling a module may take, where nothing else is said.
    pub const COMPILE_LIMITS: CompileLimits =
        CompileLimits { time: Duration::from_secs(120), memory_bytes: 4 << 30 };
}

impl Default for FogConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            listen_grpc: None,
            store: StoreLocation::Temporary,
            follow_interval: Duration::from_secs(2),
            preload: None,
            engine: EngineKind::Native,
            workers: std::thread::available_parallelism().map_or(1, |n| n.get()),
            queue: 64,
            instances_per_worker: 32,
            max_instance_bytes: 4 << 30,
            pool: true,
            pin_workers: false,
            client_limits: ClientLimits::default(),
            tls: None,
            access: None,
            trust: None,
            without_tls: false,
            without_authentication: false,
            compiler: None,
            traces: None,
            connections: 4096,
            idle_time: Duration::from_secs(75),
            head_time: Duration::from_secs(10),
            request_time: Duration::from_secs(30),
            push_time: Duration::from_secs(600),
            shutdown_time: Duration::from_secs(30),
            max_module_bytes: 256 << 20,
            max_request_bytes: 64 << 20,
        }
    }
}
