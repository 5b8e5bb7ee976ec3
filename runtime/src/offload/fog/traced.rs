//! The spans of inferences that the fog host is asked for: each the beginning of a
//! trace, which the fog host goes on with (W3C Trace Context). They are for people;
//! nothing is decided by them.

use std::time::Instant;

use leeway_telemetry::{Exporter, Kind, Span, TraceContext};

use super::{FogAnswer, FogError, InferRequest};

/// An exchange that is under way.
pub(super) struct Traced<'a> {
    exporter: &'a Exporter,
    context: TraceContext,
    began: Instant,
    /// The fog host's span, by its own word.
    answered_by: Option<TraceContext>,
}

impl<'a> Traced<'a> {
    /// Begins a trace; `None` where nobody collects spans.
    pub(super) fn begin(exporter: Option<&'a Exporter>) -> Option<Self> {
        let context = TraceContext::root();
        Some(Self { exporter: exporter?, context, began: Instant::now(), answered_by: None })
    }

    /// What the request's header says.
    pub(super) fn traceparent(&self) -> String {
        self.context.to_string()
    }

    /// The response's header says which span answered.
    pub(super) fn answered_by(&mut self, traceresponse: Option<&str>) {
        self.answered_by = traceresponse.and_then(|text| text.parse().ok());
    }

    /// The exchange has ended so.
    pub(super) fn end(self, request: &InferRequest<'_>, result: &Result<FogAnswer, FogError>) {
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let took = self.began.elapsed();
        let mut span = Span::ending_now("ask the fog host", Kind::Client, self.context, None, took)
            .with("leeway.model", request.certificate.model.name.as_str())
            .with("leeway.digest", request.digest.to_string())
            .with("leeway.request", request.id);
        if let Some(by) = self.answered_by {
            span = span.with("leeway.fog.span_id", by.span.to_string());
        }
        match result {
            Ok(answer) => {
                span = span
                    .with("leeway.fuel", answer.time.fuel.0)
                    .with("leeway.fog.queue_ns", nanos(answer.time.queue))
                    .with("leeway.fog.compute_ns", nanos(answer.time.compute));
            }
            Err(error) => span.error = Some(error.to_string()),
        }
        self.exporter.export(span);
    }
}
