//! Energy: what Linux measures of it, what is declared where nothing measures it,
//! and what of it one inference takes.
//!
//! - [`sensor`]: one sensor, and how it is read.
//! - [`discover`]: RAPL zones, power monitors and batteries under a root; which of
//!   them measure the device once.
//! - [`integral`]: energy over time from samples.
//! - [`meter`]: samples sensors on a thread.
//! - [`model`]: the declared power of a device.
//! - [`attribution`]: the joules of one inference.
//! - [`measure`]: measures them.
//! - [`prices`]: the declared joules of running here and of an exchange, for the
//!   offloader.
//!
//! Joules of an inference are those above what the device takes when idle, as far
//! as that is known: idle power is spent whatever is decided. What is not measured
//! is marked as modelled.

pub mod attribution;
pub mod discover;
mod hwmon;
pub mod integral;
pub mod measure;
pub mod meter;
pub mod model;
pub mod prices;
mod rapl;
pub mod sensor;

pub use attribution::{Basis, Computing, PerInference, Unresolved};
pub use discover::{Chosen, Found, NoSuchSensor};
pub use measure::{MeasureError, MeasureRule, joules};
pub use meter::Meter;
pub use model::{ModelError, PowerModel};
pub use prices::Prices;
pub use sensor::{Domain, Sensor};
