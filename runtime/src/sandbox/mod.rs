//! The sandbox: loads a component, checks it against its certificate, compiles
//! it, and runs ranges of its stages with the fuel, the memory and the time
//! that it was certified for.
//!
//! It gives a component nothing: no imports, no clock, no files, no network.
//! Everything that is claimed of a component is checked before it is compiled
//! or on its first instance, and what can be exceeded at run time (fuel,
//! memory, wall clock) is enforced at run time as well.
//!
//! ```no_run
//! use leeway_runtime::sandbox::{Limits, Sandbox, SandboxConfig};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let inputs = vec![];
//! let sandbox = Sandbox::new(SandboxConfig::default())?;
//! let module = sandbox.load_file("model.wasm")?;
//! let mut instance = module.instantiate()?;
//! let last = module.certificate().last_stage();
//! let execution = instance.run(0..=last, &inputs, &Limits::default())?;
//! println!("{} units of fuel, {:?}", execution.fuel, execution.elapsed);
//! # Ok(()) }
//! ```

mod abi;
mod cache;
mod check;
mod config;
mod engine;
mod error;
mod instance;
mod interrupt;
mod memory;
mod module;
pub mod profile;
mod watchdog;

pub use config::{EngineKind, InstancePool, ParseEngineKindError, SandboxConfig, WatchdogHook};
pub use engine::Sandbox;
pub use error::{Frame, GuestError, LoadError, RunError, SandboxError};
pub use instance::{Execution, Instance, Limits};
pub use interrupt::Interrupt;
pub use module::Module;

#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod tests;
