//! One measured run, and what disturbed it.

use serde::{Deserialize, Serialize};

use crate::realtime::ThreadUsage;

/// A run is disturbed when it was off the CPU for more than this part of it and
/// more than this time: what the two clock readings themselves differ by.
const OFF_CPU_PART: u64 = 50;
const OFF_CPU_NS: u64 = 20_000;

/// What took part of a run's time and is not the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The kernel gave the CPU to another thread.
    Preempted,
    /// The thread waited for something.
    Waited,
    /// It ended on another CPU than it began on.
    Migrated,
    /// It waited for a page from a disk.
    MajorFault,
    /// It was off its CPU for a noticeable time: an interrupt, or the hypervisor
    /// where that tells.
    OffCpu,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 5] =
        [Cause::Preempted, Cause::Waited, Cause::Migrated, Cause::MajorFault, Cause::OffCpu];

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Cause::Preempted => "preempted",
            Cause::Waited => "waited",
            Cause::Migrated => "migrated",
            Cause::MajorFault => "paged in",
            Cause::OffCpu => "off the CPU",
        }
    }

    /// What disturbed a run that took `wall_ns` between two readings.
    pub(crate) fn between(before: ThreadUsage, after: ThreadUsage, wall_ns: u64) -> Vec<Cause> {
        let on_cpu = after.cpu_ns.saturating_sub(before.cpu_ns);
        let off_cpu = if after.cpu_ns == 0 { 0 } else { wall_ns.saturating_sub(on_cpu) };
        let seen = |cause: &Cause| match cause {
            Cause::Preempted => after.preemptions > before.preemptions,
            Cause::Waited => after.waits > before.waits,
            Cause::Migrated => after.cpu != before.cpu,
            Cause::MajorFault => after.major_faults > before.major_faults,
            Cause::OffCpu => off_cpu > OFF_CPU_NS.max(wall_ns / OFF_CPU_PART),
        };
        Cause::ALL.into_iter().filter(seen).collect()
    }
}

/// One measured run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSample {
    /// Index of the input in the validation set.
    pub input: usize,
    /// Execution time in nanoseconds.
    pub ns: u64,
    /// What disturbed it; empty for an undisturbed run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
}

impl RunSample {
    /// Whether something other than the model took part of the time.
    pub fn disturbed(&self) -> bool {
        !self.causes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_disturbs_is_seen_and_named() {
        let before =
            ThreadUsage { preemptions: 1, waits: 3, major_faults: 1, cpu_ns: 1_000, cpu: 2 };
        let after = |cpu_ns| ThreadUsage { cpu_ns, ..before };
        let causes = |after| Cause::between(before, after, 1_000_000);
        assert_eq!(causes(after(1_000_000)), []);
        assert_eq!(Cause::between(before, after(1_000_000), 1_100_000), [Cause::OffCpu]);
        let on = after(1_000_000);
        assert_eq!(causes(ThreadUsage { preemptions: 2, ..on }), [Cause::Preempted]);
        assert_eq!(causes(ThreadUsage { waits: 4, ..on }), [Cause::Waited]);
        assert_eq!(causes(ThreadUsage { major_faults: 2, ..on }), [Cause::MajorFault]);
        assert_eq!(causes(ThreadUsage { cpu: 3, ..on }), [Cause::Migrated]);
        // Where the kernel does not tell the time on the CPU, nothing is made up.
        assert_eq!(causes(after(0)), []);
    }
}
