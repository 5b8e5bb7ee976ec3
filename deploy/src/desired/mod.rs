//! The desired state: what a device shall be ([`DesiredState`], one small file), and what
//! brings it there.
//!
//! - [`kept`]: what is remembered of it.
//! - [`machine`]: what is to be done, without clock or thread.
//! - [`reconciler`]: the machine with threads: one for each attempt, so that no model
//!   waits for another one.

pub mod kept;
pub mod machine;
pub mod reconciler;

pub use kept::{Kept, StaleError, Want};
pub use leeway_control::desired::{
    DesiredError, DesiredModel, DesiredState, DesiredStatus, GoalState, GoalStatus, Others, Wanted,
};
pub use reconciler::{Origin, OriginError, Reconciler, Resolved, Told, WantError};
