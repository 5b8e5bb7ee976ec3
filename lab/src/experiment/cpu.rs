//! Which core is the device and which the fog host.

use leeway_runtime::realtime::{RealTime, allowed_cpus};

use super::ExperimentError;

/// The cores of the two machines that one machine plays; `None` where it is not
/// known which there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpus {
    pub device: Option<usize>,
    pub fog: Option<usize>,
}

impl Cpus {
    /// The last core for the device, as the kernel gives most of its own work to
    /// the first, and the one before it for the fog host; the same one twice on a
    /// machine that has only one.
    pub fn choose() -> Self {
        let allowed = allowed_cpus();
        let device = allowed.last().copied();
        let fog = allowed.iter().rev().nth(1).copied().or(device);
        Self { device, fog }
    }
}

/// Calls `start` on a thread that is pinned to `cpu`. Threads that it starts are
/// pinned with it.
pub(super) fn on<T: Send, E: Send + Into<ExperimentError>>(
    cpu: Option<usize>,
    start: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, ExperimentError> {
    std::thread::scope(|scope| {
        let pinned = || {
            // Not granted: it runs where the kernel puts it.
            RealTime { cpu, ..RealTime::default() }.apply();
            start().map_err(Into::into)
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, pinned);
        let thread = thread.map_err(ExperimentError::Thread)?;
        thread.join().unwrap_or(Err(ExperimentError::DevicePanicked))
    })
}

/// The processor, as the kernel names it.
pub(super) fn model_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    // x86 has the one, many ARM boards the other.
    named("model name").or_else(|| named("Model")).unwrap_or_else(|| "unknown".into())
}
