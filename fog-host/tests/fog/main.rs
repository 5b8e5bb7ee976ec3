//! The fog host over real sockets on the loopback interface.

mod device;
mod grpc;
mod infer;
mod lifecycle;
mod modules;
mod overload;
mod page;
mod support;
#[path = "../../../runtime/src/testing.rs"]
mod testing;
