//! What the device believes about its link (T_L) and its fog host (T_F), from
//! durations only: the two machines' clocks are never compared.

mod change;
mod fit;
mod fog_time;
mod link;
mod offloaded;
mod spread;
mod weighted;

pub use fog_time::{FogTime, FogTimeEstimator};
pub use link::{ExchangeKind, LinkEstimator, LinkParameters, REMEMBERED, TAIL_REMEMBERED};
pub use offloaded::OffloadedTime;
pub use spread::{POINTS, Spread, WINDOW};

#[cfg(test)]
mod tests;
