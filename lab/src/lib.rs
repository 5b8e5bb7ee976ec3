//! A slow device, a real link and a fog host on one machine: the experiment and
//! its report.
//!
//! [`prepare`] compiles the reference models, [`experiment`] runs them on the
//! device and, over an emulated [`link`], on the fog host, under each policy;
//! what it saw is a [`study`], which [`report`] turns into tables and figures.
//! [`deadlines`] is another study, of admitted streams in simulated time.

pub mod deadlines;
pub mod experiment;
pub mod link;
pub mod power;
pub mod prepare;
pub mod report;
pub mod study;
