//! The listening socket: how a host begins, serves and ends.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use axum::serve::ListenerExt as _;
use leeway_runtime::sandbox::{Sandbox, SandboxConfig, SandboxError};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::api;
use crate::catalog::Catalog;
use crate::config::{FogConfig, StoreLocation};
use crate::host::Host;
use crate::modules::Modules;
use crate::pool::Pool;
use crate::repository::{Repository, RepositoryError};

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
    /// The workers cannot be started.
    #[error("cannot start the workers: {0}")]
    Workers(#[source] io::Error),
}

/// A fog host that listens. Connections wait until it serves.
pub struct FogHost {
    listener: TcpListener,
    address: SocketAddr,
    host: Arc<Host>,
    /// Removed when the host is.
    _temporary: Option<TempDir>,
}

impl FogHost {
    /// Opens the store, starts the workers and listens.
    pub async fn bind(config: FogConfig) -> Result<Self, BindError> {
        let (root, temporary) = root(&config.store)?;
        let repository_dir = directory(root.join("repository"))?;
        let sandbox = Sandbox::new(SandboxConfig {
            cache_dir: Some(root.join("code")),
            ..SandboxConfig::with_engine(config.engine)
        })?;
        let repository = Repository::local(&repository_dir)?;
        let catalog = Catalog::open(&repository).await?;
        let pool = Pool::start(config.workers, config.queue, config.instances_per_worker)
            .map_err(BindError::Workers)?;
        let listen = |source| BindError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let modules = Modules::new(sandbox);
        let host = Arc::new(Host::new(config, repository, catalog, modules, pool));
        Ok(Self { listener, address, host, _temporary: temporary })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done, and then until the accepted requests
    /// are answered or the configured time for that is over.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let warm_up = Arc::clone(&self.host);
        let warm_up = tokio::spawn(async move { warm_up.warm_up().await });
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused");
            }
        });
        let (began, shutdown_began) = oneshot::channel();
        let shutdown = async move {
            shutdown.await;
            tracing::info!("shutting down: accepted requests are finished");
            // The receiver lives as long as the server.
            let _ = began.send(());
        };
        tracing::info!(address = %self.address, engine = %self.host.config.engine, "serving");
        let time = self.host.config.shutdown_time;
        let router = api::router(self.host);
        let server = axum::serve(listener, router).with_graceful_shutdown(shutdown);
        let too_late = async {
            if shutdown_began.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(time).await;
        };
        let result = tokio::select! {
            result = server => result,
            () = too_late => {
                tracing::warn!(?time, "some requests were not finished in time");
                Ok(())
            }
        };
        warm_up.abort();
        result
    }
}

impl fmt::Debug for FogHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FogHost").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The directory of everything that the host keeps.
fn root(location: &StoreLocation) -> Result<(PathBuf, Option<TempDir>), BindError> {
    match location {
        StoreLocation::Directory(path) => Ok((directory(path.clone())?, None)),
        StoreLocation::Temporary => {
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
