//! The local executor: runs the inputs of admitted streams on one core, in the
//! order and the segments that admission promised their deadlines for.
//!
//! - [`machine`]: who runs next, without a clock, a thread or a network, so that
//!   a test can put it through years of bad luck.
//! - [`LocalExecutor`]: the machine on a thread of its own, with models to run.
//!
//! An input may be offloaded: it then waits, and becomes ready on the device when
//! it is armed, unless a valid answer has come. What comes later than the device's
//! own answer is counted and dropped.

pub mod machine;
mod thread;

pub use machine::{Counts, JobId, Machine, Service, Shed};
pub use thread::{Answered, By, ExecutorError, LocalExecutor, Model, Ticket};
