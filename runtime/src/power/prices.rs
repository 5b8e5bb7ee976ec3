//! What running here and an exchange with the fog host take, from what has been
//! measured of the processor and declared of the radio.

use std::time::Duration;

use super::attribution::{Basis, PerInference};
use super::model::PowerModel;
use crate::offload::energy::EnergyModel;
use crate::offload::fog::Traffic;

/// Power above idle of computing, as measured or declared, and of the radio, as
/// declared: no sensor that is common tells a radio's power.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    computing_watts: f64,
    computing: Basis,
    model: PowerModel,
}

impl Prices {
    /// All of it as declared.
    pub fn declared(model: PowerModel) -> Self {
        let computing_watts = model.busy_watts - model.idle_watts;
        Self { computing_watts, computing: Basis::Modelled, model }
    }

    /// Computing as it was measured of an inference.
    pub fn measured(energy: &PerInference, model: PowerModel) -> Self {
        let computing_watts = energy.watts_of_computing();
        Self { computing_watts, computing: energy.basis, model }
    }
}

impl EnergyModel for Prices {
    fn local_joules(&self, execution: Duration) -> f64 {
        self.computing_watts * execution.as_secs_f64()
    }

    fn exchange_joules(&self, traffic: Traffic, transfer: Duration, _fog: Duration) -> f64 {
        self.model.radio_joules(traffic.up_bytes, traffic.down_bytes, transfer)
    }

    fn basis(&self, with_exchange: bool) -> Basis {
        if with_exchange { Basis::Modelled } else { self.computing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::attribution::Load;

    #[test]
    fn computing_is_as_measured_and_the_radio_as_declared() {
        let model = PowerModel {
            idle_watts: 2.0,
            busy_watts: 5.0,
            transmit_watts: 3.0,
            receive_watts: 2.5,
        };
        let second = Duration::from_secs(1);
        let load = Load { runs: 1, busy: second };
        let measured = PerInference {
            basis: Basis::Measured,
            busy_watts: 4.0,
            idle_watts: Some(3.0),
            ..PerInference::modelled(&model, load, String::new())
        };
        let traffic = Traffic { up_bytes: 100, down_bytes: 0 };
        for (prices, watts, basis) in [
            (Prices::declared(model), 3.0, Basis::Modelled),
            (Prices::measured(&measured, model), 1.0, Basis::Measured),
        ] {
            assert_eq!((prices.local_joules(second), prices.basis(false)), (watts, basis));
            assert_eq!(prices.exchange_joules(traffic, second / 2, second), 0.5);
            assert_eq!(prices.basis(true), Basis::Modelled);
        }
    }
}
