//! What all routes share: the settings, the store, the loaded modules and the
//! workers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use leeway_contract::Digest;
use leeway_protocol::repository::{IndexEntry, ModelState};
use leeway_runtime::sandbox::Module;
use leeway_telemetry::Exporter;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::audit::Audit;
use crate::catalog::{Catalog, ModelName, Version};
use crate::clients::Clients;
use crate::config::FogConfig;
use crate::error::HttpError;
use crate::modules::Modules;
use crate::observe::Observations;
use crate::pool::Pool;
use crate::repository::Repository;
use crate::seen::Seen;
use crate::uploads::Uploads;

/// The state of one fog host.
pub(crate) struct Host {
    pub(crate) config: FogConfig,
    pub(crate) repository: Repository,
    pub(crate) catalog: Catalog,
    pub(crate) modules: Modules,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) pool: Pool,
    /// Places for large requests that are decoded.
    pub(crate) decoding: Semaphore,
    pub(crate) audit: Audit,
    /// Where spans go.
    pub(crate) traces: Option<Exporter>,
    pub(crate) observations: Observations,
    pub(crate) seen: Seen,
    pub(crate) clients: Arc<Clients>,
    /// Fairness between those who push.
    pub(crate) pushing: Arc<Clients>,
    pub(crate) standing: Standing,
}

/// What changes of a host while it serves, besides what is stored.
pub(crate) struct Standing {
    access: RwLock<Arc<Access>>,
    /// Names that answer no more, though they stand for something.
    unloaded: RwLock<BTreeSet<ModelName>>,
    ready: AtomicBool,
}

impl Standing {
    /// Of a host that begins.
    pub(crate) fn new(access: Access) -> Self {
        let access = RwLock::new(Arc::new(access));
        Self { access, unloaded: RwLock::default(), ready: AtomicBool::new(false) }
    }
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
    /// Who may do what, as of now.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.standing.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has requests from now on be judged by this.
    pub(crate) fn replace_access(&self, access: Access) {
        *self.standing.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    /// The model repository extension's index.
    pub(crate) fn index(&self, only_ready: bool) -> Vec<IndexEntry> {
        let unloaded = self.standing.unloaded.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        for (name, model) in self.catalog.all() {
            let (state, reason) = match unloaded.contains(&name) {
                true => (ModelState::Unavailable, "unloaded"),
                false => (ModelState::Ready, ""),
            };
            if only_ready && state != ModelState::Ready {
                continue;
            }
            entries.extend(model.versions.into_keys().map(|version| IndexEntry {
                name: name.to_string(),
                version: version.to_string(),
                state,
                reason: reason.to_owned(),
            }));
        }
        entries
    }

    /// Makes a name answer, when all its modules are loaded.
    pub(crate) async fn load(&self, name: &str) -> Result<(), HttpError> {
        let (name, digests) = self.stands_for(name)?;
        for digest in digests {
            self.module(digest).await?;
            self.pool.reinstate(digest);
        }
        self.standing.unloaded.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        Ok(())
    }

    /// Makes a name answer no more. Modules that no other name stands for give
    /// their memory back; whoever asks for one by its digest has it loaded again.
    pub(crate) fn unload(&self, name: &str) -> Result<(), HttpError> {
        let (name, digests) = self.stands_for(name)?;
        let mut unloaded = self.standing.unloaded.write().unwrap_or_else(PoisonError::into_inner);
        unloaded.insert(name);
        let loaded: BTreeSet<Digest> = self
            .catalog
            .all()
            .into_iter()
            .filter(|(name, _)| !unloaded.contains(name))
            .flat_map(|(_, model)| model.versions.into_values())
            .collect();
        for digest in digests.difference(&loaded) {
            self.modules.forget(*digest);
            self.pool.retire(*digest);
        }
        Ok(())
    }

    /// Whether a name answers no more.
    pub(crate) fn is_unloaded(&self, name: &ModelName) -> bool {
        self.standing.unloaded.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn stands_for(&self, name: &str) -> Result<(ModelName, BTreeSet<Digest>), HttpError> {
        let model = name.parse().ok().and_then(|name| Some((self.catalog.get(&name)?, name)));
        let (model, name) = model
            .ok_or_else(|| HttpError::not_found(format!("there is no model {name:?} here")))?;
        Ok((name, model.versions.into_values().collect()))
    }

    /// Whether the stored modules are loaded.
    pub(crate) fn is_ready(&self) -> bool {
        self.standing.ready.load(Ordering::Acquire)
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
        self.standing.ready.store(true, Ordering::Release);
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
        if self.is_unloaded(&parsed) {
            return Err(HttpError::not_found(format!("the model {name:?} is unloaded")));
        }
        let version = version.map(str::parse::<Version>).transpose().map_err(|_| unknown())?;
        self.catalog.resolve(&parsed, version.as_ref()).ok_or_else(unknown)
    }
}

/// 404 for a digest.
pub(crate) fn unknown_module(digest: Digest) -> HttpError {
    HttpError::not_found(format!("there is no module {digest} here: push it first"))
}
