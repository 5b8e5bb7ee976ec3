//! The declared power of the device that the lab plays.

use leeway_runtime::power::PowerModel;

/// Assumed: about what a board takes that is as slow as the lab's device.
pub const SMALL_BOARD: PowerModel =
    PowerModel { idle_watts: 2.7, busy_watts: 3.9, transmit_watts: 3.4, receive_watts: 3.4 };
