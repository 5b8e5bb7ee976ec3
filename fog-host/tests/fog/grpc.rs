//! gRPC: messages over HTTP/2 as a client sends them, and what a wrong one gets.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use leeway_contract::{Digest, Tensor};
use leeway_fog_host::{Collector, FogConfig, Running};
use leeway_protocol::grpc::{
    ConfigResponse, Empty, IndexRequest, IndexResponse, InferRequest, InferResponse, InputTensor,
    Is, LoadRequest, MetadataResponse, ModelRequest, Parameter, SERVICE, ServerMetadata,
    StatisticsResponse, Value,
};
use prost::Message;
use serde_json::Value as Json;
use tokio::net::TcpStream;

use crate::collector::{collector, spans};
use crate::support::{Client, start_with};
use crate::testing::{Behaviour, TestModel};
use crate::traces::PARENT;

/// gRPC's numbers of its status.
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const OUT_OF_RANGE: u32 = 11;
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

fn start() -> (Running, Client) {
    start_with(config())
}

fn config() -> FogConfig {
    let listen_grpc = Some(([127, 0, 0, 1], 0).into());
    FogConfig { workers: 1, listen_grpc, ..FogConfig::default() }
}

/// A status that is not 0, its message, and the metadata with it.
#[derive(Debug)]
pub struct Refused {
    code: u32,
    message: String,
    metadata: Box<HeaderMap>,
}

/// Calls a method with a message in gRPC's frame, and these headers.
pub fn call<A: Message + Default>(
    host: &Running,
    method: &str,
    headers: &[(&str, &str)],
    message: &impl Message,
) -> Result<A, Refused> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    let body = send(host.grpc_addr().unwrap(), method, headers, frame.freeze())?;
    assert_eq!(body[0], 0, "not compressed");
    Ok(A::decode(&body[5..]).unwrap())
}

fn send(
    address: SocketAddr,
    method: &str,
    headers: &[(&str, &str)],
    frame: Bytes,
) -> Result<Vec<u8>, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://{address}/{SERVICE}/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(frame, true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["content-type"], "application/grpc");
        let mut read = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            read.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.unwrap().unwrap_or(head.headers);
        let code: u32 = trailers["grpc-status"].to_str().unwrap().parse().unwrap();
        if code == 0 {
            return Ok(read);
        }
        let message = trailers.get("grpc-message");
        let message = message.map_or("", |message| message.to_str().unwrap()).to_owned();
        Err(Refused { code, message, metadata: Box::new(trailers) })
    })
}

fn model(name: impl ToString, version: &str) -> ModelRequest {
    ModelRequest { name: name.to_string(), version: version.to_owned() }
}

fn request(name: impl ToString, values: [f32; 4]) -> InferRequest {
    let input = InputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![1, 4],
        contents: None,
    };
    InferRequest {
        model_name: name.to_string(),
        inputs: vec![input],
        raw_input_contents: vec![Tensor::from_f32(&[1, 4], &values).data],
        ..InferRequest::default()
    }
}

fn infer(host: &Running, request: &InferRequest) -> Result<InferResponse, Refused> {
    call(host, "ModelInfer", &[], request)
}

#[test]
fn the_host_and_its_models_say_what_they_are() {
    let (host, client) = start();
    let digest = client.push(&TestModel::chain(2, 2.0));
    client.alias("m", "7", digest);
    let is = |method: &str, model: ModelRequest| call::<Is>(&host, method, &[], &model);
    assert!(call::<Is>(&host, "ServerLive", &[], &Empty {}).unwrap().so);
    while !call::<Is>(&host, "ServerReady", &[], &Empty {}).unwrap().so {}
    for (name, version, so) in
        [("m", "", true), ("m", "7", true), ("m", "8", false), ("n", "", false)]
    {
        assert_eq!(is("ModelReady", model(name, version)).unwrap(), Is { so }, "{name} {version}");
    }
    let server: ServerMetadata = call(&host, "ServerMetadata", &[], &Empty {}).unwrap();
    assert_eq!(server.name, "leeway-fog");
    let metadata: MetadataResponse = call(&host, "ModelMetadata", &[], &model("m", "")).unwrap();
    assert_eq!(
        (&metadata.versions[..], &metadata.inputs[0].shape[..]),
        (&["7".to_owned()][..], &[1, 4][..])
    );
    let config: ConfigResponse = call(&host, "ModelConfig", &[], &model(digest, "")).unwrap();
    let config = config.config.unwrap();
    assert_eq!((config.input[0].data_type, &config.output[0].dims[..]), (11, &[1, 4][..]));
    let unknown = call::<MetadataResponse>(&host, "ModelMetadata", &[], &model("n", ""));
    assert_eq!(unknown.unwrap_err().code, NOT_FOUND);
}

