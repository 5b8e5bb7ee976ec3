//! Emitting WebAssembly: functions, loop nests, element-wise mathematics, and
//! the module they are put into.

pub mod code;
pub mod data;
pub mod double;
pub mod half;
pub mod math;
pub mod module;
pub mod nest;
pub mod wide;
