//! The fog host over real sockets on the loopback interface.

mod audit;
mod collector;
mod device;
mod grpc;
mod hostile;
mod infer;
mod lifecycle;
mod modules;
mod overload;
mod page;
mod parts;
mod program;
mod quotas;
mod secure;
mod slow;
mod support;
#[path = "../../../runtime/src/testing.rs"]
mod testing;
mod traces;
mod trust;