#[test]
fn an_inference_is_a_span_under_the_clients() {
    let (url, receiver) = collector();
    let (host, client) = start_with(FogConfig { traces: Some(Collector::at(url)), ..config() });
    let digest = client.push(&TestModel::scaling(2.0));
    let asked = request(digest, [1.0; 4]);
    let _: InferResponse = call(&host, "ModelInfer", &[("traceparent", PARENT)], &asked).unwrap();
    let unknown = request("nobody", [1.0; 4]);
    call::<InferResponse>(&host, "ModelInfer", &[], &unknown).unwrap_err();
    let wrong = InferRequest { raw_input_contents: vec![], ..request(digest, [1.0; 4]) };
    call::<InferResponse>(&host, "ModelInfer", &[("traceparent", PARENT)], &wrong).unwrap_err();
    let spans = spans(&receiver, 4);
    let status = |span: &Json| {
        let attributes = span["attributes"].as_array().unwrap();
        let code = attributes.iter().find(|one| one["key"] == "rpc.grpc.status_code");
        code.map(|code| code["value"]["intValue"].as_str().unwrap().to_owned())
    };
    let mut codes: Vec<String> = spans.iter().filter_map(status).collect();
    codes.sort();
    assert_eq!(codes, ["0".to_owned(), INVALID_ARGUMENT.to_string()], "{spans:?}");
    let whole = spans.iter().find(|span| status(span).as_deref() == Some("0")).unwrap();
    for span in &spans {
        let parent = match span["name"].as_str() {
            Some("infer") => &Json::from(&PARENT[36..52]),
            _ => &whole["spanId"],
        };
        assert_eq!((&span["parentSpanId"], &span["traceId"]), (parent, &PARENT[3..35].into()));
    }
}

#[test]
fn an_inference_gives_what_it_gives_over_http_and_is_counted() {
    let (host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    client.alias("m", "1", digest);
    let values = [f32::MIN_POSITIVE / 8.0, -2.5, f32::INFINITY, 3.0];
    let asked = InferRequest { id: "a".into(), ..request("m", values) };
    let answer = infer(&host, &asked).unwrap();
    assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("a", "1"));
    assert_eq!((answer.outputs[0].name.as_str(), &answer.outputs[0].shape[..]), ("y", &[1, 4][..]));
    assert_eq!(answer.raw_output_contents, [Tensor::from_f32(&[4], &values.map(|x| x * 2.0)).data]);
    let parameter = |name: &str| answer.parameters[name].value.clone().unwrap();
    assert_eq!(parameter("digest"), Value::Text(digest.to_string()));
    assert_eq!(parameter("fuel"), Value::Int(130));
    let statistics: StatisticsResponse =
        call(&host, "ModelStatistics", &[], &model("m", "1")).unwrap();
    assert_eq!(statistics.model_stats[0].inference_count, 1);
    let success = statistics.model_stats[0].inference_stats.as_ref().unwrap().success.unwrap();
    assert!(success.count == 1 && success.ns > 0);
}

