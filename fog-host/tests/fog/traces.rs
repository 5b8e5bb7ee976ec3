//! Spans that a host exports: under the client's, with the wait and the run in them.

use std::time::Duration;

use leeway_fog_host::{Collector, FogConfig};
use leeway_runtime::offload::fog::{Fog as _, HttpFog, InferRequest};
use leeway_runtime::sandbox::Sandbox;
use leeway_telemetry::{Exporter, Kind, Span, TraceContext};
use serde_json::{Value, json};

use crate::collector::{collector, spans, tls_collector};
use crate::secure::fixture;
use crate::support::{request, start_with};
use crate::testing::TestModel;

pub const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn the_clients_span_goes_on_here_and_it_is_told_which() {
    let (url, receiver) = collector();
    let config = FogConfig { traces: Some(Collector::at(url)), ..FogConfig::default() };
    let (_host, client) = start_with(config);
    let digest = client.push(&TestModel::scaling(2.0));
    let body = request(json!([1, 1, 1, 1])).to_string();
    let path = format!("/v2/models/{digest}/infer");
    let answer = client.with("POST", &path, &[("traceparent", PARENT)], body.as_bytes());
    assert_eq!(answer.status, 200);
    let told = answer.header("traceresponse").unwrap();

    let spans = spans(&receiver, 3);
    let named = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let whole = named("infer");
    assert_eq!(whole["service"], "leeway-fog");
    assert_eq!(whole["parentSpanId"], PARENT[36..52]);
    assert_eq!(told[36..52], *whole["spanId"].as_str().unwrap());
    for part in [named("queue"), named("compute")] {
        assert_eq!(part["parentSpanId"], whole["spanId"]);
    }
    let nanos = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    let (start, end) = ("startTimeUnixNano", "endTimeUnixNano");
    assert!(nanos(named("compute"), end) > nanos(named("compute"), start));
    for span in &spans {
        assert_eq!(span["traceId"], PARENT[3..35]);
        assert!(nanos(span, start) >= nanos(whole, start) && nanos(span, end) <= nanos(whole, end));
    }
}

#[test]
fn a_trace_goes_from_the_device_to_the_host_and_back() {
    let (url, receiver) = collector();
    let config = FogConfig { traces: Some(Collector::at(&url)), ..FogConfig::default() };
    let (host, client) = start_with(config);
    let model = TestModel::scaling(2.0);
    let digest = client.push(&model);
    let exporter = Exporter::start("leeway-device", &url).unwrap();
    let fog = HttpFog::new(&host.url()).unwrap().with_traces(exporter);
    let certificate = model.certificate(&Sandbox::engine_claim());
    let inputs = TestModel::input([1.0; 4]);
    let request =
        InferRequest { id: 7, digest, certificate: &certificate, stages: 0..=0, inputs: &inputs };
    fog.infer(&request, Duration::from_secs(20)).unwrap();
    let spans = spans(&receiver, 4);
    let of = |service: &str, name: &str| {
        let is = |span: &&Value| span["service"] == service && span["name"] == name;
        spans.iter().find(is).unwrap_or_else(|| panic!("{spans:?}"))
    };
    let (asked, answered) = (of("leeway-device", "ask the fog host"), of("leeway-fog", "infer"));
    assert_eq!(asked["parentSpanId"], "");
    assert_eq!(answered["parentSpanId"], asked["spanId"]);
    assert!(spans.iter().all(|span| span["traceId"] == asked["traceId"]));
    let told =
        json!({ "key": "leeway.fog.span_id", "value": { "stringValue": answered["spanId"] } });
    assert!(asked["attributes"].as_array().unwrap().contains(&told), "{asked}");
}

#[test]
fn a_share_of_the_traces_that_begin_here_is_recorded_and_all_of_a_client_that_records() {
    let (url, receiver) = collector();
    let traces = Some(Collector { sample: 0.0, ..Collector::at(url) });
    let (_host, client) = start_with(FogConfig { traces, ..FogConfig::default() });
    let digest = client.push(&TestModel::scaling(2.0));
    let path = format!("/v2/models/{digest}/infer");
    let body = request(json!([1, 1, 1, 1])).to_string();
    for _ in 0..20 {
        let answer = client.post(&path, body.as_bytes());
        // The client is told that nobody records it.
        assert!(answer.header("traceresponse").unwrap().ends_with("-00"));
    }
    client.with("POST", &path, &[("traceparent", PARENT)], body.as_bytes());
    let spans = spans(&receiver, 3);
    assert!(spans.iter().all(|span| span["traceId"] == PARENT[3..35]), "{spans:?}");
}

#[test]
fn a_request_that_fails_is_a_span_with_an_error_and_what_is_not_sampled_is_none() {
    let (url, receiver) = collector();
    let config = FogConfig { traces: Some(Collector::at(url)), ..FogConfig::default() };
    let (_host, client) = start_with(config);
    let digest = client.push(&TestModel::scaling(2.0));
    let path = format!("/v2/models/{digest}/infer");
    let quiet = format!("{}00", &PARENT[..53]);
    client.with("POST", &path, &[("traceparent", &quiet)], b"{}").error(400);
    client.with("POST", &path, &[("traceparent", "garbage")], b"{}").error(400);
    let spans = spans(&receiver, 1);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0]["status"]["code"], 2);
    assert_eq!(spans[0]["parentSpanId"], "");
}

#[test]
fn spans_go_over_tls_to_a_collector_whose_authority_is_believed() {
    let (url, receiver) = tls_collector();
    let authority = Some(fixture("ca.pem"));
    let traces = Some(Collector { authority, ..Collector::at(&url) });
    let (_host, client) = start_with(FogConfig { traces, ..FogConfig::default() });
    let digest = client.push(&TestModel::scaling(2.0));
    assert_eq!(client.infer(digest, &request(json!([1, 1, 1, 1]))).status, 200);
    let spans = spans(&receiver, 3);
    assert!(spans.iter().any(|span| span["name"] == "infer" && span["service"] == "leeway-fog"));
}

#[test]
fn no_span_goes_to_a_collector_that_another_authority_has_signed() {
    let (url, receiver) = tls_collector();
    let send = |authority| {
        let collector = Collector { authority: Some(fixture(authority)), ..Collector::at(&url) };
        let exporter = Exporter::to("leeway-test", &collector).unwrap();
        let time = Duration::from_millis(1);
        exporter.export(Span::ending_now("a", Kind::Client, TraceContext::root(), None, time));
        // Its end waits until the span was sent, or could not be.
        drop(exporter);
        receiver.try_iter().count()
    };
    assert_eq!(send("other-ca.pem"), 0);
    assert_eq!(send("ca.pem"), 1);
}
