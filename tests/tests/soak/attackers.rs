//! Those who do everything wrong.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use leeway_protocol::grpc::{InferRequest, InputTensor, SERVICE};
use prost::Message as _;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::clients::agent;
use crate::{Soak, count};

/// The longest that an attacker waits for an answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// The connections of those who send a byte at a time.
const SLOW: usize = 64;

/// Bytes that break more than others.
const PIECES: [&[u8]; 16] = [
    b"\r\n\r\n",
    b"\0",
    b"\xff\xff\xff\xff",
    b"content-length: 18446744073709551615\r\n",
    b"content-length: -1\r\n",
    b"inference-header-content-length: 99999999\r\n",
    b"transfer-encoding: chunked\r\n",
    b"expect: 100-continue\r\n",
    b"\"shape\":[4294967295,4294967295]",
    b"[[[[[[[[[[[[[[[[[[[[[[",
    b"1e999",
    b"\"binary_data_size\":18446744073709551615",
    b"\"timeout\":1",
    b"\"classification\":4294967295",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xf0\x9f\x92\xa9",
];

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// A good request in JSON.
fn good(soak: &Soak) -> Value {
    let model = &soak.models[0];
    let inputs = model.certificate.inputs().iter().zip(&model.pairs[0].0);
    let input = |(spec, tensor): (&leeway_contract::TensorSpec, &leeway_contract::Tensor)| json!({ "name": spec.name, "datatype": "UINT8", "shape": tensor.shape, "data": tensor.data });
    json!({ "inputs": inputs.map(input).collect::<Vec<_>>() })
}

/// A request over HTTP/1.1, from its head to its end.
fn http(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: fog\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

/// The start of HTTP/2, a HEADERS frame that says nothing and a DATA frame with gRPC's.
fn grpc(soak: &Soak) -> Vec<u8> {
    let model = &soak.models[0];
    let spec = &model.certificate.inputs()[0];
    let input = InputTensor {
        name: spec.name.clone(),
        datatype: "UINT8".into(),
        shape: spec.shape.iter().map(|size| i64::from(*size)).collect(),
        contents: None,
    };
    let message = InferRequest {
        model_name: "m".into(),
        inputs: vec![input],
        raw_input_contents: vec![model.pairs[0].0[0].data.clone()],
        ..InferRequest::default()
    };
    // Header fields without compression (RFC 7541, 6.2.2).
    let mut headers = vec![0x83, 0x86];
    let path = format!("/{SERVICE}/ModelInfer");
    for (name, value) in [
        (":path", path.as_str()),
        (":authority", "fog"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.push(0);
        for text in [name, value] {
            headers.push(text.len() as u8);
            headers.extend(text.bytes());
        }
    }
    let mut data = vec![0];
    data.extend((message.encoded_len() as u32).to_be_bytes());
    data.extend(message.encode_to_vec());
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let parts = [frame(4, 0, 0, b""), frame(1, 4, 1, &headers), frame(0, 1, 1, &data)];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", parts.concat().as_slice()].concat()
}

/// Changes some bytes: one here, a piece put in or cut out, the end missing.
fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=4) {
        // Most of what can break is at the beginning.
        let reach = if rng.random_bool(0.5) { bytes.len().min(256) } else { bytes.len() };
        let at = rng.random_range(0..=reach);
        match rng.random_range(0..5) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            1 => {
                let piece = PIECES.choose(rng).expect("there are some");
                bytes.splice(at..at, piece.iter().copied());
            }
            2 => {
                let end = bytes.len().min(at + rng.random_range(0..64));
                bytes.drain(at..end);
            }
            3 => {
                let end = bytes.len().min(at + rng.random_range(0..64));
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

/// Sends good requests with some bytes changed, over HTTP and gRPC. Whatever it makes of
/// them, the host does not say that it is broken itself.
pub(crate) fn fuzz(soak: &Soak, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let body = good(soak).to_string();
    let requests = [
        (soak.http, http("/v2/models/m/infer", &body)),
        (soak.http, http("/v2/repository/index", "{\"ready\": true}")),
        (soak.http, http("/v1/echo", &body)),
        (soak.grpc, grpc(soak)),
    ];
    while soak.goes_on() {
        let (address, request) = requests.choose(&mut rng).expect("there are some");
        let mut bytes = request.clone();
        mutate(&mut bytes, &mut rng);
        let Some(mut stream) = connect(*address) else { continue };
        // The host may have closed its end already.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..length]);
        }
        if answer.starts_with(b"HTTP/1.1 500") {
            let request = String::from_utf8_lossy(&bytes);
            soak.wrong(format!("{}\nfor {request:?}", String::from_utf8_lossy(&answer)));
        }
        count(&soak.seen.fuzzed);
    }
}

/// Leaves before the request is whole, or before its answer.
pub(crate) fn leave(soak: &Soak) {
    let request = http("/v2/models/m/infer", &good(soak).to_string());
    let grpc = grpc(soak);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    while soak.goes_on() {
        for (address, bytes) in [(soak.http, &request), (soak.grpc, &grpc)] {
            let Some(mut stream) = connect(address) else { continue };
            let end =
                if rng.random_bool(0.5) { bytes.len() } else { rng.random_range(0..bytes.len()) };
            let _ = stream.write_all(&bytes[..end]);
            count(&soak.seen.left);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Holds connections open, and sends a byte now and then.
pub(crate) fn be_slow(soak: &Soak) {
    let requests = [(soak.http, http("/v2/models/m/infer", "{}")), (soak.grpc, grpc(soak))];
    let mut slow: Vec<(TcpStream, usize)> = Vec::new();
    while soak.goes_on() {
        while slow.len() < SLOW {
            let which = slow.len() % 2;
            let Some(stream) = connect(requests[which].0) else { break };
            slow.push((stream, 0));
            count(&soak.seen.slow);
        }
        let mut place = 0;
        slow.retain_mut(|(stream, sent)| {
            let (_, request) = &requests[place % 2];
            place += 1;
            let byte = [request[*sent % request.len()]];
            *sent += 1;
            // The host has closed it when it took too long.
            stream.write_all(&byte).is_ok()
        });
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Tensors of wrong shapes, types, names and numbers: each is the client's fault.
pub(crate) fn send_wrong_tensors(soak: &Soak) {
    let agent = agent();
    let good = good(soak);
    let changes: [(&str, Value); 10] = [
        ("shape", json!([1, 28, 27])),
        ("shape", json!([])),
        ("shape", json!([4294967295u32, 4294967295u32])),
        ("shape", json!([-1])),
        ("datatype", json!("FP32")),
        ("datatype", json!("BYTES")),
        ("data", json!([1, 2, 3])),
        ("data", json!([null])),
        ("data", json!([256])),
        ("name", json!("pixels")),
    ];
    let url = format!("http://{}/v2/models/m/infer", soak.http);
    for (key, value) in changes.iter().cycle() {
        if !soak.goes_on() {
            return;
        }
        let mut request = good.clone();
        request["inputs"][0][*key] = value.clone();
        match agent.post(&url).send(request.to_string()).map(|answer| answer.status().as_u16()) {
            Ok(400 | 429 | 503) => count(&soak.seen.refusals),
            other => soak.wrong(format!("{key} {value}: {other:?}")),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
