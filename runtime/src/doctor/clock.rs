//! Clocks: the time of day, which signatures and TLS go by, and the counter that
//! execution times and deadlines are measured with.

use std::time::Duration;

use super::{Finding, Host};
use crate::sysfs::Root;

/// 2026-01-01: this program is not older.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// 2100-01-01.
const LATEST: Duration = Duration::from_secs(4_102_444_800);

pub(super) fn check(root: &Root, host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        host.now.map(|now| time_of_day(root, now)).into_iter().collect();
    findings.push(source(root));
    findings
}

fn time_of_day(root: &Root, now: Duration) -> Finding {
    const CHECK: &str = "time of day";
    let seen = date(now);
    if !(EARLIEST..LATEST).contains(&now) {
        return Finding::failure(
            CHECK,
            format!("{seen}, which cannot be"),
            "certificates of TLS are refused; set the clock (timedatectl set-ntp true), and give \
             the device a real-time clock or a time server",
        );
    }
    let rtc: Option<u64> =
        root.text("sys/class/rtc/rtc0/since_epoch").and_then(|text| text.parse().ok());
    match rtc {
        Some(rtc) if now.as_secs().abs_diff(rtc) > 86_400 => Finding::warning(
            CHECK,
            format!("{seen}, and the real-time clock says {}", date(Duration::from_secs(rtc))),
            "after the next start the time will be wrong; write it with hwclock --systohc, and \
             look at its battery",
        ),
        Some(_) => Finding::ok(CHECK, seen),
        None => {
            let synchronised = root.path("run/systemd/timesync/synchronized").exists();
            let how = if synchronised { "by a time server" } else { "not known to be set" };
            Finding::note(
                CHECK,
                format!("{seen}, no real-time clock, {how}"),
                "after a start without network the time is wrong until a time server answers",
            )
        }
    }
}

fn source(root: &Root) -> Finding {
    const CHECK: &str = "clock source";
    let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    match root.text(path).as_deref() {
        Some(name @ ("hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" | "pit")) => {
            Finding::warning(
                CHECK,
                name,
                "reading it takes microseconds or it is coarse, and so are measured times; \
                 look for what the kernel's log says of the one that it gave up",
            )
        }
        Some(name) => Finding::ok(CHECK, name),
        None => Finding::note(CHECK, "unknown", "sys is not mounted, or not readable"),
    }
}

/// `2026-11-24`, by H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn date(since_1970: Duration) -> String {
    let days = since_1970.as_secs() / 86_400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        let of = |seconds| date(Duration::from_secs(seconds));
        assert_eq!((of(0), of(951_782_400)), ("1970-01-01".into(), "2000-02-29".into()));
        assert_eq!(date(EARLIEST), "2026-01-01");
        assert_eq!(date(LATEST - Duration::from_secs(1)), "2099-12-31");
    }
}
