//! What is known of a span when it ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::context::{SpanId, TraceContext};

/// A span's part in an exchange, by OTLP's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within a program.
    Internal = 1,
    /// Answers a request.
    Server = 2,
    /// Asks.
    Client = 3,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(u64),
    /// A truth value.
    Truth(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Whole(number)
    }
}

/// A span that has ended. Its times are of the clock: they are for people and enter
/// no decision.
#[derive(Clone, Debug)]
pub struct Span {
    /// What was done.
    pub name: &'static str,
    /// Its part in an exchange.
    pub kind: Kind,
    /// Who it is.
    pub context: TraceContext,
    /// Under which span.
    pub parent: Option<SpanId>,
    /// Nanoseconds since 1970.
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// What else is known, by the names of OpenTelemetry's conventions or ours.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Span {
    /// A span that began so long ago and ends now.
    pub fn ending_now(
        name: &'static str,
        kind: Kind,
        context: TraceContext,
        parent: Option<SpanId>,
        took: Duration,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (start_ns, end_ns) = (nanos(now.saturating_sub(took)), nanos(now));
        Self { name, kind, context, parent, start_ns, end_ns, attributes: vec![], error: None }
    }

    /// A part of this span, which began so long after it and took so long.
    pub fn part(&self, name: &'static str, after: Duration, took: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let start_ns = self.start_ns.saturating_add(nanos(after)).min(self.end_ns);
        let end_ns = start_ns.saturating_add(nanos(took)).min(self.end_ns);
        let (context, parent) = (self.context.child(), Some(self.context.span));
        let kind = Kind::Internal;
        Self { name, kind, context, parent, start_ns, end_ns, attributes: vec![], error: None }
    }

    /// With an attribute more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }
}
