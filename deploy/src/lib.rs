//! Deploying model modules on a device: a new version is verified, compiled,
//! replayed, measured and admitted while the old one serves, then one pointer is
//! swapped; a power cut at any instant leaves the one or the other.
//!
//! - [`files`]: the file layer under everything that is durable.
//! - [`store`]: modules on disk, by digest.
//! - [`state`]: which module is active, and what it would fall back to.
//! - [`trust`]: who may say so.
//! - [`compile`]: compiling in a program of its own, within limits.
//! - [`transaction`]: what a version goes through.
//! - [`serving`]: what answers, behind one pointer for each model.
//! - [`probation`]: whether what has just begun to answer is healthy.
//! - [`deployer`]: puts them together: [`Deployer`].
//! - [`desired`]: brings the device to what it shall be, by one file.
//!
//! There is no HTTP here and nothing asynchronous: the agent around it has that.

pub mod compile;
pub mod deployer;
pub mod desired;
pub mod files;
pub mod probation;
pub mod serving;
pub mod state;
pub mod store;
pub mod transaction;
pub mod trust;

pub use deployer::{Config, Deployed, Deployer, OpenError, calibrations, open};

#[cfg(test)]
#[path = "../../runtime/src/testing.rs"]
mod testing;
