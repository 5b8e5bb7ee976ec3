//! One sensor of power or energy, and how it is read: units by the kernel's ABI
//! (Documentation/ABI/testing: sysfs-class-powercap, sysfs-class-hwmon,
//! sysfs-class-power).

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sysfs::{self, SysfsError};

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// The whole device: its power input, or its battery while it discharges.
    Device,
    /// A processor package, or memory that is counted beside it.
    Processor,
    /// One of the rails that a board's power monitors measure.
    Rail,
    /// A part of what another sensor measures, or something that is not known.
    Part,
}

/// A sensor that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// Its name, which no other has: `ina3221:VDD_IN`, `rapl:package-0`.
    pub name: String,
    /// What it measures.
    pub domain: Domain,
    pub(super) files: Files,
}

/// The files of a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// Microjoules that have been used, from 0 to `range` and again from 0.
    Energy { file: PathBuf, range: Option<u64> },
    /// Microwatts.
    Power { file: PathBuf },
    /// Millivolts and milliamperes.
    Rail { millivolts: PathBuf, milliamperes: PathBuf },
    /// A battery: microwatts, or microvolts and microamperes, while it discharges.
    Battery { directory: PathBuf },
}

/// What a sensor said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// Microjoules so far.
    Counter {
        /// The count.
        microjoules: u64,
        /// The highest count, after which comes 0, where that is known.
        range: Option<u64>,
    },
    /// The power at the moment.
    Watts(f64),
}

impl Sensor {
    /// Whether it counts energy, and not the power at the moment.
    pub fn is_counter(&self) -> bool {
        matches!(self.files, Files::Energy { .. })
    }

    /// Reads it.
    pub fn sample(&self) -> Result<Sample, SysfsError> {
        match &self.files {
            Files::Energy { file, range } => {
                Ok(Sample::Counter { microjoules: sysfs::natural(file)?, range: *range })
            }
            Files::Power { file } => Ok(Sample::Watts(not_negative(file)? * 1e-6)),
            Files::Rail { millivolts, milliamperes } => {
                Ok(Sample::Watts(not_negative(millivolts)? * not_negative(milliamperes)? * 1e-6))
            }
            Files::Battery { directory } => battery(directory),
        }
    }
}

impl fmt::Display for Sensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A power monitor that sees current flow backwards has its shunt wired the
/// other way round, and what it says of the device is not known.
fn not_negative(file: &std::path::Path) -> Result<f64, SysfsError> {
    Ok(sysfs::integer_within(file, 0..=i64::MAX, "a measurement from 0")? as f64)
}

/// Drivers differ in the sign of a discharging battery's current and power.
fn battery(directory: &std::path::Path) -> Result<Sample, SysfsError> {
    let status = directory.join("status");
    let seen = sysfs::text(&status)?;
    if seen != "Discharging" {
        // What the device takes comes from its charger, past the battery.
        let wanted = "\"Discharging\": a battery tells the device's power only then";
        return Err(SysfsError::Value { path: status, seen, wanted });
    }
    let micro = |name| Ok(sysfs::integer(&directory.join(name))?.unsigned_abs() as f64 * 1e-6);
    match micro("power_now") {
        Err(SysfsError::Read { .. }) => {
            Ok(Sample::Watts(micro("voltage_now")? * micro("current_now")?))
        }
        watts => watts.map(Sample::Watts),
    }
}
