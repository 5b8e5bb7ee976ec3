//! The device: sandbox, calibration, link and fog estimates, offloader.

pub mod calibrate;
pub mod golden;
pub mod nanos;
pub mod offload;
pub mod realtime;
pub mod sandbox;

#[cfg(test)]
mod testing;
