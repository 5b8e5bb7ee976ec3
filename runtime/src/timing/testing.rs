//! Made-up calibrations for tests.

use std::time::Duration;

use leeway_contract::{Digest, Fuel};

use super::calibration::{Calibration, Claims, Condition, FORMAT, Seen};
use super::device::Device;
use super::evt::TailOptions;
use super::run::RunSample;
use super::summary::Timing;
use crate::realtime::{Grant, RealTimeReport};
use crate::sandbox::EngineKind;

/// Of a module of two stages whose runs take a millisecond at most.
pub fn calibration() -> Calibration {
    let samples: Vec<RunSample> = (0..60)
        .map(|i| RunSample { input: i % 3, ns: 1_000_000 - 100 * (i as u64 % 7), causes: vec![] })
        .collect();
    let timing = |fuel| Timing::of(&samples, Fuel(fuel), &TailOptions::default()).unwrap();
    let warm = Condition { whole: timing(300), stages: vec![timing(100), timing(200)] };
    let granted = Grant::Granted;
    Calibration {
        format: FORMAT,
        claims: Claims {
            module: Digest::of(b"module"),
            engine: EngineKind::Native,
            engine_hash: "0123456789abcdef".into(),
            device: Device { machine: "Board".into(), core: Some(1), ..Device::default() },
        },
        real_time: RealTimeReport {
            cpu: Some(1),
            pinned: granted.clone(),
            scheduling: Grant::Refused { reason: "not permitted".into() },
            memory: granted,
        },
        seed: 1,
        inputs: 3,
        warm,
        cold: None,
        seen: Seen::default(),
        samples: samples.clone(),
        speed: None,
        energy: None,
    }
}

/// The longest run of [`calibration`].
pub const LONGEST: Duration = Duration::from_millis(1);
