//! The configuration file, TOML:
//!
//! ```toml
//! root = "/var/lib/leeway"            # modules, state, compiled code
//! socket = "/run/leeway/device.sock"
//! desired = "desired.toml"            # what the device shall be; optional, read when it changes
//!
//! [trust]
//! threshold = 1                       # how many keys must have signed
//! allow_unsigned = false
//! revoked_keys = []                   # as `leeway keygen` names them
//! revoked_modules = []
//! [[trust.key]]
//! name = "release"
//! file = "release.pub.pem"            # beside this file
//! expires = 1830000000                # seconds since 1970; optional
//!
//! [store]
//! quota_mib = 1024
//! module_mib = 256
//! reserve_mib = 4
//!
//! [limits]                            # of what one module may take while it is brought in
//! compile_s = 300                     # the time of compiling it, and of each processor
//! compile_mib = 384                   # the memory of that
//! instance_mib = 256                  # the memory that the model may be certified for
//!
//! [tcp]                               # optional; src/tcp/config.rs describes it
//! listen = "127.0.0.1:8090"
//! token_file = "token"
//!
//! [mqtt]                              # optional; src/mqtt/config.rs describes it
//! url = "mqtts://broker.example.org:8883"
//! device = "line-3"
//! authority = "broker-ca.pem"
//!
//! [fog]                               # optional
//! url = "https://192.0.2.7:8443"
//! authority = "fog-ca.pem"            # https only: who has signed its certificate
//! certificate = "device.pem"          # optional, with `key`: this device's own
//! key = "device.key"
//! token_file = "fog-token"            # optional
//! report = "line-3"                   # what it is told of this device, under this name; optional
//! traces = "http://127.0.0.1:4318"     # where spans of asking it go, by OTLP over HTTP; optional
//! ```
//!
//! `[executor]`, `[realtime]`, `[offload]`, `[power]`, `[thermal]` and `[sensors]`: see
//! `config/promise.rs`.

mod promise;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leeway_contract::Digest;
use leeway_deploy::compile::CompileLimits;
use leeway_deploy::store::Limits;
use leeway_deploy::trust::{KeyError, KeyId, PublicKey, Trust, TrustedKey};
use leeway_runtime::offload::fog::{FogAccess, FogAccessError};
use leeway_runtime::power::PowerModel;
use leeway_runtime::sandbox::EngineKind;
use serde::Deserialize;

use crate::mqtt::{MqttConfig, MqttError};
use crate::tcp::{TcpConfig, TcpError};
pub(crate) use promise::nowhere_else;
pub use promise::{
    ExecutorConfig, OffloadConfig, PolicyName, RealTimeConfig, SensorsConfig, ThermalConfig,
};

/// The agent's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the agent keeps everything.
    pub root: PathBuf,
    /// The Unix socket that it listens on.
    pub socket: PathBuf,
    /// What executes models.
    #[serde(default)]
    pub engine: EngineKind,
    /// Whom it believes.
    #[serde(default)]
    pub trust: TrustConfig,
    /// How much modules may take.
    #[serde(default)]
    pub store: StoreConfig,
    /// What bringing a module in may take.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Where it listens besides.
    pub tcp: Option<TcpConfig>,
    /// The broker by which it is told what it shall be.
    pub mqtt: Option<MqttConfig>,
    /// Its fog host.
    pub fog: Option<FogConfig>,
    /// What runs the inputs of streams.
    #[serde(default)]
    pub executor: ExecutorConfig,
    /// What its threads ask the kernel for.
    #[serde(default)]
    pub realtime: RealTimeConfig,
    /// How inputs are offloaded.
    #[serde(default)]
    pub offload: OffloadConfig,
    /// The device's power.
    pub power: Option<PowerModel>,
    /// Limits of temperature.
    #[serde(default)]
    pub thermal: ThermalConfig,
    /// What the device is measured by.
    #[serde(default)]
    pub sensors: SensorsConfig,
    /// The file that says what the device shall be.
    pub desired: Option<PathBuf>,
}

/// Whom the agent believes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    threshold: usize,
    allow_unsigned: bool,
    revoked_keys: BTreeSet<KeyId>,
    revoked_modules: BTreeSet<Digest>,
    #[serde(rename = "key")]
    keys: Vec<KeyConfig>,
}

impl Default for TrustConfig {
    fn default() -> Self {
        let (revoked_keys, revoked_modules) = Default::default();
        let keys = Vec::new();
        Self { threshold: 1, allow_unsigned: false, revoked_keys, revoked_modules, keys }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyConfig {
    name: String,
    file: PathBuf,
    expires: Option<u64>,
}

/// How much modules may take, in MiB.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    quota_mib: u64,
    module_mib: u64,
    reserve_mib: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let Limits { quota_bytes, module_bytes, reserve_bytes } = Limits::default();
        let mib = |bytes: u64| bytes >> 20;
        Self {
            quota_mib: mib(quota_bytes),
            module_mib: mib(module_bytes),
            reserve_mib: mib(reserve_bytes),
        }
    }
}

