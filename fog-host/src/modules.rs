//! Loaded modules, by digest. A stored module is loaded when it is first asked
//! for, once, however many ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use leeway_contract::Digest;
use leeway_runtime::golden::{self, GoldenError};
use leeway_runtime::sandbox::{Limits, LoadError, Module, Sandbox};
use tokio::sync::{OnceCell, Semaphore};

use crate::compile::{CompileError, Compiler};
use crate::error::HttpError;
use crate::repository::Repository;

/// The modules that compile at the same time. Cranelift uses all processors for
/// one module already.
const COMPILATIONS: usize = 1;

/// The longest that one golden vector may take.
const REPLAY_TIME: Duration = Duration::from_secs(10);

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadFailure {
    /// The sandbox refused it.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// It does not give its own golden vectors' outputs here.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// It was not compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Loading did not come to an end: the host stops, or has a defect.
    #[error("loading the module was cut short")]
    Stopped,
}

/// What is loaded, and how to load more.
pub(crate) struct Modules {
    sandbox: Sandbox,
    compiler: Option<Compiler>,
    loaded: Mutex<HashMap<Digest, Arc<OnceCell<Module>>>>,
    compiling: Arc<Semaphore>,
}

impl Modules {
    /// Compiles in this process where there is no `compiler`.
    pub(crate) fn new(sandbox: Sandbox, compiler: Option<Compiler>) -> Self {
        let compiling = Arc::new(Semaphore::new(COMPILATIONS));
        Self { sandbox, compiler, loaded: Mutex::default(), compiling }
    }

    /// How many modules are loaded.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().filter(|cell| cell.get().is_some()).count()
    }

    /// All modules that are loaded.
    pub(crate) fn all(&self) -> Vec<Module> {
        self.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<OnceCell<Module>>>> {
        // Nothing panics while it holds the lock.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A module that is loaded already.
    pub(crate) fn loaded(&self, digest: Digest) -> Option<Module> {
        self.lock().get(&digest)?.get().cloned()
    }

    /// A module that is loaded already, or else from the repository; `None` if
    /// it is not there either, or its bytes there are no longer its own.
    pub(crate) async fn get(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Option<Module>, HttpError> {
        if let Some(module) = self.loaded(digest) {
            return Ok(Some(module));
        }
        let Some(bytes) = repository.module(digest).await? else { return Ok(None) };
        let cell = Arc::clone(self.lock().entry(digest).or_default());
        match cell.get_or_try_init(async || self.load(bytes, digest).await).await {
            Ok(module) => Ok(Some(module.clone())),
            Err(error) => {
                self.lock().remove(&digest);
                match error {
                    LoadFailure::Refused(error @ LoadError::Digest { .. }) => {
                        tracing::error!(%digest, %error, "a stored module has decayed");
                        Ok(None)
                    }
                    error => Err(HttpError::broken_module(digest, error)),
                }
            }
        }
    }

    /// Loads bytes that must have this digest, and replays their golden
    /// vectors. Does not keep the module yet.
    pub(crate) async fn load(&self, bytes: Bytes, digest: Digest) -> Result<Module, LoadFailure> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.map_err(|_| LoadFailure::Stopped)?;
        let seen = Digest::of(&bytes);
        if seen != digest {
            return Err(LoadError::Digest { wanted: digest, seen }.into());
        }
        if let Some(compiler) = &self.compiler {
            compiler.compile(&bytes).await?;
        }
        let sandbox = self.sandbox.clone();
        let load = move || -> Result<Module, LoadFailure> {
            // Until it is done, even where nobody waits for it any more.
            let _permit = permit;
            let module = sandbox.load_expecting(&bytes, digest)?;
            golden::replay_within(&module, &Limits::within(REPLAY_TIME))?;
            Ok(module)
        };
        tokio::task::spawn_blocking(load).await.unwrap_or(Err(LoadFailure::Stopped))
    }

    /// Keeps a module.
    pub(crate) fn keep(&self, module: Module) {
        let digest = module.digest();
        self.lock().insert(digest, Arc::new(OnceCell::new_with(Some(module))));
    }

    /// Forgets a module.
    pub(crate) fn forget(&self, digest: Digest) {
        self.lock().remove(&digest);
    }
}
