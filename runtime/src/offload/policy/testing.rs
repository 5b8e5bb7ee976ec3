//! A context for the policies' tests.

use std::time::Duration;

use leeway_contract::{Digest, Fuel};

use super::Context;
use crate::offload::estimate::{OffloadedTime, Spread};
use crate::offload::fog::Traffic;
use crate::offload::health::{LinkHealth, ModuleHealth};
use crate::thermal::Level;

/// Of a model that takes 50 ms on the device, 10 ms on the link and 5 ms on the fog
/// host, without a deadline.
pub(crate) fn context() -> Context {
    let ms = Duration::from_millis;
    Context {
        module: Digest::of(b"m"),
        wcet: ms(50),
        bound: ms(60),
        transfer: Some(ms(10)),
        fog: Some(ms(5)),
        offloaded: Some(OffloadedTime {
            transfer: Spread::constant(0.010),
            fog: Spread::constant(0.005),
            answered: 1.0,
        }),
        traffic: Traffic { up_bytes: 4_000, down_bytes: 500 },
        fuel: Fuel(1_000_000),
        deadline: None,
        armed: None,
        backlog: Duration::ZERO,
        energy: None,
        heat: Level::Normal,
        link: LinkHealth::Up { age: ms(1) },
        on_fog: ModuleHealth::Good,
    }
}
