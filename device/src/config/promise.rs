//! What the promise to streams is made of:
//!
//! ```toml
//! [executor]                          # what runs the inputs of streams
//! cores = 1
//! cpus = [3]                          # the CPU of each core's thread; optional
//! scheduling = "earliest-deadline-first" # or "fixed-priority"
//! dispatch_us = 20                    # what it adds to each segment of a model
//! tolerance_us = 500                  # how much longer one may take before it is stopped
//!
//! [realtime]                          # what these threads ask the kernel for
//! priority = 50                       # SCHED_FIFO, from 2 to 99; not asked for, if not given
//! lock_memory = true
//!
//! [offload]                           # where there is a fog host
//! policy = "deadline-aware"           # "threshold", "energy-aware" or "learned"
//! setup_us = 200                      # a core's time to send an input and take an answer
//!
//! [power]                             # the device's, in watts: of the radio, and of computing
//!                                     # where no sensor measures it
//! idle_watts = 2.1
//! busy_watts = 4.6
//! transmit_watts = 3.0
//! receive_watts = 2.7
//!
//! [thermal]                           # all optional: what the kernel's own limits suggest
//! soft_celsius = 70
//! hard_celsius = 80
//! throttled_khz = 600000              # the clock that it is slowed down to
//! hysteresis_celsius = 5
//! hold_seconds = 10
//! step_seconds = 5
//! degrade = ["camera"]                # to their smaller models, in this order
//!
//! [sensors]                           # all optional
//! root = "/"                          # the tree that has `proc` and `sys` in it
//! power = ["ina3221:VDD_IN"]          # the power sensors, as `leeway doctor` names them; the
//!                                     # best that there are, if not given
//! energy = true                       # whether deployments measure the joules of an inference
//! ```
//!
//! A deployment measures its model with what `[realtime]` asks for, at the next lower
//! priority, on the CPU of the first core: those of one executor are to be of a kind.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use leeway_deploy::transaction::{Metering, TrialOptions};
use leeway_runtime::admission::{Executor, Offloading, Scheduling};
use leeway_runtime::offload::policy::{
    AllLocal, DeadlineAware, EnergyAware, Learned, Policy, Threshold,
};
use leeway_runtime::power::MeasureRule;
use leeway_runtime::realtime::RealTime;
use leeway_runtime::sysfs::Root;
use leeway_runtime::thermal::{Machine, Monitor, Rules, Zone};
use leeway_runtime::timing::{Device, Store};
use serde::Deserialize;

use super::{Config, ConfigError};

/// The executor of streams.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorConfig {
    cores: usize,
    cpus: Vec<usize>,
    scheduling: Scheduling,
    dispatch_us: f64,
    tolerance_us: f64,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        let (cores, scheduling) = (1, Scheduling::default());
        Self { cores, cpus: Vec::new(), scheduling, dispatch_us: 20.0, tolerance_us: 500.0 }
    }
}

/// What its threads ask the kernel for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealTimeConfig {
    priority: Option<u8>,
    lock_memory: bool,
}

/// By which policy inputs are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// WCET > T_L + T_F.
    Threshold,
    /// Where an earlier answer is expected, with compensation.
    DeadlineAware,
    /// Where fewer joules are expected.
    EnergyAware,
    /// Learned online.
    Learned,
}

impl PolicyName {
    /// The policy.
    pub fn policy(self) -> Box<dyn Policy> {
        match self {
            PolicyName::Threshold => Box::new(Threshold::default()),
            PolicyName::DeadlineAware => Box::new(DeadlineAware::default()),
            PolicyName::EnergyAware => Box::new(EnergyAware::default()),
            PolicyName::Learned => Box::new(Learned::default()),
        }
    }
}

/// How inputs are offloaded.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OffloadConfig {
    /// The policy.
    pub policy: PolicyName,
    setup_us: f64,
}

impl Default for OffloadConfig {
    fn default() -> Self {
        Self { policy: PolicyName::DeadlineAware, setup_us: 200.0 }
    }
}

/// Limits of temperature.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThermalConfig {
    soft_celsius: Option<f64>,
    hard_celsius: Option<f64>,
    throttled_khz: Option<u64>,
    hysteresis_celsius: Option<f64>,
    hold_seconds: Option<f64>,
    step_seconds: Option<f64>,
    degrade: Vec<String>,
}

/// What the device is measured by.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensorsConfig {
    pub(super) root: PathBuf,
    power: Vec<String>,
    energy: bool,
}

impl Default for SensorsConfig {
    fn default() -> Self {
        Self { root: "/".into(), power: Vec::new(), energy: true }
    }
}

