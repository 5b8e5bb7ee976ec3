//! What the kernel will grant to this process: real-time priority, locked memory,
//! the processor's time (getrlimit(2), capabilities(7), sched(7)).

use super::Finding;
use crate::sysfs::Root;

const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;

pub(super) fn check(root: &Root) -> Vec<Finding> {
    let limits = root.text("proc/self/limits").unwrap_or_default();
    let capabilities = capabilities(root);
    vec![
        priority(limit(&limits, "Max realtime priority"), capabilities),
        memory(limit(&limits, "Max locked memory"), capabilities),
        budget(root),
    ]
}

fn capabilities(root: &Root) -> u64 {
    let status = root.text("proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn has(capabilities: u64, capability: u32) -> bool {
    capabilities >> capability & 1 == 1
}

/// The soft limit of a line; `u64::MAX` where there is none.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn priority(limit: Option<u64>, capabilities: u64) -> Finding {
    const CHECK: &str = "real-time priority";
    let advice = "SCHED_FIFO will be refused, and any process may delay a model; give \
                  LimitRTPRIO=50 in the service's unit, or `rtprio 50` in \
                  /etc/security/limits.d, or CAP_SYS_NICE";
    match limit {
        _ if has(capabilities, CAP_SYS_NICE) => Finding::ok(CHECK, "granted by CAP_SYS_NICE"),
        Some(highest) if highest > 0 => Finding::ok(CHECK, format!("up to {highest}")),
        Some(_) => Finding::warning(CHECK, "none (RLIMIT_RTPRIO is 0)", advice),
        None => Finding::note(CHECK, "unknown", "proc is not mounted, or not readable"),
    }
}

/// A sandbox with a few models; the engine's address space is locked as it is
/// touched only.
const LOCKED_BYTES: u64 = 256 << 20;

fn memory(limit: Option<u64>, capabilities: u64) -> Finding {
    const CHECK: &str = "locked memory";
    let advice = "a page that was swapped out, or dropped from the page cache, delays a model by \
                  a disk's access; give LimitMEMLOCK=infinity in the service's unit, `memlock \
                  unlimited` in /etc/security/limits.d, or CAP_IPC_LOCK";
    match limit {
        _ if has(capabilities, CAP_IPC_LOCK) => Finding::ok(CHECK, "granted by CAP_IPC_LOCK"),
        Some(u64::MAX) => Finding::ok(CHECK, "unlimited"),
        Some(bytes) if bytes >= LOCKED_BYTES => {
            Finding::ok(CHECK, format!("up to {} MB", bytes / 1_000_000))
        }
        Some(bytes) => {
            Finding::warning(CHECK, format!("up to {} MB only", bytes / 1_000_000), advice)
        }
        None => Finding::note(CHECK, "unknown", "proc is not mounted, or not readable"),
    }
}

fn budget(root: &Root) -> Finding {
    const CHECK: &str = "real-time budget";
    let number =
        |name: &str| -> Option<i64> { root.text(format!("proc/sys/kernel/{name}"))?.parse().ok() };
    match (number("sched_rt_runtime_us"), number("sched_rt_period_us")) {
        (Some(runtime), _) if runtime < 0 => Finding::note(
            CHECK,
            "unlimited (kernel.sched_rt_runtime_us is -1)",
            "a real-time thread that never ends stops all others on its core; Leeway's are \
             stopped at their deadlines, others' may not be",
        ),
        (Some(runtime), Some(period)) if period > 0 => {
            Finding::ok(CHECK, format!("{} % of each core", 100 * runtime / period))
        }
        _ => Finding::note(CHECK, "unknown", "proc is not mounted, or not readable"),
    }
}
