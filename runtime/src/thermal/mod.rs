//! Temperature and clock frequency: what Linux tells of them, and what follows.
//!
//! - [`zone`]: temperatures and trip points.
//! - [`frequency`]: the processor's clock, and how often it was throttled.
//! - [`validity`]: whether a calibration holds at the clock that there is.
//! - [`machine`]: the rules: at which temperature what is done. No clock, no I/O.
//! - [`monitor`]: reads, and puts them together.
//!
//! Above the soft limit the fog host is preferred and what is promised is as of the
//! throttled processor; above the hard limit streams degrade, in a declared order.

pub mod frequency;
pub mod machine;
pub mod monitor;
pub mod validity;
pub mod zone;

pub use frequency::{Frequency, SpeedSeen, Throttling};
pub use machine::{Advice, Level, Machine, Rules, RulesError};
pub use monitor::Monitor;
pub use validity::Validity;
pub use zone::{Trip, TripKind, Zone};
