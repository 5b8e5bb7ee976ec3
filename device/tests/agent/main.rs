//! The agent as a process of its own, told what to do through its sockets.

mod compiling;
mod fog;
mod lifecycle;
mod measured;
mod mqtt;
mod reached;
mod refusals;
mod robust;
mod running;
mod slow;
mod streams;
