//! What all routes share: the settings, the store, the loaded modules and the
//! workers.

use std::sync::atomic::{AtomicBool, Ordering};

use leeway_contract::Digest;
use leeway_runtime::sandbox::Module;

use crate::catalog::{Catalog, ModelName, Version};
use crate::config::FogConfig;
use crate::error::HttpError;
use crate::modules::Modules;
use crate::pool::Pool;
use crate::repository::Repository;

/// The state of one fog host.
pub(crate) struct Host {
    pub(crate) config: FogConfig,
    pub(crate) repository: Repository,
    pub(crate) catalog: Catalog,
    pub(crate) modules: Modules,
    pub(crate) pool: Pool,
    ready: AtomicBool,
}

/// What a request's model name stands for.
pub(crate) struct Target {
    /// As in the request: the digest, or the model's name.
    pub(crate) name: String,
    /// The alias's version, or the one in the certificate.
    pub(crate) version: String,
    /// The module.
    pub(crate) module: Module,
}

impl Host {
    pub(crate) fn new(
        config: FogConfig,
        repository: Repository,
        catalog: Catalog,
        modules: Modules,
        pool: Pool,
    ) -> Self {
        Self { config, repository, catalog, modules, pool, ready: AtomicBool::new(false) }
    }

    /// Whether the stored modules are loaded.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Loads the stored modules, so that the first request for one does not
    /// wait for it to compile.
    pub(crate) async fn warm_up(&self) {
        match self.repository.modules().await {
            Ok(digests) => {
                for digest in digests {
                    // An error is in the log; the others can serve all the same.
                    let _ = self.module(digest).await;
                }
            }
            Err(error) => tracing::error!(%error, "the stored modules cannot be listed"),
        }
        self.ready.store(true, Ordering::Release);
    }

    /// The module of a digest.
    pub(crate) async fn module(&self, digest: Digest) -> Result<Module, HttpError> {
        let module = self.modules.get(&self.repository, digest).await?;
        module.ok_or_else(|| unknown_module(digest))
    }

    /// The module of a name and, where one is given, a version. A name that is
    /// a digest stands for that module.
    pub(crate) async fn target(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Target, HttpError> {
        if name.starts_with("sha256:") {
            let digest = name.parse().map_err(HttpError::bad_request)?;
            let module = self.module(digest).await?;
            let own = module.certificate().model.version.clone();
            return match version {
                Some(version) if version != own => Err(HttpError::not_found(format!(
                    "the module {digest} has the version {own:?}, wanted {version:?}"
                ))),
                _ => Ok(Target { name: name.to_owned(), version: own, module }),
            };
        }
        let (version, digest) = self.alias(name, version)?;
        let module = self.module(digest).await?;
        Ok(Target { name: name.to_owned(), version: version.to_string(), module })
    }

    fn alias(&self, name: &str, version: Option<&str>) -> Result<(Version, Digest), HttpError> {
        let unknown = || match version {
            Some(version) => format!("there is no version {version:?} of a model {name:?} here"),
            None => format!("there is no model {name:?} here"),
        };
        let unknown = || HttpError::not_found(unknown());
        let parsed: ModelName = name.parse().map_err(|_| unknown())?;
        let version = version.map(str::parse::<Version>).transpose().map_err(|_| unknown())?;
        self.catalog.resolve(&parsed, version.as_ref()).ok_or_else(unknown)
    }
}

/// 404 for a digest.
pub(crate) fn unknown_module(digest: Digest) -> HttpError {
    HttpError::not_found(format!("there is no module {digest} here: push it first"))
}
