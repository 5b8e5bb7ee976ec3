//! What is said between a device's agent and those who operate it: no I/O, no HTTP,
//! and no engine, so that a program that only speaks to an agent has none.
//!
//! - [`calibration`]: what a device has measured of a model.
//! - [`messages`]: the messages of the control API.
//! - [`deployment`]: what a deployment goes through and comes to.
//! - [`desired`]: what a device shall be, and how far it is with that.
//! - [`report`]: what a device says of itself where it was not asked.
//! - [`slots`]: which versions of a model a device has, and what may happen to them.
//! - [`streams`]: what is promised to streams, and what happened to their inputs.
//! - [`settings`]: what is asked of a model on a device.

pub mod calibration;
pub mod deployment;
pub mod desired;
pub mod messages;
pub mod report;
pub mod settings;
pub mod slots;
pub mod streams;

pub use deployment::{Deployed, Progress, Rolled, Step};
pub use messages::{DeployEvent, DeployRequest, ModelStatus, Status};
pub use settings::Settings;
pub use slots::Slots;
