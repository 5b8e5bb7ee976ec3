//! A slow device, a real link and a fog host on one machine: the experiment and its report.
pub mod experiment;
pub mod link;
pub mod report;
pub mod study;
