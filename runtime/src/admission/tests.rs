//! The tests of the tests: hand-made sets, and random ones against a simulation of
//! the executor.

mod examples;
mod simulation;
