//! The link between the device and the fog host, emulated in user space: a TCP
//! relay that holds every byte back as long as the link of a [`LinkProfile`]
//! would have taken to carry it.
//!
//! What it costs to cross the link is decided in one place, [`LinkModel`], a
//! pure function of the seed and of what was sent when; [`Link`] only reads,
//! waits and writes. The model has
//!
//! - a rate for each direction, shared by all connections (serialisation delay
//!   and queueing behind each other);
//! - a fixed delay, and jitter on top of it, for each segment;
//! - lost segments, which cost the time that TCP needs to send them again, and
//!   hold back what follows on the same connection;
//! - outages, in which nothing passes;
//! - one round trip for the establishment of a connection.
//!
//! It has no slow start (a request of the lab's models fits into the initial
//! window, RFC 6928), no shared medium between the two directions, and no
//! segments for acknowledgements.

mod connection;
mod gate;
mod model;
mod outage;
mod profile;
mod relay;

pub use model::{Delivery, Direction, Flow, HEADER_BYTES, LinkModel, SEGMENT_BYTES};
pub use outage::{OutageSchedule, Outages};
pub use profile::{LinkProfile, UnknownProfile};
pub use relay::{Link, LinkStats};