impl StoreConfig {
    /// As the store wants it.
    pub fn limits(&self) -> Limits {
        Limits {
            quota_bytes: bytes(self.quota_mib),
            module_bytes: bytes(self.module_mib),
            reserve_bytes: bytes(self.reserve_mib),
        }
    }
}

/// What one module may take while it is brought in: the agent goes on whatever it is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    compile_s: u64,
    compile_mib: u64,
    instance_mib: u64,
}

impl Default for LimitsConfig {
    /// For a board with 512 MB and more. Most models want a small part of it.
    fn default() -> Self {
        Self { compile_s: 300, compile_mib: 384, instance_mib: 256 }
    }
}

impl LimitsConfig {
    /// Whether anything can be brought in within them.
    fn check(&self) -> Result<(), ConfigError> {
        let Self { compile_s, compile_mib, instance_mib } = *self;
        let limits = [
            ("compile_s", compile_s),
            ("compile_mib", compile_mib),
            ("instance_mib", instance_mib),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            None => Ok(()),
            Some((name, _)) => {
                Err(ConfigError::Value(format!("[limits] {name} is 0, wanted 1 or more")))
            }
        }
    }

    /// What compiling a module may take.
    pub fn compile(&self) -> CompileLimits {
        let time = Duration::from_secs(self.compile_s);
        CompileLimits { time, memory_bytes: bytes(self.compile_mib) }
    }

    /// The most memory that an instance of a model may have.
    pub fn instance_bytes(&self) -> u64 {
        bytes(self.instance_mib)
    }
}

fn bytes(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
}

/// The fog host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FogConfig {
    /// Its URL.
    pub url: String,
    /// The device's name in what the fog host is told of it: where inputs were
    /// answered, and what is believed of the link. Without one, nothing is told.
    pub report: Option<String>,
    /// The collector of spans, by OTLP over HTTP. Each inference that the fog host is
    /// asked for is then the beginning of a trace.
    pub traces: Option<String>,
    /// The authority of its certificate, in PEM; with `https` only.
    authority: Option<PathBuf>,
    /// This device's certificate, in PEM.
    certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    key: Option<PathBuf>,
    /// The file with the token that it wants.
    token_file: Option<PathBuf>,
}

impl FogConfig {
    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { authority, certificate, key, token_file, .. } = self;
        [authority, certificate, key, token_file].into_iter().flatten()
    }

    /// What this device shows it, and wants to be shown: files are read now.
    pub fn access(&self) -> Result<FogAccess, FogAccessError> {
        let pair = self.certificate.as_deref().zip(self.key.as_deref());
        FogAccess::read(self.authority.as_deref(), pair, self.token_file.as_deref())
    }
}

/// A configuration that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A value that makes no sense.
    #[error("{0}")]
    Value(String),
    /// Not TOML, or not what is wanted.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A file with no key in it.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// How it listens on TCP.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// How it speaks to a broker.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
}

impl Config {
    /// Reads a file. Paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let files = config.trust.keys.iter_mut().map(|key| &mut key.file);
        let tcp = config.tcp.iter_mut().flat_map(TcpConfig::files);
        let mqtt = config.mqtt.iter_mut().flat_map(MqttConfig::files);
        let fog = config.fog.iter_mut().flat_map(FogConfig::files);
        let sensors = [&mut config.sensors.root];
        let own = [&mut config.root, &mut config.socket].into_iter().chain(&mut config.desired);
        for file in files.chain(tcp).chain(mqtt).chain(fog).chain(sensors).chain(own) {
            *file = beside.join(&*file);
        }
        if let Some(tcp) = &config.tcp {
            tcp.check()?;
        }
        config.check_promise()?;
        config.limits.check()?;
        if let Some(mqtt) = &config.mqtt {
            mqtt.check()?;
        }
        Ok(config)
    }

    /// Whom to believe: the keys' files are read now.
    pub fn trust(&self) -> Result<Trust, ConfigError> {
        let one = |key: &KeyConfig| {
            let path = key.file.clone();
            let pem = read(&path)?;
            let public =
                PublicKey::from_pem(&pem).map_err(|source| ConfigError::Key { path, source })?;
            Ok(TrustedKey { name: key.name.clone(), key: public, expires: key.expires })
        };
        Ok(Trust {
            keys: self.trust.keys.iter().map(one).collect::<Result<_, ConfigError>>()?,
            revoked_keys: self.trust.revoked_keys.clone(),
            revoked_modules: self.trust.revoked_modules.clone(),
            threshold: self.trust.threshold,
            allow_unsigned: self.trust.allow_unsigned,
        })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}