impl SensorsConfig {
    fn root(&self) -> Root {
        Root::new(&self.root)
    }
}

/// How often a run of a measurement is made again that was interrupted.
const INTERRUPTIONS: u32 = 10;

/// A measurement gives way to the streams: there must be a priority below theirs.
const PRIORITIES: RangeInclusive<u8> = 2..=99;

fn microseconds(us: f64, name: &str) -> Result<Duration, String> {
    match us {
        us if (0.0..=1e9).contains(&us) => Ok(Duration::from_nanos((us * 1e3) as u64)),
        us => Err(format!("{name} is {us}, wanted from 0 to 1e9")),
    }
}

impl ExecutorConfig {
    /// As admission wants it.
    pub fn executor(&self) -> Result<Executor, String> {
        let most = std::thread::available_parallelism().map_or(1, usize::from).max(64);
        if !(1..=most).contains(&self.cores) {
            let seen = self.cores;
            return Err(format!("executor.cores is {seen}, wanted from 1 to {most}"));
        }
        if !self.cpus.is_empty() && self.cpus.len() != self.cores {
            let (cpus, cores) = (self.cpus.len(), self.cores);
            return Err(format!(
                "executor.cpus names {cpus} CPUs, wanted one for each of {cores} cores"
            ));
        }
        Ok(Executor {
            cores: self.cores,
            scheduling: self.scheduling,
            dispatch: microseconds(self.dispatch_us, "executor.dispatch_us")?,
            tolerance: microseconds(self.tolerance_us, "executor.tolerance_us")?,
        })
    }

    /// What each core's thread asks the kernel for.
    pub fn real_time(&self, asked: &RealTimeConfig) -> Result<Vec<RealTime>, String> {
        if let Some(seen) = asked.priority.filter(|priority| !PRIORITIES.contains(priority)) {
            let (least, most) = PRIORITIES.into_inner();
            return Err(format!("realtime.priority is {seen}, wanted from {least} to {most}"));
        }
        let core = |core: usize| RealTime {
            cpu: self.cpus.get(core).copied(),
            priority: asked.priority,
            lock_memory: asked.lock_memory,
        };
        Ok((0..self.cores).map(core).collect())
    }
}

impl OffloadConfig {
    /// What sending an input takes of the device.
    pub fn offloading(&self) -> Result<Offloading, String> {
        Ok(Offloading { setup: microseconds(self.setup_us, "offload.setup_us")? })
    }
}

impl ThermalConfig {
    /// The limits: those that are not given are somewhat below those at which the kernel
    /// itself slows the processor down.
    fn rules(&self, root: &Root) -> Result<Rules, String> {
        let suggested = Rules::for_zones(&Zone::all(root));
        let hard = self.hard_celsius.unwrap_or(suggested.hard_celsius);
        let rules = Rules {
            soft_celsius: self.soft_celsius.unwrap_or(suggested.soft_celsius.min(hard)),
            hard_celsius: hard,
            throttled_khz: self.throttled_khz,
            hysteresis_celsius: self.hysteresis_celsius.unwrap_or(suggested.hysteresis_celsius),
            hold_seconds: self.hold_seconds.unwrap_or(suggested.hold_seconds),
            step_seconds: self.step_seconds.unwrap_or(suggested.step_seconds),
            degrade: self.degrade.clone(),
        };
        rules.check().map_err(|error| format!("thermal.{error}"))?;
        Ok(rules)
    }
}

impl Config {
    /// Refuses what contradicts itself.
    pub(super) fn check_promise(&self) -> Result<(), ConfigError> {
        self.executor()?;
        self.real_time()?;
        self.offloading()?;
        self.thermal.rules(&self.sensors.root()).map_err(ConfigError::Value)?;
        let power = self.power.as_ref().map(|power| power.check());
        power.transpose().map_err(|error| ConfigError::Value(format!("power.{error}")))?;
        Ok(())
    }

    /// What runs the inputs of streams.
    pub fn executor(&self) -> Result<Executor, ConfigError> {
        self.executor.executor().map_err(ConfigError::Value)
    }

    /// What each of its threads asks the kernel for.
    pub fn real_time(&self) -> Result<Vec<RealTime>, ConfigError> {
        self.executor.real_time(&self.realtime).map_err(ConfigError::Value)
    }

    /// What sending an input takes, where there is a fog host.
    pub fn offloading(&self) -> Result<Option<Offloading>, ConfigError> {
        let offloading = self.offload.offloading().map_err(ConfigError::Value)?;
        Ok(self.fog.as_ref().map(|_| offloading))
    }

