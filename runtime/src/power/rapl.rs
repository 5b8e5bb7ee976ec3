//! Energy counters of processors: the power capping framework's RAPL zones
//! (Documentation/power/powercap/powercap.rst).
//!
//! A zone's name tells what it counts. `core` and `uncore` are within their
//! package's count and are not added to it; `dram` is listed below its package
//! and is not within its count (Intel SDM 3B, 16.10); `psys` is the whole platform.
//! The same package may be seen a second time through another interface
//! (`intel-rapl-mmio`).

use super::discover::Found;
use super::sensor::{Domain, Files, Sensor};
use crate::sysfs::{self, Root};

const CLASS: &str = "sys/class/powercap";

/// Adds the zones under `root`.
pub(super) fn find(root: &Root, found: &mut Found) {
    let zones = root.names(CLASS, "");
    for zone in zones.iter().filter(|zone| zone.contains("-rapl") && zone.contains(':')) {
        let directory = root.path(CLASS).join(zone);
        let name = match sysfs::text(&directory.join("name")) {
            Ok(name) => name,
            Err(error) => {
                found.problems.push(error);
                continue;
            }
        };
        let parent = zone.rsplit_once(':').map(|(parent, _)| parent);
        let parent = parent.filter(|parent| parent.contains(':'));
        let package = parent.and_then(|parent| root.text(format!("{CLASS}/{parent}/name")));
        let name = match package {
            Some(package) => format!("rapl:{package}/{name}"),
            None => format!("rapl:{name}"),
        };
        let domain = match name.rsplit([':', '/']).next().unwrap_or_default() {
            _ if found.has(&name) => continue,
            "psys" => Domain::Device,
            "dram" => Domain::Processor,
            zone if zone.starts_with("package") => Domain::Processor,
            _ => Domain::Part,
        };
        let range = sysfs::natural(&directory.join("max_energy_range_uj")).ok();
        let files = Files::Energy {
            file: directory.join("energy_uj"),
            range: range.filter(|&range| range > 0),
        };
        found.add(Sensor { name, domain, files });
    }
}
