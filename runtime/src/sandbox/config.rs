//! The sandbox's settings, and the engine that they make.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { engine: EngineKind::Native, cache_dir: None, metered: true, on_watchdog_start: None }
    }
}

impl SandboxConfig {
    /// The default settings with another engine.
    pub fn with_engine(engine: EngineKind) -> Self {
        Self { engine, ..Self::default() }
    }

    /// An engine. Both switches are the certificate's claims.
    pub(super) fn engine(
        &self,
        nan_canonicalization: bool,
        relaxed_simd: bool,
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
