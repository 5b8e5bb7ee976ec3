//! The listening socket: how a host begins, serves and ends.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use axum::{Router, middleware};
use http::Extensions;
use leeway_contract::Digest;
use leeway_deploy::trust::Trust;
use leeway_runtime::sandbox::{InstancePool, Sandbox, SandboxConfig, SandboxError};
use leeway_telemetry::{EndpointError, Exporter};
use leeway_tls::TlsError;
use leeway_tls::server::{ClientCertificate, ConnectionLimits, Connections, Tls};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::access::{Access, Peer};
use crate::api;
use crate::audit::Audit;
use crate::catalog::Catalog;
use crate::clients::Clients;
use crate::config::{FogConfig, StoreLocation};
use crate::file::FileError;
use crate::follow::follow;
use crate::grpc;
use crate::host::{Host, Standing};
use crate::modules::{Modules, Rules};
use crate::observe::Observations;
use crate::pool::{Pool, PoolSize};
use crate::preload::{PreloadError, preload};
use crate::repository::{Repository, RepositoryError};
use crate::seen::Seen;
use crate::stamp::Stamped;
use crate::store::Store;
use crate::trusted;
use crate::turns::{InTurn, Turns, in_turn};
use crate::uploads::Uploads;

/// The instances that a pool has beyond those of the workers: for modules that are being
/// loaded, and for good measure.
const SPARE_INSTANCES: u32 = 4;
/// The pushes at the same time that clients share: each has a module in memory.
const PUSHES: usize = 8;
/// All that a memory with addresses of 32 bits can have.
const LARGEST_MEMORY_BYTES: u64 = 4 << 30;
/// What a pool keeps of each instance's memory.
const KEPT_BYTES: usize = 4 << 20;

