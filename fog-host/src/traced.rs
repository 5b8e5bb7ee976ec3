//! The spans of an inference: under the client's, if it sends one, the whole request, and
//! in it the wait for a worker and the run. The client is told which span answered it.
//! Over gRPC the same headers are the call's metadata.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use leeway_protocol::Answer;
use leeway_telemetry::{Exporter, Kind, Span, TRACEPARENT, TRACERESPONSE, TraceContext};

use crate::error::HttpError;
use crate::host::Target;

/// A span that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    context: TraceContext,
    parent: Option<TraceContext>,
    at: Instant,
}

impl Begun {
    /// Of a request with these headers that began then; `None` where nobody collects
    /// spans.
    pub(crate) fn of(
        exporter: Option<&Exporter>,
        headers: &HeaderMap,
        at: Instant,
    ) -> Option<Self> {
        let exporter = exporter?;
        let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let parent: Option<TraceContext> = parent.and_then(|text| text.parse().ok());
        let context = parent.map_or_else(|| exporter.root(), TraceContext::child);
        Some(Self { context, parent, at })
    }

    /// Tells the client which span this is.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.context.to_string()) {
            headers.insert(TRACERESPONSE, value);
        }
    }
}

/// What is known of a run.
struct Ran {
    at: Instant,
    queue: Duration,
    compute: Duration,
    fuel: u64,
    digest: String,
}

/// A request whose spans are exported when it ends.
pub(crate) struct Traced<'a> {
    exporter: &'a Exporter,
    begun: Begun,
    ran: Option<Ran>,
}

impl<'a> Traced<'a> {
    /// The request of a span.
    pub(crate) fn new(exporter: &'a Exporter, begun: Begun) -> Self {
        Self { exporter, begun, ran: None }
    }

    /// The model has run.
    pub(crate) fn ran(&mut self, answer: &Answer<'_>) {
        self.ran = Some(Ran {
            at: Instant::now(),
            queue: answer.queue,
            compute: answer.compute,
            fuel: answer.fuel.0,
            digest: answer.digest.to_string(),
        });
    }

    /// Exports the spans. `status` is what the protocol says of the outcome.
    pub(crate) fn end(
        self,
        target: &Target,
        status: (&'static str, u64),
        failed: Option<&HttpError>,
    ) {
        let Self { exporter, begun, ran } = self;
        let Begun { context, parent, at: began } = begun;
        let took = began.elapsed();
        let parent = parent.map(|parent| parent.span);
        let mut span = Span::ending_now("infer", Kind::Server, context, parent, took)
            .with("leeway.model", target.name.as_str())
            .with("leeway.version", target.version.as_str())
            .with(status.0, status.1);
        if let Some(Ran { at, queue, compute, fuel, digest }) = ran {
            span = span.with("leeway.digest", digest).with("leeway.fuel", fuel);
            // The worker's times are durations: they end when the answer was here.
            let end = at.saturating_duration_since(began);
            let run = end.saturating_sub(compute);
            exporter.export(span.part("queue", run.saturating_sub(queue), queue));
            exporter.export(span.part("compute", run, compute));
        }
        span.error = failed.map(|error| error.message().to_owned());
        exporter.export(span);
    }
}
