//! The agent as a process of its own, told what to do through its sockets.

mod lifecycle;
mod refusals;
mod robust;
mod running;
