//! Spans as OTLP's `ExportTraceServiceRequest` in JSON: identifiers in hexadecimal
//! digits, 64-bit numbers as texts.

use serde_json::{Value as Json, json};

use crate::span::{Span, Value};

/// The request's body.
pub(crate) fn request(service: &str, spans: &[Span]) -> Vec<u8> {
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", &Value::from(service)),
            attribute("telemetry.sdk.name", &Value::from("leeway-telemetry")),
            attribute("telemetry.sdk.language", &Value::from("rust")),
        ] },
        "scopeSpans": [{
            "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] });
    serde_json::to_vec(&request).expect("a request has only string keys")
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> =
        span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    json!({
        "traceId": span.context.trace.to_string(),
        "spanId": span.context.span.to_string(),
        "parentSpanId": span.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        "name": span.name,
        "kind": span.kind as u32,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "attributes": attributes,
        "status": match &span.error {
            // 2 is STATUS_CODE_ERROR, 0 that nothing is said.
            Some(message) => json!({ "code": 2, "message": message }),
            None => json!({ "code": 0 }),
        },
    })
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Whole(number) => json!({ "intValue": number.to_string() }),
        Value::Truth(truth) => json!({ "boolValue": truth }),
    };
    json!({ "key": name, "value": value })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::context::TraceContext;
    use crate::span::Kind;

    #[test]
    fn identifiers_and_numbers_are_as_otlp_wants_them() {
        let context = TraceContext::root();
        let took = Duration::from_millis(5);
        let mut span = Span::ending_now("infer", Kind::Server, context, None, took)
            .with("leeway.fuel", u64::MAX);
        span.error = Some("no".into());
        let part = span.part("queue", Duration::from_millis(1), Duration::from_secs(9));
        let json: Json = serde_json::from_slice(&request("leeway-fog", &[span, part])).unwrap();
        let spans = &json["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(spans[0]["attributes"][0]["value"]["intValue"], u64::MAX.to_string());
        assert_eq!((&spans[0]["kind"], &spans[0]["status"]["code"]), (&json!(2), &json!(2)));
        assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
        // A part does not outlast the whole.
        assert_eq!(spans[1]["endTimeUnixNano"], spans[0]["endTimeUnixNano"]);
        let nanos = |key: &str| spans[0][key].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(nanos("endTimeUnixNano") - nanos("startTimeUnixNano"), 5_000_000);
    }
}
