//! The declared power of the device, for what an input takes: power by time in each
//! state of processor and radio, as in A. Carroll, G. Heiser, "An Analysis of Power
//! Consumption in a Smartphone" (USENIX ATC 2010).

use std::time::Duration;

use leeway_runtime::offload::record::DecisionRecord;
use leeway_runtime::power::PowerModel;
use serde::{Deserialize, Serialize};

/// Watts of the whole device in each of its states.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// With nothing to do.
    pub idle_watts: f64,
    /// With one core computing.
    pub busy_watts: f64,
    /// Idle, with the radio sending and receiving.
    pub radio_watts: f64,
}

impl Power {
    fn model(&self) -> PowerModel {
        PowerModel {
            idle_watts: self.idle_watts,
            busy_watts: self.busy_watts,
            transmit_watts: self.radio_watts,
            receive_watts: self.radio_watts,
        }
    }

    /// What an input took over being idle, in joules, by the times that came out. While
    /// the fog host computes, the device is idle; while it is waited for in vain, the
    /// radio listens.
    pub fn joules(&self, record: &DecisionRecord) -> f64 {
        let computing = record.local.unwrap_or_default();
        let radio = match (&record.offloaded, &record.fog_failure) {
            (Some(offloaded), _) => offloaded.transfer,
            (None, Some(failure)) => failure.elapsed,
            (None, None) => Duration::ZERO,
        };
        let model = self.model();
        // Sending and receiving take the same, so how the bytes divide does not matter.
        model.computing_joules(computing) + model.radio_joules(1, 0, radio)
    }
}
