//! What the two choices take of the device's energy, behind one trait.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fog::Traffic;
use crate::power::Computing;

/// Tells what the device spends, in joules over what it would spend idle. The
/// fog host's energy is not the device's.
pub trait EnergyModel: Send + Sync + fmt::Debug {
    /// A core that runs a model of which nothing was measured.
    fn computing(&self) -> Computing;

    /// An exchange with the fog host: sending, receiving, and waiting for it.
    fn exchange_joules(&self, traffic: Traffic, transfer: Duration, fog: Duration) -> f64;
}

/// What each choice is expected to take of the device's energy. An input that is
/// offloaded and compensated takes both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceEnergy {
    /// A run on the device.
    pub local_joules: f64,
    /// An exchange with the fog host.
    pub exchange_joules: f64,
}
