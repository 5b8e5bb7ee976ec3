//! The device: sandbox, calibration, admission, local executor, link and fog estimates,
//! offloader, energy and temperature.

pub mod admission;
pub mod doctor;
pub mod executor;
pub mod golden;
pub mod nanos;
pub mod offload;
pub mod power;
pub mod realtime;
pub mod sandbox;
pub mod sysfs;
pub mod thermal;
pub mod timing;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod testing;
