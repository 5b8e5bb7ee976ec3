//! Discovery on recorded trees, whole and broken.

use super::*;
use crate::power::sensor::Sample;
use crate::recorded::{JETSON_ORIN, RASPBERRY_PI_4, Tree, X86_LAPTOP};

fn names(found: &Found) -> Vec<&str> {
    found.sensors.iter().map(|sensor| &*sensor.name).collect()
}

fn chosen(tree: &Tree) -> (Domain, Vec<String>) {
    let chosen = Found::under(&tree.root()).choose().expect("there are sensors");
    (chosen.domain, chosen.sensors.into_iter().map(|sensor| sensor.name).collect())
}

fn watts(tree: &Tree, name: &str) -> f64 {
    let found = Found::under(&tree.root());
    let chosen = found.named(&[name.to_owned()]).unwrap();
    match chosen.sensors[0].sample().unwrap() {
        Sample::Watts(watts) => watts,
        counter => panic!("{counter:?}"),
    }
}

#[test]
fn a_jetsons_input_is_measured_and_its_rails_are_known() {
    let tree = Tree::parse(JETSON_ORIN);
    let found = Found::under(&tree.root());
    assert_eq!(names(&found), ["ina3221:VDD_IN", "ina3221:VDD_CPU_GPU_CV", "ina3221:VDD_SOC"]);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    // The rails are fed by the input, and not added to it.
    assert_eq!(chosen(&tree), (Domain::Device, vec!["ina3221:VDD_IN".into()]));
    assert!((watts(&tree, "ina3221:VDD_IN") - 4.968).abs() < 1e-9);
    assert!((watts(&tree, "ina3221:VDD_SOC") - 1.2 * 4.96 / 3.0).abs() < 1e-9);
}

#[test]
fn boards_without_an_input_rail_are_the_sum_of_their_rails() {
    let tree = Tree::parse(JETSON_ORIN);
    tree.write("sys/class/hwmon/hwmon1/in1_enable", "0\n");
    let rails = vec!["ina3221:VDD_CPU_GPU_CV".into(), "ina3221:VDD_SOC".into()];
    assert_eq!(chosen(&tree), (Domain::Rail, rails));
}

#[test]
fn a_raspberry_pi_has_no_power_sensor() {
    let found = Found::under(&Tree::parse(RASPBERRY_PI_4).root());
    assert!(found.sensors.is_empty() && found.problems.is_empty() && found.choose().is_none());
    let error = found.named(&["ina226:1".into()]).unwrap_err();
    assert_eq!(error.to_string(), "there is no power sensor \"ina226:1\"; there are none");
}

#[test]
fn a_laptop_is_its_platform_and_on_battery_what_that_gives() {
    let tree = Tree::parse(X86_LAPTOP);
    let found = Found::under(&tree.root());
    let all =
        ["BAT0:1", "rapl:package-0", "rapl:psys", "rapl:package-0/core", "rapl:package-0/uncore"];
    assert_eq!(names(&found), all);
    assert_eq!(chosen(&tree), (Domain::Device, vec!["rapl:psys".into()]));
    // Without the platform's zone, the package, and nothing within it.
    tree.remove("sys/class/powercap/intel-rapl:1");
    assert_eq!(chosen(&tree), (Domain::Processor, vec!["rapl:package-0".into()]));
    tree.write("sys/class/power_supply/BAT0/status", "Discharging\n");
    assert_eq!(chosen(&tree), (Domain::Device, vec!["battery:BAT0".into()]));
    assert_eq!(watts(&tree, "battery:BAT0"), 9.312);
    // Drivers that tell the current, with either sign.
    tree.remove("sys/class/power_supply/BAT0/power_now");
    tree.write("sys/class/power_supply/BAT0/current_now", "-800000\n");
    assert!((watts(&tree, "battery:BAT0") - 0.8 * 11.64).abs() < 1e-9);
}

#[test]
fn packages_and_their_memory_are_counted_and_what_is_within_them_is_not() {
    let zone = |id: &str, name: &str| {
        let path = format!("sys/class/powercap/intel-rapl:{id}");
        format!(
            "== {path}/name\n{name}\n== {path}/energy_uj\n100\n\
             == {path}/max_energy_range_uj\n262143328850\n"
        )
    };
    let zones = [("0", "package-0"), ("0:0", "core"), ("0:1", "dram")];
    let more = [("1", "package-1"), ("1:0", "core"), ("1:1", "dram")];
    let text: String = zones.into_iter().chain(more).map(|(id, name)| zone(id, name)).collect();
    let tree = Tree::parse(&text);
    // A second interface to a package that is counted.
    tree.write("sys/class/powercap/intel-rapl-mmio:0/name", "package-0\n");
    tree.write("sys/class/powercap/intel-rapl-mmio:0/energy_uj", "100\n");
    let (domain, mut names) = chosen(&tree);
    names.sort();
    let wanted = ["rapl:package-0", "rapl:package-0/dram", "rapl:package-1", "rapl:package-1/dram"];
    assert_eq!((domain, names), (Domain::Processor, wanted.map(str::to_owned).to_vec()));
}

#[test]
fn broken_sensors_are_told_and_left_out() {
    let tree = Tree::parse(X86_LAPTOP);
    tree.break_file("sys/class/powercap/intel-rapl:1/energy_uj");
    tree.write("sys/class/powercap/intel-rapl:0:0/energy_uj", "-5\n");
    tree.write("sys/class/powercap/intel-rapl:0:1/energy_uj", "\n");
    tree.remove("sys/class/powercap/intel-rapl-mmio:0/name");
    tree.write("sys/class/hwmon/hwmon7/name", "ina226\n");
    tree.write("sys/class/hwmon/hwmon7/power1_input", "-120000\n");
    tree.write("sys/class/hwmon/hwmon8/name", "ina219\n");
    tree.write("sys/class/hwmon/hwmon8/power1_input", "99999999999999999999\n");
    let found = Found::under(&tree.root());
    assert_eq!(names(&found), ["BAT0:1", "rapl:package-0"]);
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 6, "{problems:#?}");
    for part in ["intel-rapl:1/energy_uj", "\"-5\"", "\"\"", "\"-120000\"", "99999999999"] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:#?}");
    }
    // What remains is used.
    assert_eq!(found.choose().unwrap().sensors[0].name, "rapl:package-0");
}

#[test]
fn two_chips_of_a_kind_have_two_names() {
    let chip = |n| {
        format!(
            "== sys/class/hwmon/hwmon{n}/name\nina226\n\
             == sys/class/hwmon/hwmon{n}/power1_input\n2500000\n\
             == sys/class/hwmon/hwmon{n}/in1_input\n5000\n\
             == sys/class/hwmon/hwmon{n}/curr1_input\n500\n"
        )
    };
    let tree = Tree::parse(&(chip(0) + &chip(1)));
    assert_eq!(chosen(&tree), (Domain::Rail, vec!["ina226:1".into(), "ina226:1#2".into()]));
    // Its power is there once, though voltage and current are as well.
    assert_eq!(watts(&tree, "ina226:1"), 2.5);
}
