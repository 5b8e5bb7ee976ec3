//! The asynchronous runtime that a host serves on.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// The tasks between two looks at what has arrived.
const EVENT_INTERVAL: u32 = 8;

/// A runtime for a host, whose threads read requests and write answers: as many as that, or
/// one for each processor.
///
/// What has arrived is looked for after every few tasks: what waits in a socket does so
/// unseen, and of what one connection of HTTP/2 brings at once, nobody knows what came first.
///
/// What a worker has computed comes from another thread, and is looked for before each next
/// request: under load many of these wait to be read, and an answer that waited behind them
/// would be late.
///
/// # Errors
/// Where the system has no more threads.
pub fn runtime(threads: Option<usize>) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    builder
        .thread_name("leeway-fog")
        .global_queue_interval(1)
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
}
