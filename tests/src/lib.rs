//! Whole-system tests and benchmarks across the crates.
