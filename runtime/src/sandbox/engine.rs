//! The sandbox itself: its engines, their code caches and the deadlines' thread.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leeway_contract::{Certificate, Digest, EngineClaim, section};
use wasmtime::component::{Component, Linker};

use super::cache::{Cache, engine_hash};
use super::check;
use super::config::{EngineKind, InstancePool, SandboxConfig};
use super::error::{LoadError, SandboxError};
use super::instance::StoreState;
use super::module::{Compiled, Module};
use super::watchdog::Watchdog;

/// Loads and checks components. Cheap to clone; a clone is the same sandbox.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: SandboxConfig,
    pub(super) watchdog: Watchdog,
    /// For components that make NaNs canonical themselves.
    plain: Host,
    /// For components whose NaNs the engine makes canonical.
    canonical: Host,
    /// For components with relaxed SIMD.
    relaxed: Host,
    /// As `canonical`, with instances from a pool.
    pooled: Option<Host>,
}

/// An engine with the cache of the code that was compiled for it.
struct Host {
    engine: wasmtime::Engine,
    cache: Option<Cache>,
}

impl Host {
    fn new(
        config: &SandboxConfig,
        nan_canonicalization: bool,
        relaxed_simd: bool,
        pool: Option<InstancePool>,
    ) -> Result<Self, SandboxError> {
        let engine = config
            .engine(nan_canonicalization, relaxed_simd, pool)
            .map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let cache = config.cache_dir.clone().map(|directory| Cache::new(directory, &engine));
        Ok(Self { engine, cache })
    }

    /// None where none is wanted, or where there is no room for one.
    fn pooled(config: &SandboxConfig) -> Option<Self> {
        let pool = config.pool?;
        let host = Self::new(config, true, false, Some(pool));
        host.inspect_err(|error| {
            tracing::warn!(%error, "no pool of instances: they are made on demand");
        })
        .ok()
    }
}

