//! The processor: what executes WebAssembly on it, its cores, its clock.

use super::{Finding, Host};
use crate::sysfs::Root;
use crate::thermal::Frequency;

pub(super) fn check(root: &Root, host: &Host) -> Vec<Finding> {
    let mut findings = vec![engine(root, host), cores(root)];
    let frequency = Frequency::read(root, first_core(root));
    findings.push(clock(&frequency));
    findings.extend(throttling(&frequency));
    findings
}

/// The words of the lines `flags` (x86) or `Features` (ARM), or of the ISA string
/// (RISC-V), of the first processor.
fn features(root: &Root) -> Vec<String> {
    let info = root.text("proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| {
        let (name, words) = line.split_once(':')?;
        ["flags", "Features", "isa"].contains(&name.trim()).then_some(words)
    });
    let words = line.unwrap_or_default().split([' ', '_']);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// By wasmtime's table of tiers, and what its Cranelift wants for vectors.
fn engine(root: &Root, host: &Host) -> Finding {
    const CHECK: &str = "engine";
    let architecture = root.text("proc/sys/kernel/arch").unwrap_or(host.architecture.clone());
    let features = features(root);
    let has = |name: &str| features.iter().any(|feature| feature == name);
    match &*architecture {
        "x86_64" => {
            let lacks: Vec<&str> = ["ssse3", "avx"].into_iter().filter(|name| !has(name)).collect();
            let seen = "native code, x86-64 (tier 1 of wasmtime)";
            match &lacks[..] {
                [] => Finding::ok(CHECK, format!("{seen}, vectors by AVX")),
                lacks => Finding::warning(
                    CHECK,
                    format!("{seen}, without {}", lacks.join(", ")),
                    "vector instructions are replaced by slower ones; calibrate on this machine, \
                     and not on a newer one",
                ),
            }
        }
        "aarch64" if features.is_empty() || has("asimd") => {
            Finding::ok(CHECK, "native code, aarch64 (tier 2 of wasmtime), vectors by NEON")
        }
        "riscv64" | "s390x" | "aarch64" => Finding::warning(
            CHECK,
            format!("native code, {architecture}"),
            "Leeway is not tested on it; models need vector instructions (on RISC-V the V \
             extension): `leeway run` says whether it has them",
        ),
        "unknown" => Finding::note(CHECK, "unknown processor", "run `leeway doctor` on the device"),
        other => Finding::warning(
            CHECK,
            format!("the Pulley interpreter, as there is no native code for {other}"),
            "the same results at about a hundredth of the speed; on a 64-bit processor install a \
             64-bit system",
        ),
    }
}

/// The first number of a list of CPUs.
fn first_core(root: &Root) -> usize {
    list(root, "Cpus_allowed_list:").first().copied().unwrap_or(0)
}

/// The CPUs that this process may run on.
fn list(root: &Root, name: &str) -> Vec<usize> {
    let status = root.text("proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let ranges = line.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        // No machine has more, and a broken file must not fill the memory.
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?.min(4_096))
    });
    ranges.flatten().collect()
}

fn cores(root: &Root) -> Finding {
    const CHECK: &str = "cores";
    match list(root, "Cpus_allowed_list:").len() {
        0 => Finding::note(CHECK, "unknown", "proc is not mounted, or not readable"),
        1 => Finding::note(
            CHECK,
            "one",
            "models share it with everything else; with SCHED_FIFO they come first",
        ),
        cores => Finding::ok(CHECK, format!("{cores}")),
    }
}

fn clock(frequency: &Frequency) -> Finding {
    const CHECK: &str = "clock frequency";
    let mhz = |khz: u64| khz / 1_000;
    match (frequency.governor.as_deref(), frequency.limits_khz) {
        (Some(governor), Some([low, high])) if governor == "performance" || low == high => {
            Finding::ok(CHECK, format!("{governor}, {} MHz", mhz(high)))
        }
        (Some(governor), limits) => {
            let limits = limits.map(|[low, high]| format!(", {} to {} MHz", mhz(low), mhz(high)));
            Finding::warning(
                CHECK,
                format!("{governor}{}", limits.unwrap_or_default()),
                "a model that follows a pause runs at a low clock, and what can be promised is \
                 as of that; write `performance` to \
                 /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor before calibrating",
            )
        }
        (None, _) => Finding::note(
            CHECK,
            "the kernel does not tell it",
            "on a virtual machine the host's is used; a change of the clock cannot be seen, and \
             does not invalidate a calibration",
        ),
    }
}

fn throttling(frequency: &Frequency) -> Vec<Finding> {
    let throttling = frequency.throttling;
    let mut findings = Vec::new();
    if throttling.under_voltage == Some(true) {
        findings.push(Finding::failure(
            "supply voltage",
            "too low",
            "the firmware slows the processor down and it may crash; use a stronger power supply \
             and a shorter cable",
        ));
    }
    if throttling.now == Some(true) {
        findings.push(Finding::warning(
            "throttling",
            "the processor is being slowed down",
            "cool it, and calibrate again; a calibration made now holds for the throttled clock",
        ));
    } else if let Some(count) = throttling.count.filter(|&count| count > 0) {
        findings.push(Finding::note(
            "throttling",
            format!("{count} times since the start"),
            "if it happens under Leeway's load, cool it better",
        ));
    }
    findings
}
