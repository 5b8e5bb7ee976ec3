//! The thread that sends spans. Whoever ends a span never waits: where the collector
//! is slow or gone, spans are dropped and counted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};

use leeway_tls::client::AccessError;
use ureq::Agent;

use crate::collector::Collector;
use crate::context::TraceContext;
use crate::otlp;
use crate::span::Span;

/// The spans that may wait.
const WAITING: usize = 4096;
/// The most spans in one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest that the collector may take.
const LIMIT: Duration = Duration::from_secs(5);

/// An address that is no collector's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not a URL that spans can be sent to.
    #[error("not the URL of a collector: {seen:?} (wanted http://HOST:PORT or https://HOST:PORT)")]
    Url {
        /// What was given.
        seen: String,
    },
    /// An authority for a URL without TLS, or none for one with it.
    #[error("a collector at https:// wants the authority of its certificate, and no other does")]
    Authority,
    /// A file that is no authority.
    #[error(transparent)]
    File(#[from] AccessError),
    /// There is no thread for it.
    #[error("cannot start the exporter: {0}")]
    Thread(#[from] io::Error),
}

struct Inner {
    /// Taken at the end.
    spans: Option<SyncSender<Span>>,
    thread: Option<JoinHandle<()>>,
    sample: f64,
}

/// Sends spans to a collector. Clones are the same one; when the last is dropped, what
/// waits is sent.
#[derive(Clone)]
pub struct Exporter(Arc<Inner>);

impl Exporter {
    /// Of a service, to the collector at `endpoint`, for example
    /// `http://127.0.0.1:4318`. Nothing is sent yet.
    ///
    /// # Errors
    /// Where that is no such URL, or there is no thread.
    pub fn start(service: &'static str, endpoint: &str) -> Result<Self, EndpointError> {
        Self::to(service, &Collector::at(endpoint))
    }

    /// Of a service, to a collector. Nothing is sent yet.
    ///
    /// # Errors
    /// Where its URL or its authority is of no use, or there is no thread.
    pub fn to(service: &'static str, collector: &Collector) -> Result<Self, EndpointError> {
        let (url, agent) = (collector.target()?, collector.agent(LIMIT)?);
        let (sender, receiver) = sync_channel(WAITING);
        let run = move || send_all(service, &agent, &url, &receiver);
        let thread = std::thread::Builder::new().name("leeway-spans".into()).spawn(run)?;
        let (spans, thread) = (Some(sender), Some(thread));
        Ok(Self(Arc::new(Inner { spans, thread, sample: collector.sample })))
    }

    /// The first span of a trace that begins here; whether it is recorded, is decided
    /// now for all of the trace.
    pub fn root(&self) -> TraceContext {
        TraceContext::root().sampled_by(self.0.sample)
    }

    /// Sends a span, some time. Does not wait.
    pub fn export(&self, span: Span) {
        if !span.context.sampled {
            return;
        }
        if let Some(spans) = &self.0.spans
            && spans.try_send(span).is_err()
        {
            tracing::debug!("a span was dropped: the collector is too slow");
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.spans = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}

fn send_all(service: &str, agent: &Agent, url: &str, spans: &Receiver<Span>) {
    let mut failing = false;
    while let Ok(first) = spans.recv() {
        let batch = batch(first, spans);
        let body = otlp::request(service, &batch);
        let sent = agent.post(url).content_type("application/json").send(&body[..]);
        match sent {
            Ok(_) => failing = false,
            // Once, and not with each batch of an outage.
            Err(error) if !failing => {
                tracing::warn!(url, %error, "spans cannot be sent, and are dropped");
                failing = true;
            }
            Err(_) => {}
        }
    }
}

/// A span and those that come within the interval.
fn batch(first: Span, spans: &Receiver<Span>) -> Vec<Span> {
    let end = Instant::now() + INTERVAL;
    let mut batch = vec![first];
    while batch.len() < BATCH {
        match spans.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(span) => batch.push(span),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::span::Kind;

    #[test]
    fn spans_arrive_and_the_end_waits_for_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let receive = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            while head.lines().last() != Some("") {
                reader.read_line(&mut head).unwrap();
                let last = head.lines().last().unwrap_or_default().to_lowercase();
                if let Some(value) = last.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            reader.get_mut().write_all(answer).unwrap();
            (head, String::from_utf8(body).unwrap())
        });
        let exporter = Exporter::start("leeway-test", &endpoint).unwrap();
        let context = TraceContext::root();
        let span =
            |context| Span::ending_now("a", Kind::Client, context, None, Duration::from_millis(1));
        exporter.export(span(context));
        exporter.export(span(TraceContext { sampled: false, ..context }.child()));
        drop(exporter);
        let (head, body) = receive.join().unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        assert!(body.contains(&context.trace.to_string()) && body.contains("leeway-test"));
        assert_eq!(body.matches("spanId\"").count(), 1, "{body}");
    }

    #[test]
    fn a_url_that_is_no_collectors_is_refused() {
        // Among them one with TLS and without an authority.
        for url in ["", "http://", "localhost:4318", "https://a", "http://a b", "http://a/v1/x"] {
            assert!(Exporter::start("x", url).is_err(), "{url}");
        }
    }
}