/// Why a host did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address can be reached from elsewhere, and nothing protects it.
    #[error(
        "{address} can be reached from other machines: {missing}, or say in plain words that it shall go without: {flag}"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
        /// What to do.
        missing: &'static str,
        /// How to say so.
        flag: &'static str,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The clients, or the trusted keys, cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log: {0}")]
    Audit(#[source] io::Error),
    /// The store's directory cannot be made.
    #[error("cannot use the directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is stored cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// There is no sandbox on this machine.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Traces(#[from] EndpointError),
    /// A component cannot be had from the beginning.
    #[error(transparent)]
    Preload(#[from] PreloadError),
    /// The workers cannot be started.
    #[error("cannot start the workers: {0}")]
    Workers(#[source] io::Error),
}

/// A fog host that listens. Connections wait until it serves.
pub struct FogHost {
    listener: TcpListener,
    address: SocketAddr,
    grpc: Option<(TcpListener, SocketAddr)>,
    host: Arc<Host>,
    tls: Option<Arc<Tls>>,
    /// Removed when the host is.
    _temporary: Option<TempDir>,
}

/// Reads a serving host's certificates, keys and clients again.
#[derive(Clone)]
pub struct Reload {
    host: Arc<Host>,
    tls: Option<Arc<Tls>>,
}

impl Reload {
    /// Reads the files of the configuration. Where one is wrong, what was read
    /// before stays, all of it.
    pub fn reload(&self) -> Result<(), BindError> {
        let config = &self.host.config;
        let access = access(config)?;
        let trust = trusted::read(config.trust.as_deref())?;
        if let (Some(tls), Some(files)) = (&self.tls, &config.tls) {
            tls.replace(files.load(ClientCertificate::Optional)?);
        }
        self.host.replace_access(access);
        for digest in self.host.modules.replace_trust(trust) {
            self.host.pool.retire(digest);
        }
        tracing::info!("certificates, keys, clients and trust were read again");
        Ok(())
    }
}

impl FogHost {
    /// Opens the store, starts the workers and listens. An address that other
    /// machines reach must have TLS and authentication, unless the configuration
    /// says otherwise.
    pub async fn bind(config: FogConfig) -> Result<Self, BindError> {
        check_exposure(&config)?;
        let tls = config.tls.as_ref().map(|files| files.load(ClientCertificate::Optional));
        let tls = tls.transpose()?;
        let tls = tls.map(|config| Arc::new(Tls::new(config)));
        let access = access(&config)?;
        let trust = trusted::read(config.trust.as_deref())?;
        let (root, temporary) = root(&config.store)?;
        let store = match &config.store {
            StoreLocation::Bucket { url, .. } => Store::url(url)?,
            StoreLocation::Directory(_) | StoreLocation::Temporary => {
                Store::directory(&directory(root.join("repository"))?)?
            }
        };
        let modules = modules(&config, root.join("code"), trust)?;
        let repository = Repository::new(store);
        let catalog = Catalog::open(&repository).await?;
        let audit = Audit::open(&root).map_err(BindError::Audit)?;
        let traces = config.traces.as_ref();
        let traces = traces.map(|to| Exporter::to("leeway-fog", to)).transpose()?;
        let (workers, queue) = (config.workers, config.queue);
        let (instances, pin) = (config.instances_per_worker, config.pin_workers);
        let pool = Pool::start(PoolSize { workers, queue, instances, pin });
        let pool = pool.map_err(BindError::Workers)?;
        let (listener, address) = listen(config.listen).await?;
        let grpc = match config.listen_grpc {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let uploads = Uploads::new(directory(root.join("uploads"))?, config.max_module_bytes);
        let clients = Arc::new(Clients::sharing(config.queue + config.workers));
        let host = Arc::new(Host {
            config,
            repository,
            catalog,
            modules,
            uploads,
            pool,
            decoding: Semaphore::new(workers.max(1)),
            audit,
            traces,
            observations: Observations::default(),
            seen: Seen::new(),
            clients,
            pushing: Arc::new(Clients::sharing(PUSHES)),
            standing: Standing::new(access),
        });
        if let Some(components) = &host.config.preload {
            preload(&host, components).await?;
        }
        Ok(Self { listener, address, grpc, host, tls, _temporary: temporary })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address that it listens on for gRPC, if it does.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, address)| *address)
    }

    /// What reads its files again while it serves.
    pub fn reloader(&self) -> Reload {
        Reload { host: Arc::clone(&self.host), tls: self.tls.clone() }
    }

    /// Serves until `shutdown` is done, and then until the accepted requests
    /// are answered or the configured time for that is over.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let keeper = Arc::clone(&self.host);
        let keeper = tokio::spawn(async move {
            keeper.warm_up().await;
            follow(&keeper, keeper.config.follow_interval).await;
        });
        let (began, shutdown_began) = oneshot::channel();
        let (both, mut grpc_shutdown) = watch::channel(());
        let shutdown = async move {
            shutdown.await;
            tracing::info!("shutting down: accepted requests are finished");
            // The receivers live as long as the server.
            let _ = began.send(());
            drop(both);
        };
        let config = &self.host.config;
        let (time, most) = (config.shutdown_time, config.connections);
        let (idle_time, head_time) = (config.idle_time, config.head_time);
        let (engine, tls) = (config.engine, self.tls.is_some());
        tracing::info!(address = %self.address, %engine, tls, "serving");
        let limits = ConnectionLimits { most, idle_time, head_time };
        let turns = Turns::new(Handle::current().metrics().num_workers());
        let serving = |router: Router| {
            let in_turn = middleware::from_fn_with_state(Arc::clone(&turns), in_turn);
            Connections { router: router.layer(in_turn), limits }
        };
        let opened = {
            let turns = Arc::clone(&turns);
            move |stream, address| opened(stream, address, &turns)
        };
        let http = serving(api::router(Arc::clone(&self.host)));
        let http = http.serve_tcp(self.listener, self.tls.clone(), opened.clone(), shutdown);
        let grpc = async {
            let Some((listener, address)) = self.grpc else { return };
            tracing::info!(%address, "serving gRPC");
            let shutdown = async move {
                // It never changes, it ends.
                while grpc_shutdown.changed().await.is_ok() {}
            };
            let grpc = serving(grpc::router(self.host));
            grpc.serve_tcp(listener, self.tls, opened, shutdown).await;
        };
        let server = async { tokio::join!(http, grpc) };
        let too_late = async {
            if shutdown_began.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(time).await;
        };
        tokio::select! {
            ((), ()) = server => {}
            () = turns.watch() => {}
            () = too_late => tracing::warn!(?time, "some requests were not finished in time"),
        }
        keeper.abort();
        Ok(())
    }
}

