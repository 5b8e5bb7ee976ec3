//! The sandbox's settings, and the engine that they make.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use leeway_contract::{Bound, Certificate};
use serde::{Deserialize, Serialize};

use super::memory::MAX_TABLE_ELEMENTS;

/// What executes the compiled code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Machine code for this processor.
    #[default]
    Native,
    /// wasmtime's portable interpreter, for processors without a native
    /// backend. The same results and the same fuel, about a hundredth of the
    /// speed.
    Pulley,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineKind::Native => "native",
            EngineKind::Pulley => "pulley",
        })
    }
}

/// A text that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown engine {seen:?} (wanted \"native\" or \"pulley\")")]
pub struct ParseEngineKindError {
    seen: String,
}

impl FromStr for EngineKind {
    type Err = ParseEngineKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "native" => Ok(EngineKind::Native),
            "pulley" => Ok(EngineKind::Pulley),
            _ => Err(ParseEngineKindError { seen: text.chars().take(40).collect() }),
        }
    }
}

/// Called once on the thread that watches deadlines, before it first sleeps.
///
/// Where the threads that run models have a real-time priority, this one needs
/// a higher one: a guest that spins at the same priority on the same core would
/// keep it from ever interrupting.
#[derive(Clone)]
pub struct WatchdogHook(Arc<dyn Fn() + Send + Sync>);

impl WatchdogHook {
    /// Wraps the function to call.
    pub fn new(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(super) fn call(&self) {
        (self.0)();
    }
}

impl fmt::Debug for WatchdogHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchdogHook")
    }
}

/// Instances from a pool that is reserved beforehand: for a component whose calls each
/// need a fresh instance, which is then made of what the one before has left.
///
/// A component takes part if what its certificate says of its cost is measured, as any
/// other's instances are used again, and if one memory within `memory_bytes` is all that
/// it has. For all others, and where the machine has not the addresses for a pool
/// (4 GiB for each instance), instances are made on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstancePool {
    /// The instances that there may be at the same time; one more is an error.
    pub instances: u32,
    /// The largest memory of an instance, in bytes.
    pub memory_bytes: u64,
    /// How much of a memory is written as it was for the next instance, in bytes. What
    /// was changed beyond that goes back to the kernel.
    pub keep_resident_bytes: usize,
}

/// The settings of a [`Sandbox`](super::Sandbox).
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// What executes the code. Native by default.
    pub engine: EngineKind,
    /// Where compiled code is kept, by component digest and engine settings.
    /// It must be writable by this user only. Nowhere by default.
    pub cache_dir: Option<PathBuf>,
    /// Whether fuel is counted and enforced. True by default; only a benchmark
    /// that wants to know what metering costs turns it off.
    pub metered: bool,
    /// What to do on the deadlines' thread when it starts. Nothing by default.
    pub on_watchdog_start: Option<WatchdogHook>,
    /// A pool of instances. None by default: a small device has neither the addresses
    /// for it, nor memory to keep.
    pub pool: Option<InstancePool>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            engine: EngineKind::Native,
            cache_dir: None,
            metered: true,
            on_watchdog_start: None,
            pool: None,
        }
    }
}

/// The core instances of one component in a pool, each with a table: a module and what
/// tools put around it.
const POOLED_CORE_INSTANCES: u32 = 4;
/// The largest tables of functions and the like that an instance in a pool has: what a
/// model needs is far below, and it is a limit and not what is taken.
const POOLED_CONTEXT_BYTES: usize = 16 << 20;

impl InstancePool {
    /// Whether a component's instances come from it, by the certificate.
    pub(super) fn takes(&self, certificate: &Certificate) -> bool {
        certificate.engine.nan_canonicalization
            && certificate.bound() != Bound::Static
            && certificate.memory_bytes <= self.memory_bytes
    }

    fn strategy(self) -> wasmtime::InstanceAllocationStrategy {
        let mut pool = wasmtime::PoolingAllocationConfig::new();
        let Self { instances, memory_bytes, keep_resident_bytes } = self;
        pool.total_component_instances(instances)
            .total_core_instances(instances.saturating_mul(POOLED_CORE_INSTANCES))
            .max_core_instances_per_component(POOLED_CORE_INSTANCES)
            .max_core_instance_size(POOLED_CONTEXT_BYTES)
            .max_component_instance_size(POOLED_CONTEXT_BYTES)
            .total_memories(instances)
            .max_memories_per_component(1)
            .max_memory_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX))
            .total_tables(instances.saturating_mul(POOLED_CORE_INSTANCES))
            .max_tables_per_component(POOLED_CORE_INSTANCES)
            .max_tables_per_module(1)
            .table_elements(MAX_TABLE_ELEMENTS)
            // Those of one component after the other, and not of all at once.
            .max_unused_warm_slots(instances)
            .linear_memory_keep_resident(keep_resident_bytes)
            .table_keep_resident(keep_resident_bytes)
            // Only pages that were written to are written again, where the kernel can
            // tell them (Linux 6.7).
            .pagemap_scan(wasmtime::Enabled::Auto);
        pool.into()
    }
}

impl SandboxConfig {
    /// The default settings with another engine.
    pub fn with_engine(engine: EngineKind) -> Self {
        Self { engine, ..Self::default() }
    }

    /// An engine. Both switches are the certificate's claims. A pool changes nothing of
    /// the code that is compiled for it.
    pub(super) fn engine(
        &self,
        nan_canonicalization: bool,
        relaxed_simd: bool,
        pool: Option<InstancePool>,
    ) -> wasmtime::Result<wasmtime::Engine> {
        let mut config = wasmtime::Config::new();
        config
            .consume_fuel(self.metered)
            .epoch_interruption(true)
            .wasm_simd(true)
            // Results of relaxed instructions differ between machines: only for
            // components that are built to use them. What is fastest here is then
            // wanted, not what is the same everywhere.
            .wasm_relaxed_simd(relaxed_simd)
            .relaxed_simd_deterministic(false)
            // Off for the compiler's components, which make NaNs canonical at
            // each cut: after every operation it would cost a factor of 2.7.
            .cranelift_nan_canonicalization(nan_canonicalization)
            // What no component of ours needs is no attack surface either.
            .wasm_memory64(false)
            .wasm_multi_memory(false)
            .wasm_tail_call(false)
            .wasm_component_model(true)
            .memory_init_cow(true);
        if cfg!(target_pointer_width = "64") {
            // The default reservation is the whole 4 GiB that a memory can
            // grow to, so that it never moves and its base can be hoisted out
            // of loops.
            config.memory_may_move(false);
        }
        if let Some(pool) = pool {
            config.allocation_strategy(pool.strategy());
        }
        if self.engine == EngineKind::Pulley {
            let little = cfg!(target_endian = "little");
            config.target(match (cfg!(target_pointer_width = "64"), little) {
                (true, true) => "pulley64",
                (true, false) => "pulley64be",
                (false, true) => "pulley32",
                (false, false) => "pulley32be",
            })?;
        }
        wasmtime::Engine::new(&config)
    }
}
