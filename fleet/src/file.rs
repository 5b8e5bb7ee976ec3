//! The fleet's file, TOML:
//!
//! ```toml
//! [rollout]
//! parallel = 8            # devices at once
//! failures = 1            # stop when more devices than this fail with the version
//! unreachable = 20        # stop when more than this cannot be reached; optional
//! pause_s = 60            # between two waves
//! health_s = 900          # the longest that a device may take to prove the version
//!
//! [[wave]]                # devices that no wave before has: those with a label,
//! label = "canary"
//! [[wave]]                # so many, in the order of this file,
//! count = 5
//! [[wave]]                # or so many of a hundred of the fleet. The rest is the last.
//! percent = 25
//!
//! [access]                # what devices are shown, and have to show, in files beside this
//! authority = "ca.pem"    # one: who has signed their certificates; optional, as all are
//! certificate = "operator.pem"
//! key = "operator.key"
//! token_file = "token"
//!
//! [[device]]
//! name = "gate-1"
//! address = "https://192.0.2.10:8090"     # http:// without an authority, or unix:PATH
//! token_file = "gate-1.token"             # each of [access] may stand here, for this one
//! labels = ["canary", "north"]
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leeway_client::{Access, AccessError, Client, ClientError};
use serde::Deserialize;

use crate::rollout::Limits;

/// A fleet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// How a version is brought to it.
    #[serde(default)]
    pub rollout: RolloutSettings,
    /// The waves; what none of them takes is the last one.
    #[serde(default, rename = "wave")]
    pub waves: Vec<Wave>,
    /// How devices are reached that say nothing else.
    #[serde(default)]
    pub access: AccessFiles,
    /// Its devices.
    #[serde(rename = "device")]
    pub devices: Vec<Device>,
}

/// How a version is brought to a fleet.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    /// Devices at once.
    pub parallel: usize,
    /// The most devices that may fail with the version.
    pub failures: usize,
    /// The most that may not be reached; any number where it is not given.
    pub unreachable: Option<usize>,
    /// Seconds between two waves.
    pub pause_s: u64,
    /// The most seconds that a device may take to prove the version.
    pub health_s: u64,
}

impl Default for RolloutSettings {
    /// 8 at once, no failure, no pause, a quarter of an hour for each device.
    fn default() -> Self {
        Self { parallel: 8, failures: 0, unreachable: None, pause_s: 0, health_s: 900 }
    }
}

/// Some of the devices that no wave before has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wave {
    /// Only those with this label.
    pub label: Option<String>,
    /// At most so many.
    pub count: Option<usize>,
    /// At most so many of a hundred of the fleet, rounded up.
    pub percent: Option<f64>,
}

/// The files by which an operator and a device know each other.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessFiles {
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// A device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name, which no other has.
    pub name: String,
    /// Its agent's address.
    pub address: String,
    /// The authority of its certificate.
    pub authority: Option<PathBuf>,
    /// The certificate that it is shown, with `key`.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key.
    pub key: Option<PathBuf>,
    /// The file with the token for TCP.
    pub token_file: Option<PathBuf>,
    /// What waves and selections know it by.
    #[serde(default)]
    pub labels: BTreeSet<String>,
}

/// A file that describes no fleet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or not what is wanted.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// No device has this label.
    #[error("no device has the label {0:?}")]
    Label(String),
    /// No address of an agent.
    #[error("the device {device:?}: {source}")]
    Address {
        /// The device.
        device: String,
        /// What is wrong.
        source: ClientError,
    },
    /// A file by which a device is reached.
    #[error("the device {device:?}: {source}")]
    Access {
        /// The device.
        device: String,
        /// What is wrong.
        source: AccessError,
    },
}

