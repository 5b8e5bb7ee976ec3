//! What running here and an exchange with the fog host take, as declared: no sensor
//! that is common tells a radio's power. Of a module whose joules were measured when it
//! was calibrated, these take the place of what is declared of computing.

use std::time::Duration;

use super::attribution::{Basis, Computing};
use super::model::PowerModel;
use crate::offload::energy::EnergyModel;
use crate::offload::fog::Traffic;

/// The declared power of a device, as the offloader asks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices(PowerModel);

impl Prices {
    /// By this model.
    pub fn declared(model: PowerModel) -> Self {
        Self(model)
    }
}

impl EnergyModel for Prices {
    fn computing(&self) -> Computing {
        let watts = self.0.busy_watts - self.0.idle_watts;
        Computing { watts, basis: Basis::Modelled }
    }

    fn exchange_joules(&self, traffic: Traffic, transfer: Duration, _fog: Duration) -> f64 {
        self.0.radio_joules(traffic.up_bytes, traffic.down_bytes, transfer)
    }
}