    /// What watches temperature and clock of this machine, whose calibrations are in this
    /// store.
    pub fn monitor(&self, calibrations: Store) -> Result<Monitor, ConfigError> {
        let root = self.sensors.root();
        let rules = self.thermal.rules(&root).map_err(ConfigError::Value)?;
        let machine = Machine::new(rules);
        let machine = machine.map_err(|error| ConfigError::Value(format!("thermal.{error}")))?;
        let device = Device::read(&root.path(""), self.executor.cpus.first().copied());
        Ok(Monitor::new(root, device, machine).with_store(calibrations))
    }

    /// How candidates are tried: as streams run.
    pub fn trial(&self) -> Result<TrialOptions, ConfigError> {
        let real_time = self.real_time()?.first().map(RealTime::below).unwrap_or_default();
        let mut options = TrialOptions::default();
        // By the streams, to which it gives way.
        options.measure.again = if real_time.priority.is_some() { INTERRUPTIONS } else { 0 };
        let SensorsConfig { power, energy, .. } = &self.sensors;
        let (sensors, model, rule) = (power.clone(), self.power, MeasureRule::default());
        Ok(TrialOptions {
            real_time,
            root: self.sensors.root(),
            energy: energy.then_some(Metering { sensors, model, rule }),
            ..options
        })
    }
}

/// The policy where there is no fog host.
pub(crate) fn nowhere_else() -> Box<dyn Policy> {
    Box::new(AllLocal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        std::fs::write(&path, format!("root = \"root\"\nsocket = \"socket\"\n{text}")).unwrap();
        Config::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_has_a_default_and_what_is_given_counts() {
        let config = read("").unwrap();
        assert_eq!(config.executor().unwrap().cores, 1);
        assert_eq!(config.real_time().unwrap(), [RealTime::default()]);
        assert!(config.offloading().unwrap().is_none(), "there is no fog host");
        assert_eq!(config.offload.policy, PolicyName::DeadlineAware);
        let config = read(
            "[executor]\ncores = 2\ncpus = [3, 1]\nscheduling = \"fixed-priority\"\n\
             tolerance_us = 100\n[realtime]\npriority = 50\n[offload]\npolicy = \"learned\"\n\
             setup_us = 50\n[fog]\nurl = \"http://192.0.2.7\"\n[thermal]\nhard_celsius = 70\n",
        )
        .unwrap();
        let executor = config.executor().unwrap();
        assert_eq!((executor.cores, executor.scheduling), (2, Scheduling::FixedPriority));
        assert_eq!(executor.tolerance, Duration::from_micros(100));
        let cpus = config.real_time().unwrap().into_iter().map(|core| (core.cpu, core.priority));
        assert_eq!(cpus.collect::<Vec<_>>(), [(Some(3), Some(50)), (Some(1), Some(50))]);
        assert_eq!(config.offloading().unwrap().unwrap().setup, Duration::from_micros(50));
        assert_eq!(config.offload.policy.policy().name(), "learned");
        let trial = config.trial().unwrap();
        // As the first core's thread, which it gives way to.
        assert_eq!((trial.real_time.cpu, trial.real_time.priority), (Some(3), Some(49)));
        assert!(trial.measure.again > 0);
        let rules = config.thermal.rules(&config.sensors.root()).unwrap();
        assert!(rules.hard_celsius == 70.0 && rules.soft_celsius <= 70.0, "{rules:?}");
    }

    #[test]
    fn what_makes_no_sense_is_named_with_what_is_wanted() {
        for (text, wanted) in [
            ("[executor]\ncores = 0\n", "executor.cores is 0, wanted from 1"),
            ("[executor]\ncpus = [1, 2]\n", "names 2 CPUs, wanted one for each of 1 cores"),
            ("[executor]\ntolerance_us = -1\n", "executor.tolerance_us is -1, wanted from 0"),
            ("[executor]\nthreads = 1\n", "threads"),
            ("[realtime]\npriority = 100\n", "realtime.priority is 100, wanted from 2 to 99"),
            ("[realtime]\npriority = 1\n", "realtime.priority is 1, wanted from 2 to 99"),
            ("[offload]\npolicy = \"best\"\n", "best"),
            ("[offload]\nsetup_us = nan\n", "offload.setup_us is NaN"),
            (
                "[power]\nidle_watts = 3\nbusy_watts = 2\ntransmit_watts = 3\nreceive_watts = 3\n",
                "power.busy_watts is 2",
            ),
            ("[thermal]\nsoft_celsius = 90\nhard_celsius = 80\n", "thermal.hard_celsius is 80"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
