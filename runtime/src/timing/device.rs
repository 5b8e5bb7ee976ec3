//! Which device a calibration holds for: what of a machine and its settings
//! decides how fast it computes.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The identity of a device, as far as execution times depend on it. `None` and
/// empty texts are what the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The machine: from the device tree or the firmware.
    pub machine: String,
    /// The CPU, as the kernel names it.
    pub cpu: String,
    /// What sets its clock frequency, for example `performance`.
    pub governor: Option<String>,
    /// The lowest and the highest frequency that the governor may choose, in kHz.
    pub frequency_khz: Option<[u64; 2]>,
    /// Whether it may run faster than its nominal frequency for a while.
    pub boost: Option<bool>,
    /// The kernel's release.
    pub kernel: String,
    /// The CPU that the models are pinned to.
    pub core: Option<usize>,
}

impl Device {
    /// Reads it from the kernel, for models that are pinned to `core`.
    pub fn of_this_machine(core: Option<usize>) -> Self {
        Self::read(Path::new("/"), core)
    }

    /// Reads it from a tree with `proc` and `sys` in it.
    pub fn read(root: &Path, core: Option<usize>) -> Self {
        let text = |path: &str| {
            let text = fs::read_to_string(root.join(path)).ok()?;
            let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
            (!text.is_empty()).then(|| text.to_owned())
        };
        let info = text("proc/cpuinfo").unwrap_or_default();
        let named = |key: &str| {
            let line = info
                .lines()
                .find(|line| line.split_once(':').is_some_and(|(name, _)| name.trim() == key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let dmi = || {
            let part = |name| text(&format!("sys/class/dmi/id/{name}"));
            let parts = [part("sys_vendor"), part("product_name")];
            let all = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            (!all.is_empty()).then_some(all)
        };
        let cpufreq = format!("sys/devices/system/cpu/cpu{}/cpufreq", core.unwrap_or(0));
        let frequency = |name| text(&format!("{cpufreq}/{name}"))?.parse().ok();
        let limits = frequency("scaling_min_freq").zip(frequency("scaling_max_freq"));
        Self {
            machine: text("proc/device-tree/model").or_else(dmi).unwrap_or_default(),
            // x86 has the one, ARM boards one of the others.
            cpu: ["model name", "Model", "Hardware", "CPU part"]
                .into_iter()
                .find_map(named)
                .unwrap_or_default(),
            governor: text(&format!("{cpufreq}/scaling_governor")),
            frequency_khz: limits.map(|(low, high)| [low, high]),
            boost: text("sys/devices/system/cpu/cpufreq/boost").map(|text| text == "1"),
            kernel: text("proc/sys/kernel/osrelease").unwrap_or_default(),
            core,
        }
    }

    /// The first property in which the two differ: its name, and both values.
    pub fn difference(&self, other: &Device) -> Option<(&'static str, String, String)> {
        let properties = |device: &Device| {
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
            [
                ("machine", device.machine.clone()),
                ("CPU", device.cpu.clone()),
                ("governor", or_none(device.governor.clone())),
                ("frequency limits", or_none(device.frequency_khz.map(|f| format!("{f:?} kHz")))),
                ("boost", or_none(device.boost.map(|boost| boost.to_string()))),
                ("kernel", device.kernel.clone()),
                ("core", device.core.map_or("any".into(), |core| core.to_string())),
            ]
        };
        let pairs = properties(self).into_iter().zip(properties(other));
        pairs.into_iter().find_map(|((name, a), (_, b))| (a != b).then_some((name, a, b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn an_arm_board_is_told_from_its_device_tree() {
        let root = tree(&[
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("proc/cpuinfo", "processor\t: 0\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n"),
            ("proc/sys/kernel/osrelease", "6.12.25-rt\n"),
            ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpu3/cpufreq/scaling_min_freq", "600000\n"),
            ("sys/devices/system/cpu/cpu3/cpufreq/scaling_max_freq", "1500000\n"),
        ]);
        let device = Device::read(root.path(), Some(3));
        assert_eq!(device.machine, "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!((&*device.cpu, &*device.kernel), ("Raspberry Pi 4", "6.12.25-rt"));
        assert_eq!(device.governor.as_deref(), Some("performance"));
        assert_eq!(device.frequency_khz, Some([600_000, 1_500_000]));
        // Of another core nothing is known.
        assert_eq!(Device::read(root.path(), Some(0)).governor, None);
    }

    #[test]
    fn a_pc_is_told_from_its_firmware_and_an_empty_tree_is_no_error() {
        let root = tree(&[
            ("sys/class/dmi/id/sys_vendor", "Maker\n"),
            ("sys/class/dmi/id/product_name", "Box 3000\n"),
            ("proc/cpuinfo", "model\t\t: 7\nmodel name\t: A CPU\n"),
            ("sys/devices/system/cpu/cpufreq/boost", "0\n"),
        ]);
        let device = Device::read(root.path(), None);
        assert_eq!((&*device.machine, &*device.cpu), ("Maker Box 3000", "A CPU"));
        assert_eq!(device.boost, Some(false));
        assert_eq!(Device::read(tree(&[]).path(), None), Device::default());
    }

    #[test]
    fn the_property_that_differs_is_named() {
        let one = Device { governor: Some("performance".into()), ..Device::default() };
        assert_eq!(one.difference(&one), None);
        let other = Device { governor: Some("powersave".into()), ..one.clone() };
        let seen = one.difference(&other).unwrap();
        assert_eq!(seen, ("governor", "performance".into(), "powersave".into()));
        let pinned = Device { core: Some(1), ..one.clone() };
        assert_eq!(one.difference(&pinned).unwrap().0, "core");
    }
}
