//! The client's end: what it shows, and what it wants to be shown.

mod access;
mod connect;

pub use access::{Access, AccessError};
pub use connect::connect;
