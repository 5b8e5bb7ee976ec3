//! The kernel: its release, how soon it lets a real-time thread run, its timers.

use std::io::Read as _;

use super::Finding;
use crate::sysfs::Root;

/// The oldest line that is still maintained by the kernel's developers.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn check(root: &Root) -> Vec<Finding> {
    let release = root.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let config = config(root, &release);
    let mut findings = vec![version(&release), preemption(root, config.as_deref())];
    findings.extend(timers(config.as_deref()));
    findings
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            Finding::ok("kernel", release)
        }
        (Some(Ok(_)), Some(Ok(_))) => Finding::warning(
            "kernel",
            release,
            "the oldest line that gets security fixes is 5.10; update the kernel",
        ),
        _ => Finding::note("kernel", "unknown release", "proc is not mounted, or not readable"),
    }
}

/// The configuration that the kernel was built with, where it tells it.
fn config(root: &Root, release: &str) -> Option<String> {
    let mut text = String::new();
    let packed = std::fs::File::open(root.path("proc/config.gz")).ok();
    let unpacked = packed.and_then(|file| {
        // A configuration has some hundred kilobytes.
        flate2::read::GzDecoder::new(file).take(16 << 20).read_to_string(&mut text).ok()
    });
    if unpacked.is_some() {
        return Some(text);
    }
    let places = [format!("boot/config-{release}"), format!("lib/modules/{release}/config")];
    places.iter().find_map(|place| root.text(place))
}

fn is_set(config: &str, option: &str) -> bool {
    config.lines().any(|line| line.strip_prefix(option) == Some("=y"))
}

fn preemption(root: &Root, config: Option<&str>) -> Finding {
    let version = root.text("proc/version").unwrap_or_default();
    let real_time = root.text("sys/kernel/realtime").is_some_and(|text| text == "1")
        || version.contains("PREEMPT_RT")
        || config.is_some_and(|config| is_set(config, "CONFIG_PREEMPT_RT"));
    if real_time {
        return Finding::ok("preemption", "PREEMPT_RT");
    }
    let name = ["PREEMPT_DYNAMIC", "PREEMPT"].into_iter().find(|name| version.contains(name));
    Finding::note(
        "preemption",
        format!("{}, no PREEMPT_RT", name.unwrap_or("unknown")),
        "interrupt handlers may delay a model by milliseconds, which calibration sees if they do \
         so then; for shorter deadlines install a kernel with PREEMPT_RT (linux-image-rt)",
    )
}

fn timers(config: Option<&str>) -> Vec<Finding> {
    let Some(config) = config else {
        let places = "CONFIG_IKCONFIG_PROC makes it readable";
        return vec![Finding::note("timers", "the kernel does not tell its configuration", places)];
    };
    let timers = match is_set(config, "CONFIG_HIGH_RES_TIMERS") {
        true => Finding::ok("timers", "high resolution"),
        false => Finding::warning(
            "timers",
            "as coarse as the kernel's tick",
            "a deadline is enforced up to 10 ms late; build the kernel with CONFIG_HIGH_RES_TIMERS",
        ),
    };
    let mut findings = vec![timers];
    if is_set(config, "CONFIG_RT_GROUP_SCHED") {
        findings.push(Finding::note(
            "real-time groups",
            "CONFIG_RT_GROUP_SCHED is set",
            "in a control group SCHED_FIFO is refused until cpu.rt_runtime_us gives it a share",
        ));
    }
    findings
}
