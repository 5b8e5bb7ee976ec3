//! The device: sandbox, calibration, admission, local executor, link and fog estimates, offloader.

pub mod admission;
pub mod executor;
pub mod golden;
pub mod nanos;
pub mod offload;
pub mod realtime;
pub mod sandbox;
pub mod timing;

#[cfg(test)]
mod testing;