impl Fleet {
    /// Reads a file. Paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, FleetError> {
        let text = read(path)?;
        let wrong = |message: String| FleetError::Parse { path: path.to_owned(), message };
        let mut fleet: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        fleet.check().map_err(wrong)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        for device in &mut fleet.devices {
            device.inherit(&fleet.access);
            for file in device.files() {
                *file = beside.join(&*file);
            }
            if let Some(socket) = device.address.strip_prefix("unix:") {
                device.address = format!("unix:{}", beside.join(socket).display());
            }
        }
        Ok(fleet)
    }

    /// In words: what is wrong, seen and wanted.
    fn check(&self) -> Result<(), String> {
        if self.rollout.parallel == 0 {
            return Err("rollout.parallel is 0, wanted 1 or more".into());
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.devices.iter().find(|device| !names.insert(&device.name)) {
            return Err(format!("two devices are called {:?}", twice.name));
        }
        let pair =
            |certificate: &Option<_>, key: &Option<_>| certificate.is_some() == key.is_some();
        if !pair(&self.access.certificate, &self.access.key) {
            return Err("access has one of certificate and key, wanted both or none".into());
        }
        if let Some(half) = self.devices.iter().find(|one| !pair(&one.certificate, &one.key)) {
            let name = &half.name;
            return Err(format!("{name:?} has one of certificate and key, wanted both or none"));
        }
        for (number, wave) in self.waves.iter().enumerate() {
            self.check_wave(wave).map_err(|what| format!("wave {}: {what}", number + 1))?;
        }
        Ok(())
    }

    fn check_wave(&self, wave: &Wave) -> Result<(), String> {
        if let Some(label) = &wave.label
            && !self.devices.iter().any(|device| device.labels.contains(label))
        {
            return Err(format!("no device has the label {label:?}"));
        }
        match (wave.count, wave.percent) {
            (Some(_), Some(_)) => Err("count and percent are given, wanted one of them".into()),
            (Some(0), _) => Err("count is 0, wanted 1 or more".into()),
            (_, Some(percent)) if !(percent > 0.0 && percent <= 100.0) => {
                Err(format!("percent is {percent}, wanted more than 0 and at most 100"))
            }
            _ => Ok(()),
        }
    }

    /// Keeps the devices with a label only.
    ///
    /// # Errors
    /// Where none has it.
    pub fn select(&mut self, label: Option<&str>) -> Result<(), FleetError> {
        if let Some(label) = label {
            self.devices.retain(|device| device.labels.contains(label));
            if self.devices.is_empty() {
                return Err(FleetError::Label(label.to_owned()));
            }
        }
        Ok(())
    }

    /// The devices of each wave, by their place in the file. Each is in one wave; no
    /// wave is empty.
    pub fn waves(&self) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (0..self.devices.len()).collect();
        let mut waves = Vec::new();
        for wave in self.waves.iter().chain([&Wave::default()]) {
            let percent = wave.percent.map(|percent| {
                (self.devices.len() as f64 * percent / 100.0).ceil().max(1.0) as usize
            });
            let most = wave.count.or(percent).unwrap_or(usize::MAX);
            let mut taken = Vec::new();
            left.retain(|&device| {
                let labels = &self.devices[device].labels;
                let meant = wave.label.as_ref().is_none_or(|label| labels.contains(label));
                let takes = meant && taken.len() < most;
                if takes {
                    taken.push(device);
                }
                !takes
            });
            if !taken.is_empty() {
                waves.push(taken);
            }
        }
        waves
    }

    /// What the machine keeps to.
    pub fn limits(&self) -> Limits {
        let settings = &self.rollout;
        Limits {
            parallel: settings.parallel,
            failures: settings.failures,
            unreachable: settings.unreachable.unwrap_or(usize::MAX),
            pause: Duration::from_secs(settings.pause_s),
        }
    }

    /// The longest that a device may take to prove a version.
    pub fn health(&self) -> Duration {
        Duration::from_secs(self.rollout.health_s)
    }
}

impl Device {
    /// Takes what it does not say itself: where there is no TLS, the token only. A
    /// certificate has its own key.
    fn inherit(&mut self, access: &AccessFiles) {
        let take = |own: &mut Option<PathBuf>, default: &Option<PathBuf>| {
            if own.is_none() {
                own.clone_from(default);
            }
        };
        take(&mut self.token_file, &access.token_file);
        if !self.address.starts_with("https://") {
            return;
        }
        take(&mut self.authority, &access.authority);
        if self.certificate.is_none() && self.key.is_none() {
            self.certificate.clone_from(&access.certificate);
            self.key.clone_from(&access.key);
        }
    }

    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { authority, certificate, key, token_file, .. } = self;
        [authority, certificate, key, token_file].into_iter().flatten()
    }

    /// A client for it. Nothing is sent yet.
    pub fn client(&self) -> Result<Client, FleetError> {
        let device = || self.name.clone();
        let pair = self.certificate.as_deref().zip(self.key.as_deref());
        let access = Access::read(self.authority.as_deref(), pair, self.token_file.as_deref())
            .map_err(|source| FleetError::Access { device: device(), source })?;
        Client::with_access(&self.address, &access)
            .map_err(|source| FleetError::Address { device: device(), source })
    }
}

