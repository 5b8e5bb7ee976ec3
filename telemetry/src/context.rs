//! Who a span is: the W3C's `traceparent`, version 00.

use std::fmt;
use std::str::FromStr;

use rand::Rng as _;

/// The HTTP header of a request: the span that it is part of.
pub const TRACEPARENT: &str = "traceparent";
/// The HTTP header of a response: the span that answered (Trace Context Level 2's
/// draft).
pub const TRACERESPONSE: &str = "traceresponse";

/// Names a trace; not all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Names a span in a trace; not all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// A span, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

/// A text that is no context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: wanted 00-TRACE-SPAN-FLAGS of 32, 16 and 2 hexadecimal digits")]
pub struct ContextError;

impl TraceContext {
    /// The first span of a trace of its own.
    pub fn root() -> Self {
        let trace = TraceId(rand::rng().random_range(1..=u128::MAX));
        Self { trace, span: SpanId::random(), sampled: true }
    }

    /// The same span, recorded if its trace is in this share of all. Whoever decides by
    /// the same share decides the same: the trace's name does.
    #[must_use]
    pub fn sampled_by(self, share: f64) -> Self {
        // As many random bits as a float has exactly.
        const BITS: u32 = 53;
        let place = (self.trace.0 & ((1 << BITS) - 1)) as f64 / (1u64 << BITS) as f64;
        Self { sampled: place < share, ..self }
    }

    /// A new span under this one.
    pub fn child(self) -> Self {
        Self { span: SpanId::random(), ..self }
    }
}

impl SpanId {
    fn random() -> Self {
        Self(rand::rng().random_range(1..=u64::MAX))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = ContextError;

    /// Of a later version, what version 00 has is read, as the W3C wants it.
    fn from_str(text: &str) -> Result<Self, ContextError> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
            part.bytes().all(lower).then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let fields = (part(2), part(32), part(16), part(2));
        let (Some(version), Some(trace), Some(span), Some(flags)) = fields else {
            return Err(ContextError);
        };
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace == 0 || span == 0 {
            return Err(ContextError);
        }
        let span = u64::try_from(span).map_err(|_| ContextError)?;
        Ok(Self { trace: TraceId(trace), span: SpanId(span), sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_standards_example_comes_back_as_it_was() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), EXAMPLE);
        let child = context.child();
        assert!(child.trace == context.trace && child.span != context.span);
        let later = format!("cc{}-what-else", &EXAMPLE[2..]);
        assert_eq!(later.parse::<TraceContext>().unwrap(), context);
        assert!(!format!("{}00", &EXAMPLE[..53]).parse::<TraceContext>().unwrap().sampled);
        let root = TraceContext::root();
        assert_eq!(root.to_string().parse::<TraceContext>().unwrap(), root);
    }

    #[test]
    fn a_share_of_the_traces_is_recorded_and_always_the_same() {
        let traces: Vec<TraceContext> = (0..20_000).map(|_| TraceContext::root()).collect();
        let recorded = |share| traces.iter().filter(|t| t.sampled_by(share).sampled).count();
        assert_eq!((recorded(0.0), recorded(1.0)), (0, 20_000));
        // Ten standard deviations.
        assert!(recorded(0.1).abs_diff(2000) < 425, "{}", recorded(0.1));
        for context in &traces {
            let (few, more) = (context.sampled_by(0.1), context.sampled_by(0.5));
            assert!(!few.sampled || more.sampled);
            assert_eq!(context.child().sampled_by(0.1).sampled, few.sampled);
        }
    }

    #[test]
    fn what_is_no_context_is_refused() {
        for text in [
            "",
            "00",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-"),
            &format!("ff{}", &EXAMPLE[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473+-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(ContextError), "{text}");
        }
    }
}
