//! Sensors: temperature, and power or energy.

use super::Finding;
use crate::power::{Domain, Found};
use crate::sysfs::Root;
use crate::thermal::{Rules, Zone, zone};

pub(super) fn check(root: &Root) -> Vec<Finding> {
    vec![temperature(root), power(root)]
}

fn temperature(root: &Root) -> Finding {
    const CHECK: &str = "temperature";
    let zones = Zone::all(root);
    let rules = Rules::for_zones(&zones);
    let (hottest, problems) = zone::hottest(&zones);
    let Some((zone, millidegrees)) = hottest else {
        let problem = problems.first().map_or("no thermal zone".into(), ToString::to_string);
        let advice = "heat cannot be seen before the processor slows down; load the driver of \
                      its thermal sensor, if it has one";
        return Finding::note(CHECK, problem, advice);
    };
    let celsius = millidegrees as f64 / 1e3;
    let seen = format!(
        "{celsius:.0} °C ({}), limits {:.0} and {:.0} °C",
        zone.kind, rules.soft_celsius, rules.hard_celsius
    );
    if celsius >= rules.hard_celsius {
        Finding::failure(CHECK, seen, "above the hard limit streams degrade; cool it")
    } else if celsius >= rules.soft_celsius {
        Finding::warning(CHECK, seen, "close to throttling; cool it, or give it less to do")
    } else {
        Finding::ok(CHECK, seen)
    }
}

fn power(root: &Root) -> Finding {
    const CHECK: &str = "power";
    let found = Found::under(root);
    if let Some(chosen) = found.choose() {
        let names: Vec<&str> = chosen.sensors.iter().map(|sensor| &*sensor.name).collect();
        let of = match chosen.domain {
            Domain::Device => "the whole device",
            Domain::Processor => "processor and memory",
            Domain::Rail | Domain::Part => "these rails",
        };
        return Finding::ok(CHECK, format!("{}, measures {of}", names.join(", ")));
    }
    let model = "declare the device's power in a file for --power-model; joules are then \
                 marked as modelled";
    match found.problems.first() {
        Some(problem) => Finding::warning(CHECK, problem.to_string(), format!("or {model}")),
        None => Finding::note(CHECK, "no sensor", model),
    }
}
