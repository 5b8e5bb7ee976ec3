//! The device: sandbox, calibration, link and fog estimates, offloader.

pub mod golden;
pub mod sandbox;

#[cfg(test)]
mod testing;
