//! Which sensors there are, and which of them together measure the device once.

use crate::sysfs::{self, Root, SysfsError};

use super::sensor::{Domain, Files, Sensor};
use super::{hwmon, rapl};

const SUPPLIES: &str = "sys/class/power_supply";

/// What was looked for and found.
#[derive(Debug, Default)]
pub struct Found {
    /// Sensors that could be read.
    pub sensors: Vec<Sensor>,
    /// What could not: a sensor that is there and gives no value.
    pub problems: Vec<SysfsError>,
}

/// Sensors that do not count anything twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The sensors; their sum is what is measured.
    pub sensors: Vec<Sensor>,
    /// Of what.
    pub domain: Domain,
}

/// Why sensors that were asked for are not to be had.
#[derive(Debug, thiserror::Error)]
#[error("there is no power sensor {wanted:?}; there {}", list(known))]
pub struct NoSuchSensor {
    /// The name asked for.
    pub wanted: String,
    /// The names that there are.
    pub known: Vec<String>,
}

fn list(known: &[String]) -> String {
    match known {
        [] => "are none".to_owned(),
        known => format!("are {}", known.join(", ")),
    }
}

impl Found {
    /// Looks for sensors under `root`, and reads each once.
    pub fn under(root: &Root) -> Self {
        let mut found = Self::default();
        hwmon::find(root, &mut found);
        rapl::find(root, &mut found);
        batteries(root, &mut found);
        found
    }

    /// Whether there is a sensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.sensors.iter().any(|sensor| sensor.name == name)
    }

    /// Adds a sensor if it gives a value.
    pub(super) fn add(&mut self, sensor: Sensor) {
        match sensor.sample() {
            Ok(_) => self.sensors.push(sensor),
            Err(error) => self.problems.push(error),
        }
    }

    fn of(&self, domain: Domain) -> impl Iterator<Item = &Sensor> {
        self.sensors.iter().filter(move |sensor| sensor.domain == domain)
    }

    /// The sensors that measure most of the device, each part once: its input;
    /// else its board's rails; else its processors. `None` where there is none of
    /// these.
    pub fn choose(&self) -> Option<Chosen> {
        if let Some(input) = self.of(Domain::Device).next() {
            return Some(Chosen { sensors: vec![input.clone()], domain: Domain::Device });
        }
        [Domain::Rail, Domain::Processor].into_iter().find_map(|domain| {
            let sensors: Vec<Sensor> = self.of(domain).cloned().collect();
            (!sensors.is_empty()).then_some(Chosen { sensors, domain })
        })
    }

    /// The sensors of these names, whatever they count twice.
    pub fn named(&self, names: &[String]) -> Result<Chosen, NoSuchSensor> {
        let sensor = |name: &String| {
            let sensor = self.sensors.iter().find(|sensor| sensor.name == *name);
            sensor.cloned().ok_or_else(|| NoSuchSensor {
                wanted: name.clone(),
                known: self.sensors.iter().map(|sensor| sensor.name.clone()).collect(),
            })
        };
        let sensors: Vec<Sensor> = names.iter().map(sensor).collect::<Result<_, _>>()?;
        let domain = match &sensors[..] {
            [only] => only.domain,
            _ => Domain::Part,
        };
        Ok(Chosen { sensors, domain })
    }
}

/// A battery measures the device while it discharges.
fn batteries(root: &Root, found: &mut Found) {
    for supply in root.names(SUPPLIES, "") {
        let file = |name: &str| root.text(format!("{SUPPLIES}/{supply}/{name}"));
        // One of scope `Device` is that of a mouse or a pen.
        let of_machine = file("scope").is_none_or(|scope| scope == "System");
        let discharging = file("status").is_some_and(|status| status == "Discharging");
        if file("type").is_some_and(|kind| kind == "Battery") && of_machine && discharging {
            let directory = root.path(SUPPLIES).join(&supply);
            // A driver that tells neither is common, and no fault.
            let tells = |name: &str| sysfs::text(&directory.join(name)).is_ok();
            if tells("power_now") || tells("current_now") {
                let name = format!("battery:{supply}");
                let files = Files::Battery { directory };
                found.add(Sensor { name, domain: Domain::Device, files });
            }
        }
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
