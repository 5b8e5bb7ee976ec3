//! A response whose lines come one after the other.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

/// The body: a line for each message, until the senders are gone.
pub(super) struct Lines(pub(super) UnboundedReceiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(http_body::Frame::data(line))))
    }
}

/// Sends a line of JSON. A client that has gone misses it.
pub(super) fn send(to: &UnboundedSender<Bytes>, message: &impl Serialize) {
    let mut line = serde_json::to_vec(message).expect("a message has only string keys");
    line.push(b'\n');
    to.send(line.into()).ok();
}