fn read(path: &Path) -> Result<String, FleetError> {
    std::fs::read_to_string(path)
        .map_err(|source| FleetError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(waves: &str) -> Fleet {
        let device = |number: usize| {
            let label = if number.is_multiple_of(3) { "canary" } else { "rest" };
            format!(
                "[[device]]\nname = \"d{number}\"\naddress = \"unix:x\"\nlabels = [{label:?}]\n"
            )
        };
        let devices: String = (0..10).map(device).collect();
        toml::from_str(&format!("{waves}{devices}")).unwrap()
    }

    #[test]
    fn each_device_is_in_one_wave_and_the_rest_is_the_last() {
        let waves = "[[wave]]\nlabel = \"canary\"\ncount = 2\n[[wave]]\npercent = 25\n[[wave]]\nlabel = \"canary\"\n";
        let fleet = fleet(waves);
        fleet.check().unwrap();
        assert_eq!(fleet.waves(), [vec![0, 3], vec![1, 2, 4], vec![6, 9], vec![5, 7, 8]]);
        assert_eq!(self::fleet("").waves(), [(0..10).collect::<Vec<_>>()]);
        // An empty wave is none.
        assert_eq!(self::fleet("[[wave]]\n[[wave]]\ncount = 3\n").waves().len(), 1);
    }

    #[test]
    fn a_device_has_the_access_of_all_where_it_says_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.toml");
        let access =
            "[access]\nauthority = \"ca.pem\"\ncertificate = \"all.pem\"\nkey = \"all.key\"\n";
        let one = "[[device]]\nname = \"a\"\naddress = \"https://a:1\"\n";
        let two = "[[device]]\nname = \"b\"\naddress = \"https://b:1\"\nauthority = \"b.pem\"\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
        let plain = "[[device]]\nname = \"c\"\naddress = \"http://c:1\"\n";
        std::fs::write(&path, format!("{access}token_file = \"token\"\n{one}{two}{plain}"))
            .unwrap();
        let fleet = Fleet::read(&path).unwrap();
        let files = |device: &Device| {
            let files = [&device.authority, &device.certificate, &device.key, &device.token_file];
            files.map(|file| file.clone().map(|file| file.file_name().unwrap().to_owned()))
        };
        let named = |name: &str| Some(name.into());
        let [a, b, c] = &fleet.devices[..] else { panic!("{fleet:?}") };
        assert_eq!(files(a), [named("ca.pem"), named("all.pem"), named("all.key"), named("token")]);
        assert_eq!(files(b), [named("b.pem"), named("own.pem"), named("own.key"), named("token")]);
        assert_eq!(files(c), [None, None, None, named("token")]);
        assert_eq!(a.authority.as_deref(), Some(&*folder.path().join("ca.pem")));
        // Files are read when a client is made.
        let error = a.client().unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("all.key"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (waves, wanted) in [
            ("[[wave]]\nlabel = \"canry\"\n", "canry"),
            ("[[wave]]\ncount = 1\npercent = 5\n", "one of them"),
            ("[[wave]]\npercent = 0\n", "more than 0"),
            ("[[wave]]\ncount = 0\n", "1 or more"),
            ("[rollout]\nparallel = 0\n", "parallel"),
            ("[access]\nkey = \"operator.key\"\n", "certificate and key"),
        ] {
            let error = fleet(waves).check().unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.toml");
        let twice = "[[device]]\nname = \"a\"\naddress = \"unix:x\"\n".repeat(2);
        std::fs::write(&path, twice).unwrap();
        let error = Fleet::read(&path).unwrap_err().to_string();
        assert!(error.contains("two devices") && error.contains("fleet.toml"), "{error}");
        std::fs::write(&path, "[[device]]\nname = \"a\"\naddress = \"a:1\"\n").unwrap();
        let error = Fleet::read(&path).unwrap().devices[0].client().unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("unix:PATH"), "{error}");
    }
}
