//! Loaded modules, by digest. A stored module is loaded when it is first asked
//! for, once, however many ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use leeway_contract::Digest;
use leeway_deploy::compile::Compiler;
use leeway_deploy::transaction::{Cancel, Cause, Refusal, Step, TrialOptions, examine};
use leeway_deploy::trust::{Accepted, Memory, Trust};
use leeway_runtime::sandbox::{LoadError, Module, Sandbox};
use tokio::sync::{OnceCell, Semaphore};

use crate::error::HttpError;
use crate::host::unknown_module;
use crate::repository::Repository;

/// The modules that compile at the same time. Cranelift uses all processors for
/// one module already.
const COMPILATIONS: usize = 1;

/// The longest that one golden vector may take.
const REPLAY_TIME: Duration = Duration::from_secs(10);

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadFailure {
    /// A step of the transaction refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Loading did not come to an end: the host stops, or has a defect.
    #[error("loading the module was cut short")]
    Stopped,
}

impl LoadFailure {
    /// Whether the bytes are not those that were named.
    pub(crate) fn is_of_bytes(&self) -> bool {
        matches!(self, Self::Refused(refusal)
            if matches!(*refusal.cause, Cause::Load(LoadError::Digest { .. })))
    }
}

/// A module as it comes: bytes that must have the digest, and who has signed it.
pub(crate) struct Incoming {
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
    /// The envelope with the signatures.
    pub(crate) envelope: Option<Bytes>,
}

impl Incoming {
    fn refused(&self, step: Step) -> impl Fn(Cause) -> Refusal + use<> {
        let digest = self.digest;
        move |cause| Refusal { digest, step, cause: Box::new(cause) }
    }

    /// The steps before anything is compiled.
    fn examine(&self, rules: &Rules) -> Result<Accepted, LoadFailure> {
        let Self { digest: wanted, bytes, envelope } = self;
        let seen = Digest::of(bytes);
        if seen != *wanted {
            let error = LoadError::Digest { wanted: *wanted, seen };
            return Err(self.refused(Step::Fetch)(error.into()).into());
        }
        let certificate = examine::certificate(bytes, rules.instance_bytes)
            .map_err(self.refused(Step::Certificate))?;
        let Some(trust) = &rules.trust else { return Ok(Accepted::default()) };
        let (module, envelope) = ((*wanted, &**bytes), envelope.as_deref());
        let accepted =
            examine::signature(trust, module, &certificate, envelope, &Memory::default());
        Ok(accepted.map_err(self.refused(Step::Signature))?)
    }

    /// The steps from compiling on; what was compiled before is taken from the cache.
    fn load(
        &self,
        sandbox: &Sandbox,
        compiler: Option<&Compiler>,
        cancel: &Cancel,
    ) -> Result<Module, Refusal> {
        let (module, _) = examine::compile(sandbox, compiler, (self.digest, &*self.bytes), cancel)
            .map_err(self.refused(Step::Compile))?;
        let options = TrialOptions { limit: REPLAY_TIME, ..TrialOptions::default() };
        if !module.golden().is_empty() {
            examine::golden(&module, &options, cancel).map_err(self.refused(Step::Golden))?;
        }
        Ok(module)
    }
}

/// What is asked of a module before it is compiled.
#[derive(Clone)]
pub(crate) struct Rules {
    /// Who must have signed it. Without rules of trust no signature is looked at.
    pub(crate) trust: Option<Arc<Trust>>,
    /// The memory that an instance of it may have.
    pub(crate) instance_bytes: u64,
}

/// What is loaded, and how to load more.
pub(crate) struct Modules {
    sandbox: Sandbox,
    compiler: Option<Compiler>,
    rules: RwLock<Rules>,
    loaded: Mutex<HashMap<Digest, Arc<OnceCell<Module>>>>,
    compiling: Arc<Semaphore>,
}

