//! Where to run an input: the policies, behind one trait.
//!
//! A policy sees what is known at the moment of the decision and nothing else.
//! It reads no clock and does no I/O, so that a decision is a pure function of
//! its context and of what the policy has been told of earlier ones.

mod cooling;
mod deadline_aware;
mod energy_aware;
mod fixed;
mod learned;
#[cfg(test)]
pub(crate) mod testing;
mod threshold;

use std::fmt;
use std::time::Duration;

use leeway_contract::{Digest, Fuel};
use serde::{Deserialize, Serialize};

pub use cooling::Cooling;
pub use deadline_aware::DeadlineAware;
pub use energy_aware::EnergyAware;
pub use fixed::{AllFog, AllLocal};
pub use learned::Learned;
pub use threshold::Threshold;

use super::energy::ChoiceEnergy;
use super::estimate::OffloadedTime;
use super::fog::Traffic;
use super::health::{LinkHealth, ModuleHealth};
use super::record::DecisionRecord;
use crate::thermal::Level;

/// What is known when an input is to be placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Context {
    /// The module.
    pub module: Digest,
    /// Its worst-case execution time on this device, from calibration.
    pub wcet: Duration,
    /// What is promised of that time; the WCET where nothing is.
    pub bound: Duration,
    /// T_L: what an inference would spend on the link. `None` where nothing has
    /// been exchanged yet.
    pub transfer: Option<Duration>,
    /// T_F: what it would spend on the fog host. `None` where the fog host has
    /// not run anything yet.
    pub fog: Option<Duration>,
    /// T_L + T_F as a distribution; `None` where either is not known.
    pub offloaded: Option<OffloadedTime>,
    /// What an exchange is expected to move.
    pub traffic: Traffic,
    /// What the model is certified to burn.
    pub fuel: Fuel,
    /// What is left of the input's deadline, where it has one.
    pub deadline: Option<Duration>,
    /// How long from now the device begins by itself, if the input is offloaded and
    /// no answer has come: what admission has found to keep every deadline. `None`
    /// where nothing is promised.
    pub armed: Option<Duration>,
    /// The work that the device would do before this input.
    pub backlog: Duration,
    /// What each choice is expected to take of the device's energy, where there is
    /// a model of it.
    pub energy: Option<ChoiceEnergy>,
    /// How hot the device is.
    pub heat: Level,
    /// The link's state.
    pub link: LinkHealth,
    /// How the fog host has served this module.
    pub on_fog: ModuleHealth,
}

impl Context {
    /// The response time on the device: what is before the input, and its own
    /// execution.
    pub fn local(&self) -> Duration {
        self.backlog.saturating_add(self.wcet)
    }
}

/// Where an input runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// On the device.
    Local,
    /// On the fog host, and on the device if that fails.
    Fog,
}

/// Why it runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The policy always says so.
    Always,
    /// WCET > T_L + T_F.
    FogIsFaster,
    /// WCET <= T_L + T_F.
    DeviceIsFaster,
    /// WCET > T_L, and T_F is not known: one inference finds out.
    FogUntried,
    /// Nothing has been heard of the fog host yet.
    LinkUnknown,
    /// The last contact was too long ago.
    LinkStale,
    /// The last contact failed, and no probe has succeeded since.
    LinkDown,
    /// The fog host has failed this module, and it is not yet time to try again.
    FogFailing,
    /// The answer is expected earlier from the fog host, with compensation.
    BenefitExpected,
    /// It is not.
    NoBenefit,
    /// The fog host is not likely to answer before the device must begin.
    UnlikelyInTime,
    /// The device must begin at once to keep the deadline.
    NoSlack,
    /// Fewer of the device's joules are expected to be spent with the fog host.
    FogIsCheaper,
    /// They are not.
    DeviceIsCheaper,
    /// There is no model of the device's energy.
    EnergyUnknown,
    /// The device is hot, and the fog host likely to answer in time.
    DeviceIsHot,
    /// To learn of the fog host, whatever is expected.
    ForcedSample,
    /// Inputs of this stream stay on the device.
    NotAllowed,
    /// The streams are about to be others: until then nothing is waited for.
    SetChanges,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Always => "always",
            Reason::FogIsFaster => "WCET > T_L + T_F",
            Reason::DeviceIsFaster => "WCET <= T_L + T_F",
            Reason::FogUntried => "T_F unknown, WCET > T_L",
            Reason::LinkUnknown => "no contact with the fog host yet",
            Reason::LinkStale => "no recent contact with the fog host",
            Reason::LinkDown => "the link is down",
            Reason::FogFailing => "the fog host fails this module",
            Reason::BenefitExpected => "an earlier answer is expected from the fog host",
            Reason::NoBenefit => "no earlier answer is expected from the fog host",
            Reason::UnlikelyInTime => "the fog host is not likely to answer in time",
            Reason::NoSlack => "the deadline leaves no time to wait",
            Reason::NotAllowed => "the stream's inputs stay on the device",
            Reason::SetChanges => "the streams are about to be others",
            Reason::FogIsCheaper => "the fog host costs the device fewer joules",
            Reason::DeviceIsCheaper => "the fog host costs the device no fewer joules",
            Reason::EnergyUnknown => "nothing is known of the device's energy",
            Reason::DeviceIsHot => "the device is hot",
            Reason::ForcedSample => "a sample, to learn of the fog host",
        })
    }
}

/// A placement with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where.
    pub placement: Placement,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// On the device.
    pub fn local(reason: Reason) -> Self {
        Self { placement: Placement::Local, reason }
    }

    /// On the fog host.
    pub fn fog(reason: Reason) -> Self {
        Self { placement: Placement::Fog, reason }
    }
}

/// Decides where each input runs.
pub trait Policy: Send + fmt::Debug {
    /// Its name in records and reports.
    fn name(&self) -> &'static str;

    /// Places one input.
    fn decide(&mut self, context: &Context) -> Decision;

    /// Learns how an input that it placed has fared. Most policies do not.
    fn observe(&mut self, _record: &DecisionRecord) {}
}
