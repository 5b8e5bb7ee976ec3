//! All checks on recorded machines, broken ones, and this one.

use super::*;
use crate::recorded::{JETSON_ORIN, RASPBERRY_PI_4, Tree, X86_LAPTOP};

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn host() -> Host {
    let data = "/var/lib/leeway".into();
    Host { architecture: "unknown".into(), data, free_bytes: Some(1 << 33), now: Some(NOW) }
}

fn examine_tree(tree: &Tree) -> Vec<Finding> {
    examine(&tree.root(), &host())
}

fn of<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("no {check} in {findings:#?}"))
}

/// The checks of a severity, in order.
fn checks(findings: &[Finding], severity: Severity) -> Vec<&str> {
    let of = findings.iter().filter(|finding| finding.severity == severity);
    of.map(|finding| finding.check).collect()
}

#[test]
fn a_jetson_that_is_set_up_has_nothing_to_warn_of() {
    let findings = examine_tree(&Tree::parse(JETSON_ORIN));
    assert_eq!(checks(&findings, Severity::Failure), [""; 0], "{findings:#?}");
    assert_eq!(checks(&findings, Severity::Warning), [""; 0], "{findings:#?}");
    assert_eq!(of(&findings, "preemption").seen, "PREEMPT_RT");
    assert_eq!(of(&findings, "power").seen, "ina3221:VDD_IN, measures the whole device");
    assert_eq!(of(&findings, "temperature").seen, "50 °C (tj-thermal), limits 88 and 98 °C");
    assert!(of(&findings, "engine").seen.contains("tier 2"));
}

#[test]
fn a_raspberry_pi_as_installed_is_told_what_to_set() {
    let tree = Tree::parse(RASPBERRY_PI_4);
    let findings = examine_tree(&tree);
    let warnings = ["real-time priority", "clock frequency"];
    assert_eq!(checks(&findings, Severity::Warning), warnings, "{findings:#?}");
    assert!(of(&findings, "real-time priority").advice.as_ref().unwrap().contains("LimitRTPRIO"));
    assert_eq!(of(&findings, "clock frequency").seen, "ondemand, 600 to 1800 MHz");
    assert_eq!(of(&findings, "power").severity, Severity::Note);
    assert_eq!(of(&findings, "locked memory").severity, Severity::Ok);

    tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    tree.write("sys/class/thermal/thermal_zone0/temp", "85500\n");
    let findings = examine_tree(&tree);
    assert_eq!(checks(&findings, Severity::Failure), ["supply voltage", "temperature"]);
    assert_eq!(of(&findings, "throttling").severity, Severity::Warning);
}

#[test]
fn a_laptop_has_a_configuration_and_counts_throttling() {
    let tree = Tree::parse(X86_LAPTOP);
    let findings = examine_tree(&tree);
    let warnings = ["real-time priority", "locked memory", "clock frequency"];
    assert_eq!(checks(&findings, Severity::Warning), warnings, "{findings:#?}");
    assert_eq!(of(&findings, "timers").seen, "high resolution");
    assert_eq!(of(&findings, "throttling").seen, "40 times since the start");
    assert_eq!(of(&findings, "file system").seen, "btrfs at /var/lib/leeway");
    // In /tmp, nothing is kept.
    let host = Host { data: "/tmp/leeway".into(), ..host() };
    let findings = examine(&tree.root(), &host);
    assert_eq!(of(&findings, "file system").severity, Severity::Warning);
}

#[test]
fn a_machine_without_anything_is_noted_and_never_a_panic() {
    let host = Host { free_bytes: Some(0), now: Some(Duration::from_secs(5)), ..host() };
    let findings = examine(&Tree::parse("").root(), &host);
    assert_eq!(checks(&findings, Severity::Failure), ["disk space", "time of day"]);
    assert!(of(&findings, "time of day").seen.starts_with("1970-01-01"));
    for finding in &findings {
        assert!(finding.severity == Severity::Ok || finding.advice.is_some(), "{finding:?}");
    }
    assert_eq!(
        checks(
            &examine(&Tree::parse("").root(), &Host::recorded(Path::new("/"))),
            Severity::Failure
        ),
        [""; 0]
    );
}

#[test]
fn garbage_in_every_file_is_no_panic() {
    for text in ["", "\0\u{fffd}", "-1", "99999999999999999999999", "a-b,c: d - e", "0-99999999"] {
        for board in [RASPBERRY_PI_4, JETSON_ORIN, X86_LAPTOP] {
            let broken: String = board
                .lines()
                .filter(|line| line.starts_with("== "))
                .map(|line| format!("{line}\n{text}\n"))
                .collect();
            assert!(!examine_tree(&Tree::parse(&broken)).is_empty());
            let files = broken.lines().filter_map(|line| line.strip_prefix("== "));
            let tree = Tree::parse(board);
            files.for_each(|file| tree.break_file(file));
            assert!(!examine_tree(&tree).is_empty());
        }
    }
}

#[test]
fn a_packed_configuration_is_read() {
    use std::io::Write as _;
    let tree = Tree::parse("== proc/sys/kernel/osrelease\n4.19.0\n");
    let file = std::fs::File::create(tree.root().path("proc/config.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(b"CONFIG_HZ_100=y\nCONFIG_RT_GROUP_SCHED=y\n").unwrap();
    packed.finish().unwrap();
    let findings = examine_tree(&tree);
    assert_eq!(of(&findings, "timers").severity, Severity::Warning);
    assert_eq!(of(&findings, "kernel").severity, Severity::Warning);
    assert_eq!(of(&findings, "real-time groups").severity, Severity::Note);
}

#[test]
fn this_machine_is_examined_and_can_keep_data() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("not/there/yet");
    let findings = examine(&Root::default(), &Host::of_this_machine(&data));
    assert!(findings.len() >= 14, "{findings:#?}");
    assert_eq!(of(&findings, "kernel").severity, Severity::Ok);
    assert_ne!(of(&findings, "engine").severity, Severity::Failure);
    assert_ne!(of(&findings, "time of day").severity, Severity::Failure);
}
