//! One version of a model to many devices: wave after wave, watched until each has
//! proven itself, and stopped where too many do not.
//!
//! | file      | subject                                                      |
//! |-----------|--------------------------------------------------------------|
//! | `file`    | the fleet's file: devices, waves, limits                     |
//! | `rollout` | which device is next: a machine without clock, thread or I/O |
//! | `device`  | one device: sent to, deployed on, watched                    |
//! | `run`     | the machine with threads and a clock                         |
//! | `each`    | the same question to every device                            |
//! | `journal` | what came of each device, so that a rollout can be resumed   |

pub mod device;
pub mod each;
pub mod file;
pub mod journal;
pub mod rollout;
pub mod run;

pub use device::{Module, Phase};
pub use file::{Device, Fleet, FleetError};
pub use journal::{Journal, JournalError};
pub use rollout::{Limits, Next, Outcome, Rollout, Stopped};
