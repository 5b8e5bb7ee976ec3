//! Time that can be promised: how long a model takes on this device.
//!
//! Fuel is exact and the same everywhere; time is a property of one device in one
//! configuration, and is measured there. What a measurement sees of a model is
//! three things: the model's own time, which depends on the input only through the
//! operands (control flow and fuel do not depend on data); the state of caches,
//! predictors and clock frequency; and whatever else the machine does at that
//! moment.
//!
//! - [`measure`]: runs a model with warm and with cold caches ([`evict`]).
//! - [`run`]: one measured run, and what disturbed it.
//! - [`summary`]: what many runs say: [`Timing`].
//! - [`quantile`]: quantiles with intervals.
//! - [`hypothesis`], [`evt`]: the probabilistic worst case, and when there is none.
//! - [`bound`]: what is promised, and what for: [`Bound`].
//! - [`device`]: which device a calibration holds for.
//! - [`calibration`]: all of it together: [`Calibration`]; [`calibrate`] makes one.
//! - [`store`]: calibrations on disk.
//! - [`watch`]: the bound at run time, which every execution feeds: [`Watch`].

pub mod bound;
mod calibrate;
pub mod calibration;
pub mod device;
mod evict;
pub mod evt;
pub mod hypothesis;
pub mod measure;
pub mod quantile;
pub mod run;
pub mod store;
pub mod summary;
pub mod watch;

pub use bound::{Basis, Bound, BoundRule};
pub use calibrate::calibrate;
pub use calibration::{Calibration, Claims, Condition, Seen};
pub use device::Device;
pub use run::{Cause, RunSample};
pub use store::{Store, StoreError};
pub use summary::Timing;
pub(crate) use summary::times;
pub use watch::{Keeper, Watch};

#[cfg(test)]
pub(crate) mod testing;