/// A connection: its requests are known by when they arrived, and from whom.
fn opened(
    stream: TcpStream,
    address: SocketAddr,
    turns: &Arc<Turns>,
) -> (InTurn, impl FnOnce(Option<&CertificateDer<'static>>) -> Mark + use<>) {
    let stream = Stamped::new(stream);
    let stamp = stream.stamp();
    let stream = InTurn::new(stream, turns);
    let at_once = stream.at_once();
    (stream, move |shown| {
        let peer = Peer { address, certificate: shown.map(|der| Digest::of(der)) };
        Box::new(move |extensions| {
            extensions.insert(peer);
            extensions.insert(stamp.arrival());
            extensions.insert(at_once.clone());
        })
    })
}

/// What marks each request of a connection.
type Mark = Box<dyn Fn(&mut Extensions) + Send>;

/// What loads modules, with compiled code in this directory.
fn modules(config: &FogConfig, code: PathBuf, trust: Option<Trust>) -> Result<Modules, BindError> {
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: Some(code),
        pool: config.pool.then(|| instances(config)),
        ..SandboxConfig::with_engine(config.engine)
    })?;
    let compiler = config.compiler.clone();
    let instance_bytes = config.max_instance_bytes;
    let rules = Rules { trust: trust.map(Arc::new), instance_bytes };
    Ok(Modules::new(sandbox, compiler, rules))
}

/// The pool of those instances that serve one call: each worker has one at a time, and
/// while a module is loaded it has another.
fn instances(config: &FogConfig) -> InstancePool {
    let workers = u32::try_from(config.workers).unwrap_or(u32::MAX);
    InstancePool {
        instances: workers.saturating_add(SPARE_INSTANCES),
        memory_bytes: config.max_instance_bytes.min(LARGEST_MEMORY_BYTES),
        keep_resident_bytes: KEPT_BYTES,
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let listen = |source| BindError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok((listener, address))
}

/// Refuses an address that other machines reach and nothing protects.
fn check_exposure(config: &FogConfig) -> Result<(), BindError> {
    let mut addresses = [Some(config.listen), config.listen_grpc].into_iter().flatten();
    let Some(address) = addresses.find(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    let exposed = |missing, flag| Err(BindError::Exposed { address, missing, flag });
    if config.tls.is_none() && !config.without_tls {
        return exposed("give it --tls-certificate and --tls-key", "--without-tls");
    }
    if config.access.is_none() && !config.without_authentication {
        return exposed("give it --clients", "--without-authentication");
    }
    Ok(())
}

fn access(config: &FogConfig) -> Result<Access, FileError> {
    match &config.access {
        Some(path) => Access::read(path),
        None => Ok(Access::Open { limits: config.client_limits }),
    }
}

impl fmt::Debug for FogHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FogHost").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

/// The directory of everything that the host keeps.
fn root(location: &StoreLocation) -> Result<(PathBuf, Option<TempDir>), BindError> {
    match location {
        StoreLocation::Directory(path) | StoreLocation::Bucket { local: Some(path), .. } => {
            Ok((directory(path.clone())?, None))
        }
        StoreLocation::Temporary | StoreLocation::Bucket { local: None, .. } => {
            let path = std::env::temp_dir();
            let temporary = tempfile::Builder::new().prefix("leeway-fog-").tempdir();
            let temporary = temporary.map_err(|source| BindError::Directory { path, source })?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

/// Makes a directory for this user only, where there is none yet.
fn directory(path: PathBuf) -> Result<PathBuf, BindError> {
    let create = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    match create(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(BindError::Directory { path, source }),
    }
}
