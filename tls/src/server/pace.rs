//! How fast a client must send the head of a request, over HTTP/1.1: a connection may
//! idle between requests for long, but once a head has begun it must come to its end.
//! hyper has one time limit for both.
//!
//! HTTP/2 has its own: its connections are asked whether they live.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The first bytes of every HTTP/2 connection.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// Whether a request's head has come whose answer is not yet made. A clone is the same
/// one.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_answering: AtomicBool,
    begun: AtomicU64,
}

impl UnderWay {
    /// A head has come.
    pub(super) fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        self.0.is_answering.store(true, Ordering::Release);
    }

    /// The answer is made: the next thing to come is a head.
    pub(super) fn end(&self) {
        self.0.is_answering.store(false, Ordering::Release);
    }
}

/// A stream on which heads must come in time.
pub(super) struct Paced<S> {
    stream: S,
    under_way: UnderWay,
    time: Duration,
    /// Set while a head is coming.
    until: Option<Pin<Box<Sleep>>>,
    is_http2: Option<bool>,
    /// The requests whose heads had come when `until` was looked at.
    begun: u64,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, under_way: UnderWay, time: Duration) -> Self {
        Self { stream, under_way, time, until: None, is_http2: None, begun: 0 }
    }

    /// Bytes have come.
    fn came(&mut self, bytes: &[u8]) {
        let http2 = *self.is_http2.get_or_insert_with(|| bytes.starts_with(HTTP2));
        if self.is_answering() || http2 {
            self.until = None;
        } else if self.until.is_none() {
            self.until = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.time)));
        }
    }

    /// Whether what comes is no head; forgets the time of one that has come.
    fn is_answering(&mut self) -> bool {
        let State { is_answering, begun } = &*self.under_way.0;
        let (is_answering, begun) =
            (is_answering.load(Ordering::Acquire), begun.load(Ordering::Acquire));
        if is_answering || begun != self.begun {
            (self.until, self.begun) = (None, begun);
        }
        is_answering
    }

    /// Whether it is too late for the head that is coming.
    fn is_too_late(&mut self, context: &mut Context<'_>) -> bool {
        self.is_answering();
        self.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &read {
            Poll::Ready(Ok(())) => {
                let bytes = &buffer.filled()[before..];
                if !bytes.is_empty() {
                    self.came(bytes);
                }
                // Byte by byte, each in time, is not in time.
                if self.is_too_late(context) { too_late() } else { read }
            }
            Poll::Pending if self.is_too_late(context) => too_late(),
            _ => read,
        }
    }
}

fn too_late() -> Poll<io::Result<()>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
