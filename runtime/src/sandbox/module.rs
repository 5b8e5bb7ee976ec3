//! A component that was checked and compiled, ready to be instantiated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::section::GoldenVector;
use leeway_contract::{Certificate, Digest, INFERENCE_INTERFACE};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::config::EngineKind;
use super::engine::Inner;
use super::error::{LoadError, RunError};
use super::instance::{Instance, StoreState};
use super::interrupt::Interrupt;

/// A loaded component. Cheap to clone and to send between threads; a clone is
/// the same module.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Compiled>,
}

pub(super) struct Compiled {
    pub(super) sandbox: Arc<Inner>,
    pub(super) instance_pre: InstancePre<StoreState>,
    pub(super) digest: Digest,
    pub(super) certificate: Certificate,
    pub(super) golden: Vec<GoldenVector>,
    pub(super) from_cache: bool,
    pub(super) compile_time: Duration,
}

impl Compiled {
    /// Where a function of the one interface is.
    pub(super) fn function(
        &self,
        function: &'static str,
    ) -> Result<ComponentExportIndex, LoadError> {
        let component = self.component();
        let interface = component.get_export_index(None, INFERENCE_INTERFACE);
        interface
            .and_then(|interface| component.get_export_index(Some(&interface), function))
            .ok_or_else(|| LoadError::Function { function, reason: "it is missing".into() })
    }

    fn component(&self) -> &Component {
        self.instance_pre.component()
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        self.component().engine()
    }
}

impl Module {
    pub(super) fn new(compiled: Compiled) -> Self {
        Self { inner: Arc::new(compiled) }
    }

    pub(super) fn compiled(&self) -> &Compiled {
        &self.inner
    }

    /// The digest of the component's bytes, which is its name.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// What the component was certified for.
    pub fn certificate(&self) -> &Certificate {
        &self.inner.certificate
    }

    /// The golden vectors that the component carries.
    pub fn golden(&self) -> &[GoldenVector] {
        &self.inner.golden
    }

    /// How long it took to compile the component, or to take the compiled code
    /// from the cache.
    pub fn compile_time(&self) -> Duration {
        self.inner.compile_time
    }

    /// Whether the compiled code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.inner.from_cache
    }

    /// The size of the compiled code, without the model's weights, in bytes.
    pub fn code_bytes(&self) -> usize {
        self.inner.component().text().len()
    }

    /// What executes the code.
    pub fn engine_kind(&self) -> EngineKind {
        self.inner.sandbox.config.engine
    }

    /// Whether fuel is counted and enforced.
    pub fn metered(&self) -> bool {
        self.inner.sandbox.config.metered
    }

    /// An instance with a memory of its own.
    pub fn instantiate(&self) -> Result<Instance, RunError> {
        Instance::new(self.clone())
    }

    /// What can end one run of this module from another thread.
    pub fn interrupt(&self) -> Interrupt {
        Interrupt::new(Arc::clone(&self.inner.sandbox))
    }

    /// Checks on a first instance what only an instance can tell.
    pub(super) fn check_first_instance(&self) -> Result<(), LoadError> {
        let seen = Instance::stage_count(self)?;
        let certified = self.certificate().last_stage() + 1;
        if seen != certified {
            return Err(LoadError::StageCount { certified, seen });
        }
        Ok(())
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.certificate().model;
        write!(f, "Module({} {}, {})", model.name, model.version, self.digest())
    }
}