impl Sandbox {
    /// Makes engines with these settings. A cache directory that cannot be used
    /// is a warning in the log, not an error.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let plain = Host::new(&config, false, false, None)?;
        let canonical = Host::new(&config, true, false, None)?;
        let relaxed = Host::new(&config, false, true, None)?;
        let pooled = Host::pooled(&config);
        let hosts = [&plain, &canonical, &relaxed].into_iter().chain(&pooled);
        let engines = hosts.map(|host| host.engine.clone()).collect();
        let watchdog = Watchdog::new(engines, config.on_watchdog_start.clone());
        Ok(Self { inner: Arc::new(Inner { config, watchdog, plain, canonical, relaxed, pooled }) })
    }

    /// What executes the code.
    pub fn engine_kind(&self) -> EngineKind {
        self.inner.config.engine
    }

    /// The engine's version and settings as 16 hexadecimal digits: where they are
    /// equal, compiled code is, and takes as long.
    pub fn engine_hash(&self) -> String {
        engine_hash(&self.inner.plain.engine)
    }

    /// What the certificate of a compiled component must say of the engine: the
    /// release line of the wasmtime that is linked here, and its own fuel table.
    pub fn engine_claim() -> EngineClaim {
        let version = wasmtime::ModuleVersionStrategy::WasmtimeVersion;
        EngineClaim::of_compiled(version.as_str(), &fuel_table())
    }

    /// The same of a component that was written by hand: the engine makes its
    /// NaNs canonical.
    pub fn engine_claim_of_hand_written() -> EngineClaim {
        let version = wasmtime::ModuleVersionStrategy::WasmtimeVersion;
        EngineClaim::of_hand_written(version.as_str(), &fuel_table())
    }

    /// Loads a component from its bytes.
    ///
    /// In this order: it is a component, with a valid certificate, whose claims
    /// about the engine hold here; it imports nothing; it exports the one
    /// interface; its memories are as certified. Then it is compiled (or taken
    /// from the cache), the types of its functions are checked, and its
    /// `stage-count` is compared with the certificate.
    pub fn load(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        self.load_checked(bytes, Digest::of(bytes))
    }

    /// Loads a component whose digest is known: other bytes are refused before
    /// anything else is looked at.
    pub fn load_expecting(&self, bytes: &[u8], wanted: Digest) -> Result<Module, LoadError> {
        self.load_checked(bytes, expected(bytes, wanted)?)
    }

    /// As [`Self::load_expecting`], of what the cache has compiled code for: nothing is
    /// compiled, and there is no module where there is none.
    pub fn load_compiled(&self, bytes: &[u8], wanted: Digest) -> Result<Option<Module>, LoadError> {
        let (digest, certificate) = (expected(bytes, wanted)?, Self::check(bytes)?);
        let code = self.inner.cached(bytes, digest, &certificate);
        code.map(|code| self.module_of(code, bytes, digest, certificate)).transpose()
    }

    /// Compiles a component into the cache, after the checks of [`Self::check`]. It is
    /// neither linked nor instantiated.
    ///
    /// # Errors
    /// Also where the cache does not take the code: [`LoadError::NotKept`].
    pub fn compile(&self, bytes: &[u8]) -> Result<(), LoadError> {
        let (certificate, digest) = (Self::check(bytes)?, Digest::of(bytes));
        match self.inner.compile(bytes, digest, &certificate)?.kept {
            true => Ok(()),
            false => Err(LoadError::NotKept),
        }
    }

    /// Where compiled code is kept.
    pub fn cache_dir(&self) -> Option<&Path> {
        self.inner.config.cache_dir.as_deref()
    }

    /// Loads a component from a file.
    pub fn load_file(&self, path: impl AsRef<Path>) -> Result<Module, LoadError> {
        self.load(&read(path.as_ref())?)
    }

    /// Loads a component from a file that must have the digest `wanted`.
    pub fn load_file_expecting(
        &self,
        path: impl AsRef<Path>,
        wanted: Digest,
    ) -> Result<Module, LoadError> {
        self.load_expecting(&read(path.as_ref())?, wanted)
    }

    /// Checks what [`Self::load`] checks before it compiles: the certificate, its
    /// claims about the engine, imports, exports and memories.
    pub fn check(bytes: &[u8]) -> Result<Certificate, LoadError> {
        let certificate = section::read_certificate(bytes)?;
        check::engine_claim(&certificate.engine, &Self::engine_claim())?;
        check::shape(bytes, &certificate)?;
        Ok(certificate)
    }

    fn load_checked(&self, bytes: &[u8], digest: Digest) -> Result<Module, LoadError> {
        let certificate = Self::check(bytes)?;
        let code = self.inner.compile(bytes, digest, &certificate)?;
        self.module_of(code, bytes, digest, certificate)
    }

    fn module_of(
        &self,
        code: Code,
        bytes: &[u8],
        digest: Digest,
        certificate: Certificate,
    ) -> Result<Module, LoadError> {
        let golden = section::read_golden(bytes, &certificate)?;
        tracing::debug!(
            %digest, model = certificate.model.name, version = certificate.model.version,
            from_cache = code.from_cache, time = ?code.time, "loaded"
        );
        let module = self.module(code, digest, certificate, golden)?;
        module.check_first_instance()?;
        Ok(module)
    }

    fn module(
        &self,
        code: Code,
        digest: Digest,
        certificate: Certificate,
        golden: Vec<section::GoldenVector>,
    ) -> Result<Module, LoadError> {
        // Nothing is defined in it: nothing is granted.
        let linker = Linker::<StoreState>::new(code.component.engine());
        let instance_pre = linker
            .instantiate_pre(&code.component)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        Ok(Module::new(Compiled {
            sandbox: Arc::clone(&self.inner),
            instance_pre,
            digest,
            certificate,
            golden,
            from_cache: code.from_cache,
            compile_time: code.time,
        }))
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Inner {
    fn compile(
        &self,
        bytes: &[u8],
        digest: Digest,
        certificate: &Certificate,
    ) -> Result<Code, LoadError> {
        if let Some(host) = self.pool_for(bytes, certificate) {
            match host.compile(bytes, digest) {
                Ok(code) => return Ok(code),
                // It may be of a shape that a pool has no place for.
                Err(error) => tracing::debug!(%digest, %error, "not from the pool"),
            }
        }
        self.host(&certificate.engine).compile(bytes, digest)
    }

    fn cached(&self, bytes: &[u8], digest: Digest, certificate: &Certificate) -> Option<Code> {
        let pool = self.pool_for(bytes, certificate).and_then(|host| host.cached(digest));
        pool.or_else(|| self.host(&certificate.engine).cached(digest))
    }

    /// The pool's host, where instances of the component may come from it.
    fn pool_for(&self, bytes: &[u8], certificate: &Certificate) -> Option<&Host> {
        let (host, pool) = self.pooled.as_ref().zip(self.config.pool)?;
        (pool.takes(certificate) && check::memories(bytes) == 1).then_some(host)
    }

    fn host(&self, claim: &EngineClaim) -> &Host {
        match claim {
            EngineClaim { nan_canonicalization: true, .. } => &self.canonical,
            EngineClaim { relaxed_simd: true, .. } => &self.relaxed,
            _ => &self.plain,
        }
    }
}

impl Host {
    fn compile(&self, bytes: &[u8], digest: Digest) -> Result<Code, LoadError> {
        if let Some(code) = self.cached(digest) {
            return Ok(code);
        }
        let Host { engine, cache } = self;
        let start = Instant::now();
        let component = Component::from_binary(engine, bytes)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let time = start.elapsed();
        let kept = cache.as_ref().and_then(|cache| {
            cache.put(digest, &component);
            cache.get(engine, digest)
        });
        // What is mapped from a file takes less memory than what was just made.
        let (is_kept, component) = (kept.is_some(), kept.unwrap_or(component));
        Ok(Code { component, from_cache: false, kept: is_kept, time })
    }

    fn cached(&self, digest: Digest) -> Option<Code> {
        let start = Instant::now();
        let component = self.cache.as_ref()?.get(&self.engine, digest)?;
        Some(Code { component, from_cache: true, kept: true, time: start.elapsed() })
    }
}

fn fuel_table() -> String {
    format!("{:?}", wasmtime::OperatorCost::default())
}

struct Code {
    component: Component,
    from_cache: bool,
    /// Whether the cache has it.
    kept: bool,
    time: Duration,
}

fn expected(bytes: &[u8], wanted: Digest) -> Result<Digest, LoadError> {
    match Digest::of(bytes) {
        seen if seen == wanted => Ok(seen),
        seen => Err(LoadError::Digest { wanted, seen }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}
