//! The declared power of a device, for what no sensor measures.
//!
//! ```toml
//! idle_watts = 2.1
//! busy_watts = 4.6
//! transmit_watts = 3.0
//! receive_watts = 2.7
//! ```
//!
//! Each is the power of the whole device in that state: one core computing, the
//! radio sending, the radio receiving. That energy is power by time in each state
//! of the processor and the radio is the model of A. Carroll, G. Heiser, "An
//! Analysis of Power Consumption in a Smartphone" (USENIX ATC 2010).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Watts of a device in each of its states.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerModel {
    /// With nothing to do.
    pub idle_watts: f64,
    /// With one core computing.
    pub busy_watts: f64,
    /// Idle, and sending.
    pub transmit_watts: f64,
    /// Idle, and receiving.
    pub receive_watts: f64,
}

/// Why a text is no power model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// It is not TOML with these four values.
    #[error(
        "not a power model ({0}); wanted idle_watts, busy_watts, transmit_watts, receive_watts"
    )]
    Syntax(String),
    /// A value is impossible.
    #[error("{name} is {seen}; a power from {lowest} to 10000 W is wanted")]
    Value {
        /// Which.
        name: &'static str,
        /// Its value.
        seen: f64,
        /// The lowest that makes sense.
        lowest: f64,
    },
}

impl PowerModel {
    /// Reads it from TOML.
    pub fn from_toml(text: &str) -> Result<Self, ModelError> {
        let model: Self =
            toml::from_str(text).map_err(|error| ModelError::Syntax(error.message().to_owned()))?;
        model.check()?;
        Ok(model)
    }

    /// Refuses what no device has: negative power, and a state that takes less
    /// than being idle.
    pub fn check(&self) -> Result<(), ModelError> {
        let idle = self.idle_watts;
        let values = [
            ("idle_watts", idle, 0.0),
            ("busy_watts", self.busy_watts, idle),
            ("transmit_watts", self.transmit_watts, idle),
            ("receive_watts", self.receive_watts, idle),
        ];
        match values.into_iter().find(|(_, seen, lowest)| !(*lowest..=1e4).contains(seen)) {
            Some((name, seen, lowest)) => Err(ModelError::Value { name, seen, lowest }),
            None => Ok(()),
        }
    }

    /// Joules above idle of computing on one core for this time.
    pub fn computing_joules(&self, time: Duration) -> f64 {
        (self.busy_watts - self.idle_watts) * time.as_secs_f64()
    }

    /// Joules above idle of the radio in an exchange that spends `transfer` on the
    /// link. Which part of it is sending is not known, and taken to be in
    /// proportion to the bytes. While the fog host computes, the device is idle.
    pub fn radio_joules(&self, up_bytes: u64, down_bytes: u64, transfer: Duration) -> f64 {
        let bytes = up_bytes.saturating_add(down_bytes).max(1) as f64;
        let (up, down) = (up_bytes as f64 / bytes, down_bytes as f64 / bytes);
        let watts = up * (self.transmit_watts - self.idle_watts)
            + down * (self.receive_watts - self.idle_watts);
        watts * transfer.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: PowerModel =
        PowerModel { idle_watts: 2.0, busy_watts: 5.0, transmit_watts: 3.0, receive_watts: 2.5 };

    #[test]
    fn a_file_is_read_and_a_wrong_one_says_what_is_wrong() {
        let text =
            "idle_watts = 2\nbusy_watts = 5.0\ntransmit_watts = 3.0\nreceive_watts = 2.5 # W\n";
        assert_eq!(PowerModel::from_toml(text).unwrap(), MODEL);
        let wrong = |text: &str| PowerModel::from_toml(text).unwrap_err().to_string();
        assert!(wrong("idle_watts = 2").contains("busy_watts"));
        assert!(wrong(&format!("{text}volts = 5")).contains("volts"));
        assert!(wrong(&text.replace("5.0", "1.0")).starts_with("busy_watts is 1"));
        assert!(wrong(&text.replace("= 2\n", "= -1\n")).starts_with("idle_watts is -1"));
        assert!(wrong(&text.replace("3.0", "nan")).starts_with("transmit_watts is NaN"));
    }

    #[test]
    fn energy_is_power_above_idle_by_time() {
        let second = Duration::from_secs(1);
        assert_eq!(MODEL.computing_joules(second), 3.0);
        assert_eq!(MODEL.radio_joules(100, 0, second), 1.0);
        assert_eq!(MODEL.radio_joules(0, 100, second), 0.5);
        assert_eq!(MODEL.radio_joules(300, 100, second), 0.875);
        assert_eq!(MODEL.radio_joules(0, 0, second), 0.0);
    }
}
