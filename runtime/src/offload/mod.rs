//! The offloader: decides for each input of each model whether the device or
//! the fog host runs it, and lets no input go unanswered.
//!
//! - [`clock`]: time behind a trait, for simulation.
//! - [`estimate`]: T_L and T_F from what was measured.
//! - [`policy`]: the decision, behind one trait.
//! - [`fog`]: the fog host, behind one trait, and over HTTP.
//! - [`energy`]: what each choice takes of the device's energy, behind one trait.
//! - [`local`]: the device's executor, behind one trait.
//! - [`Offloader`]: one input at a time, without a promise, on the caller's thread.
//! - [`Dispatcher`]: inputs of admitted streams, whose deadlines are kept;
//!   [`Runner`] runs it, [`simulate`] does so in simulated time.
//! - [`Host`]: a device's one fog host and what is believed of it, for all of these.
//! - [`Prober`] keeps the estimates fresh.
//! - [`record`]: what is written down of every input.
//! - [`report`]: what of that the fog host is told.
//! - [`sensor`]: where the inputs come from in experiments.
//!
//! It knows the fog host by its protocol only, and no server's code.

mod allowance;
mod beliefs;
pub mod clock;
mod dispatcher;
pub mod energy;
pub mod estimate;
pub mod fog;
pub mod health;
mod host;
pub mod local;
mod offloader;
pub mod policy;
mod prober;
pub mod record;
pub mod report;
mod runner;
pub mod sensor;
pub mod simulate;
mod subject;

pub use allowance::ProbeBudget;
pub use beliefs::{Beliefs, Due, ProbeRule};
pub use dispatcher::{
    Begun, Discarded, Dispatcher, InputId, NotTaken, Placed, Ran, Replied, Stopped,
};
pub use host::Host;
pub use offloader::{Answer, InferError, Offloader, Options, Task, TaskId, WaitRule};
pub use prober::{ProbeThread, Probed, Prober};
pub use runner::{Answered, Model, Runner, RunnerError, Set, Setup, Ticket};
pub use subject::{Course, Moment, Subject};

#[cfg(test)]
pub(crate) mod tests;
