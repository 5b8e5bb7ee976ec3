//! The real-time set-up of a thread on Linux: its CPU, its scheduling class, and
//! memory that is never paged out. The kernel may refuse each; that is reported,
//! and never an error.

use std::fmt;
use std::io;

use rustix::mm::MlockAllFlags;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// What is wanted for the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealTime {
    /// Run on this CPU only.
    pub cpu: Option<usize>,
    /// SCHED_FIFO with this priority, from 1 to 99. A thread that runs longer
    /// than the kernel's real-time budget (`kernel.sched_rt_runtime_us`, by
    /// default 0.95 of every second) is paused while others want the CPU.
    pub priority: Option<u8>,
    /// Keep the whole process's pages in memory once they are touched.
    pub lock_memory: bool,
}

/// What became of one wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Grant {
    /// It was not asked for.
    NotAsked,
    /// It is so.
    Granted,
    /// The kernel refused.
    Refused {
        /// Its reason.
        reason: String,
    },
}

impl Grant {
    fn of(result: Option<io::Result<()>>) -> Self {
        match result {
            None => Grant::NotAsked,
            Some(Ok(())) => Grant::Granted,
            Some(Err(error)) => Grant::Refused { reason: error.to_string() },
        }
    }

    /// Whether it was asked for and granted.
    pub fn is_granted(&self) -> bool {
        *self == Grant::Granted
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::NotAsked => f.write_str("not asked for"),
            Grant::Granted => f.write_str("granted"),
            Grant::Refused { reason } => write!(f, "refused ({reason})"),
        }
    }
}

/// What the kernel granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealTimeReport {
    /// The CPU that was asked for.
    pub cpu: Option<usize>,
    /// Running on that CPU only.
    pub pinned: Grant,
    /// SCHED_FIFO.
    pub scheduling: Grant,
    /// Pages stay in memory.
    pub memory: Grant,
}

impl fmt::Display for RealTimeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cpu {
            Some(cpu) => write!(f, "CPU {cpu} {}", self.pinned)?,
            None => f.write_str("any CPU")?,
        }
        write!(f, ", SCHED_FIFO {}, memory {}", self.scheduling, self.memory)
    }
}

impl RealTime {
    /// The same with the next lower priority: what runs so gives way at once to what runs
    /// as this.
    pub fn below(&self) -> Self {
        let below = |priority: u8| priority.saturating_sub(1).max(1);
        Self { priority: self.priority.map(below), ..*self }
    }

    /// Asks the kernel for it, for the calling thread (and, for memory, its
    /// process).
    pub fn apply(&self) -> RealTimeReport {
        RealTimeReport {
            cpu: self.cpu,
            pinned: Grant::of(self.cpu.map(pin)),
            scheduling: Grant::of(self.priority.map(set_fifo)),
            memory: Grant::of(self.lock_memory.then(lock_memory)),
        }
    }
}

/// The CPUs that the calling thread may run on, in order.
pub fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

/// The CPU that the calling thread is pinned to, if it is to one.
pub fn only_cpu() -> Option<usize> {
    match allowed_cpus()[..] {
        [only] => Some(only),
        _ => None,
    }
}

fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        let text = format!("CPU {cpu} of at most {}", CpuSet::MAX_CPU);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

fn set_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the pointer is to a live, initialised sched_param, which the call
    // only reads; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn lock_memory() -> io::Result<()> {
    // Pages are locked as they are touched: an engine reserves gigabytes of
    // address space that it never uses.
    let mut flags = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    // With a limit, locking what is mapped in future would make a later
    // allocation fail instead of this call.
    if getrlimit(Resource::Memlock).current.is_none() || rustix::process::geteuid().is_root() {
        flags |= MlockAllFlags::FUTURE;
    }
    Ok(rustix::mm::mlockall(flags)?)
}

/// What has happened to the calling thread so far. The difference of two tells
/// what disturbed it in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadUsage {
    /// How often the kernel took the CPU away.
    pub preemptions: u64,
    /// How often the thread gave it up, to wait.
    pub waits: u64,
    /// Faults that waited for a disk.
    pub major_faults: u64,
    /// Nanoseconds on a CPU. Where the hypervisor reports the time that it
    /// steals, that is not in it.
    pub cpu_ns: u64,
    /// The CPU that it is on.
    pub cpu: usize,
}

impl ThreadUsage {
    /// Reads it; zeros where the kernel does not tell.
    pub fn now() -> Self {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to writable memory of the right size.
        let known = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } == 0;
        // SAFETY: all bytes zero is a valid value of this struct of integers,
        // and the call has written nothing else.
        let usage = unsafe { usage.assume_init() };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a writable timespec.
        let timed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } == 0;
        let count = |n: libc::c_long| if known { u64::try_from(n).unwrap_or(0) } else { 0 };
        let ns = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        Self {
            preemptions: count(usage.ru_nivcsw),
            waits: count(usage.ru_nvcsw),
            major_faults: count(usage.ru_majflt),
            cpu_ns: if timed { u64::try_from(ns).unwrap_or(0) } else { 0 },
            cpu: rustix::thread::sched_getcpu(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_so_and_what_is_not_has_a_reason() {
        let cpu = *allowed_cpus().last().expect("a thread runs somewhere");
        let check = move || {
            let wanted = RealTime { cpu: Some(cpu), priority: None, lock_memory: false };
            let report = wanted.apply();
            assert_eq!((&report.scheduling, &report.memory), (&Grant::NotAsked, &Grant::NotAsked));
            assert!(report.pinned.is_granted(), "{}", report.pinned);
            assert_eq!((allowed_cpus(), only_cpu()), (vec![cpu], Some(cpu)));

            let report = RealTime { cpu: Some(usize::MAX), ..wanted }.apply();
            assert!(matches!(report.pinned, Grant::Refused { .. }));
            let report = RealTime { priority: Some(200), ..wanted }.apply();
            assert!(matches!(report.scheduling, Grant::Refused { .. }));
        };
        std::thread::spawn(check).join().unwrap();
    }

    #[test]
    fn time_on_the_cpu_is_counted() {
        let before = ThreadUsage::now();
        let mut x = 1u64;
        while ThreadUsage::now().cpu_ns < before.cpu_ns + 1_000_000 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(ThreadUsage::now().cpu_ns > before.cpu_ns);
    }
}
