//! The spans of an inference over HTTP: under the client's, if it sends one, the whole
//! request, and in it the wait for a worker and the run. The client is told which span
//! answered it.

use std::time::{Duration, Instant};

use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use leeway_protocol::Answer;
use leeway_telemetry::{Exporter, Kind, Span, TRACEPARENT, TRACERESPONSE, TraceContext};

use crate::error::HttpError;

/// A request whose spans are exported when it ends.
pub(super) struct Traced<'a> {
    exporter: &'a Exporter,
    context: TraceContext,
    parent: Option<TraceContext>,
    began: Instant,
    ran: Option<Ran>,
}

/// What is known of a run.
struct Ran {
    at: Instant,
    queue: Duration,
    compute: Duration,
    fuel: u64,
    digest: String,
}

impl<'a> Traced<'a> {
    /// A request that began then; `None` where nobody collects spans.
    pub(super) fn begin(
        exporter: Option<&'a Exporter>,
        headers: &HeaderMap,
        began: Instant,
    ) -> Option<Self> {
        let exporter = exporter?;
        let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let parent: Option<TraceContext> = parent.and_then(|text| text.parse().ok());
        let context = parent.map_or_else(TraceContext::root, TraceContext::child);
        Some(Self { exporter, context, parent, began, ran: None })
    }

    /// The model has run.
    pub(super) fn ran(&mut self, answer: &Answer<'_>) {
        self.ran = Some(Ran {
            at: Instant::now(),
            queue: answer.queue,
            compute: answer.compute,
            fuel: answer.fuel.0,
            digest: answer.digest.to_string(),
        });
    }

    /// Exports the spans, and tells the client.
    pub(super) fn end(
        self,
        model: &str,
        version: &str,
        mut result: Result<Response, HttpError>,
    ) -> Result<Response, HttpError> {
        let Self { exporter, context, parent, began, ran } = self;
        let took = began.elapsed();
        let parent = parent.map(|parent| parent.span);
        let mut span = Span::ending_now("infer", Kind::Server, context, parent, took)
            .with("leeway.model", model)
            .with("leeway.version", version);
        if let Some(Ran { at, queue, compute, fuel, digest }) = ran {
            span = span.with("leeway.digest", digest).with("leeway.fuel", fuel);
            // The worker's times are durations: they end when the answer was here.
            let end = at.saturating_duration_since(began);
            let run = end.saturating_sub(compute);
            exporter.export(span.part("queue", run.saturating_sub(queue), queue));
            exporter.export(span.part("compute", run, compute));
        }
        match &mut result {
            Ok(response) => {
                span =
                    span.with("http.response.status_code", u64::from(response.status().as_u16()));
                if let Ok(value) = HeaderValue::try_from(context.to_string()) {
                    response.headers_mut().insert(TRACERESPONSE, value);
                }
            }
            Err(error) => span.error = Some(error.message().to_owned()),
        }
        exporter.export(span);
        result
    }
}
