//! Spans of a trace that goes from a device to a fog host and back: the W3C's Trace
//! Context (<https://www.w3.org/TR/trace-context/>) between them, and OTLP over HTTP
//! with JSON (<https://opentelemetry.io/docs/specs/otlp/>) to whoever collects.
//!
//! It is this small because a device should not carry a general SDK for three spans.
//! Where nobody collects, no span is made, and a context that came is passed on.
//!
//! | file        | subject                              |
//! |-------------|--------------------------------------|
//! | `context`   | who a span is, on the wire           |
//! | `span`      | what is known of a span              |
//! | `otlp`      | spans as OTLP's JSON                 |
//! | `collector` | where they go, and which             |
//! | `exporter`  | the thread that sends them           |

mod collector;
mod context;
mod exporter;
mod otlp;
mod span;

pub use collector::Collector;
pub use context::{ContextError, SpanId, TRACEPARENT, TRACERESPONSE, TraceContext, TraceId};
pub use exporter::{EndpointError, Exporter};
pub use span::{Kind, Span, Value};