impl Modules {
    /// Compiles in this process where there is no `compiler`.
    pub(crate) fn new(sandbox: Sandbox, compiler: Option<Compiler>, rules: Rules) -> Self {
        let compiling = Arc::new(Semaphore::new(COMPILATIONS));
        let rules = RwLock::new(rules);
        Self { sandbox, compiler, rules, loaded: Mutex::default(), compiling }
    }

    /// What is asked of modules, as of now.
    fn rules(&self) -> Rules {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has modules from now on be judged by other rules, also those that are loaded.
    /// Returns the digests of these.
    pub(crate) fn replace_trust(&self, trust: Option<Trust>) -> Vec<Digest> {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if rules.trust.as_deref() == trust.as_ref() {
            return Vec::new();
        }
        rules.trust = trust.map(Arc::new);
        std::mem::take(&mut *self.lock()).into_keys().collect()
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
        let envelope = repository.signature(digest).await?;
        let incoming = Incoming { digest, bytes, envelope };
        let cell = Arc::clone(self.lock().entry(digest).or_default());
        match cell.get_or_try_init(async || self.load(incoming).await).await {
            Ok(module) => Ok(Some(module.clone())),
            Err(error) => {
                self.lock().remove(&digest);
                if error.is_of_bytes() {
                    tracing::error!(%digest, %error, "a stored module has decayed");
                    return Ok(None);
                }
                Err(HttpError::broken_module(digest, error))
            }
        }
    }

    /// Brings a module in, step by step as on a device, so that its signature is
    /// checked before a byte is compiled. Does not keep it yet.
    pub(crate) async fn load(&self, incoming: Incoming) -> Result<Module, LoadFailure> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.map_err(|_| LoadFailure::Stopped)?;
        let rules = self.rules();
        let examine = move || incoming.examine(&rules).map(|_| incoming);
        let incoming = blocking(examine).await??;
        let (sandbox, compiler) = (self.sandbox.clone(), self.compiler.clone());
        let cancel = Cancel::default();
        let _wanted = Wanted(cancel.clone());
        let load = move || {
            // Until it is done, even where nobody waits for it any more.
            let _permit = permit;
            incoming.load(&sandbox, compiler.as_ref(), &cancel)
        };
        Ok(blocking(load).await??)
    }

    /// Whether signatures of a module are good, by the rules of now.
    pub(crate) fn check_signature(
        &self,
        digest: Digest,
        bytes: &Bytes,
        envelope: &Bytes,
    ) -> Result<(), LoadFailure> {
        let envelope = Some(envelope.clone());
        let incoming = Incoming { digest, bytes: bytes.clone(), envelope };
        incoming.examine(&self.rules()).map(drop)
    }

    /// The counter in a stored module's signed statement; `None` where nobody must have
    /// signed it, or nobody has.
    pub(crate) async fn counter(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Option<u64>, HttpError> {
        let rules = self.rules();
        if rules.trust.is_none() {
            return Ok(None);
        }
        let Some(bytes) = repository.module(digest).await? else {
            return Err(unknown_module(digest));
        };
        let envelope = repository.signature(digest).await?;
        let incoming = Incoming { digest, bytes, envelope };
        Ok(incoming.examine(&rules).map_err(HttpError::refused_module)?.counter)
    }

    /// Keeps a module.
    pub(crate) fn keep(&self, module: Module) {
        let digest = module.digest();
        self.lock().insert(digest, Arc::new(OnceCell::new_with(Some(module))));
    }

    /// The digests of all that is loaded.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let loaded = self.lock();
        loaded.iter().filter(|(_, cell)| cell.initialized()).map(|(digest, _)| *digest).collect()
    }

    /// Forgets a module.
    pub(crate) fn forget(&self, digest: Digest) {
        self.lock().remove(&digest);
    }
}

/// Asks a load to stop when nobody waits for it any more.
struct Wanted(Cancel);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Work that does not belong on an asynchronous thread.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, LoadFailure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| LoadFailure::Stopped)
}