#[test]
fn the_repository_is_listed_loaded_and_unloaded() {
    let (host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    client.alias("m", "1", digest);
    let index = |ready| {
        let asked = IndexRequest { ready, ..IndexRequest::default() };
        call::<IndexResponse>(&host, "RepositoryIndex", &[], &asked).unwrap().models
    };
    assert_eq!((index(true).len(), index(true)[0].state.as_str()), (1, "READY"));
    let asked = LoadRequest { model_name: "m".into(), ..LoadRequest::default() };
    call::<Empty>(&host, "RepositoryModelUnload", &[], &asked).unwrap();
    assert_eq!((index(true).len(), index(false)[0].state.as_str()), (0, "UNAVAILABLE"));
    assert_eq!(infer(&host, &request("m", [0.0; 4])).unwrap_err().code, NOT_FOUND);
    call::<Empty>(&host, "RepositoryModelLoad", &[], &asked).unwrap();
    infer(&host, &request("m", [0.0; 4])).unwrap();
    let parameters = [("config".to_owned(), Empty {})].into();
    let asked = LoadRequest { parameters, ..asked };
    let refused = call::<Empty>(&host, "RepositoryModelLoad", &[], &asked).unwrap_err();
    assert!(refused.code == INVALID_ARGUMENT && refused.message.contains("config"), "{refused:?}");
}

#[test]
fn what_is_wrong_has_its_code_and_says_what() {
    let limited = FogConfig { max_request_bytes: 64 << 10, ..config() };
    let (host, client) = start_with(limited);
    let digest = client.push(&TestModel::scaling(2.0));
    let good = request(digest, [0.0; 4]);
    let with = |change: fn(&mut InferRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, code, words) in [
        (request(Digest::of(b"none"), [0.0; 4]), NOT_FOUND, "push it first"),
        (request("n", [0.0; 4]), NOT_FOUND, "no model"),
        (with(|r| r.inputs[0].shape = vec![4]), INVALID_ARGUMENT, "FP32[1,4]"),
        (with(|r| r.raw_input_contents[0].truncate(15)), INVALID_ARGUMENT, "15"),
        (with(|r| r.raw_input_contents.clear()), INVALID_ARGUMENT, "no contents"),
        (with(|r| r.inputs.clear()), INVALID_ARGUMENT, "raw_input_contents"),
        (with(|r| r.raw_input_contents[0] = vec![0; 65 << 10]), OUT_OF_RANGE, ""),
    ] {
        let refused = infer(&host, &request).unwrap_err();
        let message = refused.message.replace("%20", " ").replace("%22", "\"");
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(message.contains(words), "{words}: {refused:?}");
    }
    let unknown = call::<Empty>(&host, "SystemSharedMemoryStatus", &[], &Empty {}).unwrap_err();
    assert_eq!(unknown.code, UNIMPLEMENTED);
    let garbage = send(
        host.grpc_addr().unwrap(),
        "ModelInfer",
        &[],
        Bytes::from_static(b"\0\0\0\0\x02\x0a\xff"),
    );
    assert!(garbage.is_err());
    infer(&host, &good).unwrap();
}

#[test]
fn the_shorter_of_both_deadlines_counts_and_a_hopeless_one_is_refused_at_once() {
    let (host, client) = start();
    let spin = client.push(&TestModel::behaving(Behaviour::Spin));
    let mut request = request(spin, [0.0; 4]);
    let timeout = |micros| Parameter { value: Some(Value::Int(micros)) };
    for (header, parameter) in
        [("200m", None), ("10S", Some(200_000)), ("200000u", Some(10_000_000))]
    {
        request.parameters =
            parameter.map(|micros| ("timeout".into(), timeout(micros))).into_iter().collect();
        let headers = [("grpc-timeout", header)];
        let refused = call::<InferResponse>(&host, "ModelInfer", &headers, &request).unwrap_err();
        // Once the host knows what it takes, it does not try.
        assert!([DEADLINE_EXCEEDED, UNAVAILABLE].contains(&refused.code), "{refused:?}");
    }
    let headers = [("grpc-timeout", "soon")];
    let refused = call::<InferResponse>(&host, "ModelInfer", &headers, &request).unwrap_err();
    assert_eq!(refused.code, INVALID_ARGUMENT);
}

#[test]
fn clients_are_known_and_limited_as_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let entry = |name: &str, scope: &str, rate: &str| {
        let token = Digest::of(name.as_bytes()).to_hex();
        format!(
            "[[token]]\nname = \"{name}\"\nsha256 = \"{token}\"\nscopes = [\"{scope}\"]\n{rate}\n"
        )
    };
    let slow = entry("slow", "infer", "requests_per_second = 0.001");
    std::fs::write(&file, slow + &entry("boss", "admin", "")).unwrap();
    let (host, client) = start_with(FogConfig { access: Some(file), ..config() });
    let digest = client.authorised("boss").push(&TestModel::scaling(2.0));

    assert!(call::<Is>(&host, "ServerLive", &[], &Empty {}).unwrap().so);
    let unknown = call::<ServerMetadata>(&host, "ServerMetadata", &[], &Empty {}).unwrap_err();
    assert_eq!(unknown.code, UNAUTHENTICATED);
    let headers = [("authorization", "Bearer slow")];
    call::<ServerMetadata>(&host, "ServerMetadata", &headers, &Empty {}).unwrap();
    let asked = LoadRequest::default();
    let forbidden = call::<Empty>(&host, "RepositoryModelLoad", &headers, &asked).unwrap_err();
    assert_eq!(forbidden.code, PERMISSION_DENIED);
    let request = request(digest, [0.0; 4]);
    call::<InferResponse>(&host, "ModelInfer", &headers, &request).unwrap();
    let refused = call::<InferResponse>(&host, "ModelInfer", &headers, &request).unwrap_err();
    assert_eq!(refused.code, RESOURCE_EXHAUSTED);
    let millis = refused.metadata["grpc-retry-pushback-ms"].to_str().unwrap();
    assert!(millis.parse::<u64>().unwrap() > 900_000, "{millis}");
}
