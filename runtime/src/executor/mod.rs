//! The local executor: the order and the segments in which the inputs of admitted
//! streams run on one core, as admission promised their deadlines for.
//!
//! - [`machine`]: who runs next, without a clock, a thread or a network, so that
//!   a test can put it through years of bad luck.
//!
//! An input may be offloaded: it then waits, and becomes ready on the device when
//! it is armed, unless a valid answer has come. What comes later than the device's
//! own answer is counted and dropped. Who is asked, and what is believed of the fog
//! host, is the [`dispatcher`](crate::offload::Dispatcher)'s, which drives one
//! machine for each core; a [`Runner`](crate::offload::Runner) gives it threads.

pub mod machine;

pub use machine::{Counts, JobId, Machine, Service, Shed};
