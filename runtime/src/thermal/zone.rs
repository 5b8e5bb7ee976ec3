//! Thermal zones: Documentation/ABI/testing/sysfs-class-thermal.

use std::path::PathBuf;

use serde::Serialize;

use crate::sysfs::{self, Root, SysfsError};

const CLASS: &str = "sys/class/thermal";

/// What no sensor near a processor shows. Kernels use -274 °C for "not known", and
/// some drivers 0xffff of something.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = -60_000..=200_000;

/// A sensor of the kernel's thermal management.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its directory's name.
    pub name: String,
    /// What it measures, as its driver calls it.
    pub kind: String,
    /// Where the kernel acts, by ascending temperature.
    pub trips: Vec<Trip>,
    file: PathBuf,
}

/// A temperature at which the kernel does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Trip {
    /// What it does.
    pub kind: TripKind,
    /// In thousandths of a degree Celsius.
    pub millidegrees: i64,
}

/// What the kernel does at a trip point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TripKind {
    /// It turns a fan on.
    Active,
    /// It slows the processor down.
    Passive,
    /// It warns.
    Hot,
    /// It switches the machine off.
    Critical,
}

impl TripKind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "active" => TripKind::Active,
            "passive" => TripKind::Passive,
            "hot" => TripKind::Hot,
            "critical" => TripKind::Critical,
            _ => return None,
        })
    }
}

impl Zone {
    /// The zones under `root`.
    pub fn all(root: &Root) -> Vec<Zone> {
        let zone = |name: String| {
            let directory = format!("{CLASS}/{name}");
            let kind = root.text(format!("{directory}/type")).unwrap_or_else(|| "unknown".into());
            let file = root.path(&directory).join("temp");
            Zone { trips: trips(root, &directory), kind, file, name }
        };
        root.names(CLASS, "thermal_zone").into_iter().map(zone).collect()
    }

    /// Its temperature, in thousandths of a degree Celsius.
    pub fn millidegrees(&self) -> Result<i64, SysfsError> {
        sysfs::integer_within(&self.file, PLAUSIBLE, "thousandths of a degree from -60 to 200 °C")
    }
}

fn trips(root: &Root, directory: &str) -> Vec<Trip> {
    let trip = |name: String| {
        let stem = name.strip_suffix("_type")?;
        let file = root.path(format!("{directory}/{stem}_temp"));
        let kind = TripKind::parse(&root.text(format!("{directory}/{name}"))?)?;
        let millidegrees = sysfs::integer_within(&file, PLAUSIBLE, "a temperature").ok()?;
        // A trip point at or below freezing is one that nobody has set.
        (millidegrees > 0).then_some(Trip { kind, millidegrees })
    };
    let names = root.names(directory, "trip_point_").into_iter();
    let mut trips: Vec<Trip> = names.filter_map(trip).collect();
    trips.sort_by_key(|trip| trip.millidegrees);
    trips
}

/// The hottest zone that can be read, and why others cannot.
pub fn hottest(zones: &[Zone]) -> (Option<(&Zone, i64)>, Vec<SysfsError>) {
    let (mut hottest, mut problems) = (None, Vec::new());
    for zone in zones {
        match zone.millidegrees() {
            Ok(seen) if hottest.is_none_or(|(_, most)| seen > most) => hottest = Some((zone, seen)),
            Ok(_) => {}
            Err(error) => problems.push(error),
        }
    }
    (hottest, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{JETSON_ORIN, Tree, X86_LAPTOP};

    #[test]
    fn the_hottest_zone_counts_and_one_that_cannot_be_read_is_told() {
        let tree = Tree::parse(JETSON_ORIN);
        let zones = Zone::all(&tree.root());
        let kinds: Vec<&str> = zones.iter().map(|zone| &*zone.kind).collect();
        assert_eq!(kinds, ["cpu-thermal", "gpu-thermal", "cv0-thermal", "tj-thermal"]);
        let (hottest, problems) = hottest(&zones);
        let (zone, millidegrees) = hottest.unwrap();
        assert_eq!((&*zone.kind, millidegrees), ("tj-thermal", 50_375));
        assert!(problems.len() == 1 && problems[0].is_missing(), "{problems:?}");
        let kinds: Vec<TripKind> = zones[0].trips.iter().map(|trip| trip.kind).collect();
        assert_eq!(kinds, [TripKind::Passive, TripKind::Hot, TripKind::Critical]);
    }

    #[test]
    fn temperatures_that_cannot_be_are_errors_and_unset_trips_are_none() {
        let tree = Tree::parse(X86_LAPTOP);
        let zones = Zone::all(&tree.root());
        assert!(zones[1].trips.is_empty() && zones[0].trips.len() == 1);
        for broken in ["-274000\n", "4294967295\n", "N/A\n", ""] {
            tree.write("sys/class/thermal/thermal_zone1/temp", broken);
            assert!(zones[1].millidegrees().is_err(), "{broken}");
        }
        tree.write("sys/class/thermal/thermal_zone1/temp", "-12000\n");
        assert_eq!(zones[1].millidegrees().unwrap(), -12_000);
        tree.remove("sys/class/thermal");
        assert!(hottest(&zones).0.is_none() && Zone::all(&tree.root()).is_empty());
    }
}
