//! Power monitors of boards: the hardware monitoring class
//! (Documentation/hwmon/sysfs-interface.rst, ina2xx.rst, ina3221.rst).
//!
//! `powerN_input` is in microwatts, `inN_input` in millivolts, `currN_input` in
//! milliamperes. An INA3221 tells no power: its channels 1 to 3 are a bus voltage
//! and a current each, and what it numbers higher are shunt voltages and a sum.

use std::path::Path;

use super::discover::Found;
use super::sensor::{Domain, Files, Sensor};
use crate::sysfs::{self, Root};

const CLASS: &str = "sys/class/hwmon";

/// Chips that measure a board's supply, by the beginning of their driver's name.
/// What others measure (a graphics card, a battery) is found, and not chosen.
const MONITORS: [&str; 7] = ["ina", "ltc29", "adm12", "adm11", "max16", "isl28", "pac19"];

/// Rails that everything on a board is fed from, as boards' device trees name them.
const INPUTS: [&str; 6] = ["vdd_in", "pom_5v_in", "vin", "vdd_5v_in", "5v_in", "total"];

/// Adds the channels under `root`.
pub(super) fn find(root: &Root, found: &mut Found) {
    for chip in root.names(CLASS, "hwmon") {
        let directory = root.path(CLASS).join(&chip);
        let Some(driver) = root.text(format!("{CLASS}/{chip}/name")) else { continue };
        let files = root.names(format!("{CLASS}/{chip}"), "");
        let has = |name: &str| files.iter().any(|file| file == name);
        let monitor = MONITORS.iter().any(|start| driver.starts_with(start));
        for channel in 1..=8 {
            let power = [format!("power{channel}_input"), format!("power{channel}_average")];
            let (volts, amps) = (format!("in{channel}_input"), format!("curr{channel}_input"));
            let energy = format!("energy{channel}_input");
            let of_chip = if let Some(power) = power.into_iter().find(|name| has(name)) {
                Files::Power { file: directory.join(power) }
            } else if has(&energy) {
                Files::Energy { file: directory.join(energy), range: None }
            } else if monitor && channel <= 3 && has(&volts) && has(&amps) {
                Files::Rail {
                    millivolts: directory.join(volts),
                    milliamperes: directory.join(amps),
                }
            } else {
                continue;
            };
            if is_disabled(&directory, channel) {
                continue;
            }
            let (name, label) = name(found, &driver, &directory, channel);
            let domain = match (monitor, label) {
                (true, Some(label)) if INPUTS.contains(&&*label.to_lowercase()) => Domain::Device,
                (true, _) => Domain::Rail,
                (false, _) => Domain::Part,
            };
            found.add(Sensor { name, domain, files: of_chip });
        }
    }
}

/// A channel that the board's description switches off gives an error when read.
fn is_disabled(directory: &Path, channel: u32) -> bool {
    let switch = |name: &str| {
        sysfs::integer(&directory.join(format!("{name}{channel}_enable"))).is_ok_and(|on| on == 0)
    };
    switch("in") || switch("power")
}

/// A name that no other sensor has, and the label that it is made of.
fn name(found: &Found, driver: &str, directory: &Path, channel: u32) -> (String, Option<String>) {
    let label = ["power", "in", "curr", "energy"].into_iter().find_map(|kind| {
        let label = sysfs::text(&directory.join(format!("{kind}{channel}_label"))).ok()?;
        (!label.is_empty()).then_some(label)
    });
    let plain = match &label {
        Some(label) => format!("{driver}:{label}"),
        None => format!("{driver}:{channel}"),
    };
    let numbered = (2..).map(|number| format!("{plain}#{number}"));
    let mut names = std::iter::once(plain.clone()).chain(numbered);
    let free = names.find(|name| !found.has(name));
    (free.unwrap_or(plain), label)
}
