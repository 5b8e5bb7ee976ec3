//! One request and its answer, as bytes on a connection: HTTP/1.1, HTTP/2 and gRPC.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use leeway_contract::Tensor;
use leeway_protocol::grpc::{InferRequest, InferResponse, InputTensor, Parameter, SERVICE, Value};
use leeway_protocol::{HEADER_LENGTH, datatype};
use prost::Message as _;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Model;
use crate::stamp::{Stamp, Stamped};

/// The requests that a connection of HTTP/2 has under way. What is more than a server allows
/// would wait in this client.
const STREAMS: usize = 100;

/// How requests and answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON over HTTP/1.1.
    Json,
    /// Binary tensors over HTTP/1.1.
    Binary,
    /// JSON over HTTP/2.
    Http2,
    /// Binary tensors over HTTP/2.
    BinaryHttp2,
    /// gRPC with raw contents.
    Grpc,
}

impl Encoding {
    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Json => "JSON",
            Encoding::Binary => "binary",
            Encoding::Http2 => "JSON HTTP/2",
            Encoding::BinaryHttp2 => "binary HTTP/2",
            Encoding::Grpc => "gRPC",
        }
    }
}

/// A request, ready to be sent.
#[derive(Clone)]
pub struct Call {
    encoding: Encoding,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Call {
    /// Runs a model, within what is left of the client's time.
    pub fn new(encoding: Encoding, model: &Model, timeout: Option<Duration>) -> Self {
        let path = format!("/v2/models/{}/infer", model.name);
        let specs = model.certificate.inputs();
        let inputs = specs.iter().map(|spec| spec.name.as_str()).zip(&model.inputs);
        match encoding {
            Encoding::Json | Encoding::Http2 => {
                let inputs: Vec<Json> =
                    inputs.map(|(name, tensor)| json_input(name, tensor)).collect();
                let body = head(inputs, timeout, false);
                let headers = vec![("content-type", "application/json".into())];
                Self { encoding, path, headers, body: body.into() }
            }
            Encoding::Binary | Encoding::BinaryHttp2 => {
                let one = |(name, tensor): (&str, &Tensor)| {
                    let parameters = json!({ "binary_data_size": tensor.data.len() });
                    let datatype = datatype::name(tensor.dtype);
                    json!({ "name": name, "shape": tensor.shape, "datatype": datatype, "parameters": parameters })
                };
                let mut body = head(inputs.map(one).collect(), timeout, true);
                let headers = vec![
                    ("content-type", "application/octet-stream".into()),
                    (HEADER_LENGTH, body.len().to_string()),
                ];
                body.extend(model.inputs.iter().flat_map(|tensor| &tensor.data));
                Self { encoding, path, headers, body: body.into() }
            }
            Encoding::Grpc => {
                let message = grpc_request(model, timeout);
                let path = format!("/{SERVICE}/ModelInfer");
                let headers =
                    vec![("content-type", "application/grpc".into()), ("te", "trailers".into())];
                let mut body = BytesMut::with_capacity(5 + message.encoded_len());
                body.put_u8(0);
                body.put_u32(message.encoded_len() as u32);
                message.encode(&mut body).expect("there is room");
                Self { encoding, path, headers, body: body.freeze() }
            }
        }
    }

    /// How it is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes of an HTTP/1.1 request.
    fn http1(&self, address: SocketAddr) -> Vec<u8> {
        let Self { path, headers, body, .. } = self;
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        [head.as_bytes(), body].concat()
    }

    /// What a server answers, as numbers.
    pub async fn outputs(&self, address: SocketAddr, model: &Model) -> Result<Vec<f32>> {
        let mut connection = Connections::open(self, address, 1).await?.remove(0);
        let Answer { status, head_bytes, body, .. } = connection.exchange().await?;
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(&body));
        }
        let floats = |data: &[u8]| {
            let bytes = data.as_chunks::<4>().0.iter();
            bytes.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        if self.encoding == Encoding::Grpc {
            let message = InferResponse::decode(body.get(5..).context("no message")?)?;
            return Ok(floats(message.raw_output_contents.first().context("no output")?));
        }
        if let Some(head_bytes) = head_bytes {
            return Ok(floats(&body[head_bytes..]));
        }
        let json: Json = serde_json::from_slice(&body)?;
        let data = json["outputs"][0]["data"].as_array();
        let data = data.with_context(|| format!("{}: no output in {json}", model.name))?;
        let mut flat = Vec::new();
        flatten(data, &mut flat);
        Ok(flat)
    }
}

fn flatten(data: &[Json], flat: &mut Vec<f32>) {
    for value in data {
        match value.as_array() {
            Some(values) => flatten(values, flat),
            None => flat.extend(value.as_f64().map(|number| number as f32)),
        }
    }
}

fn head(inputs: Vec<Json>, timeout: Option<Duration>, binary: bool) -> Vec<u8> {
    let mut parameters = serde_json::Map::new();
    if binary {
        parameters.insert("binary_data_output".into(), true.into());
    }
    if let Some(timeout) = timeout {
        parameters.insert("timeout".into(), (timeout.as_micros() as u64).into());
    }
    let mut head = json!({ "inputs": inputs });
    if !parameters.is_empty() {
        head["parameters"] = parameters.into();
    }
    head.to_string().into_bytes()
}

fn json_input(name: &str, tensor: &Tensor) -> Json {
    let data: Vec<Json> = match tensor.to_f32() {
        Some(values) => values.into_iter().map(Json::from).collect(),
        None => tensor.data.iter().copied().map(Json::from).collect(),
    };
    json!({ "name": name, "shape": tensor.shape, "datatype": datatype::name(tensor.dtype), "data": data })
}

fn grpc_request(model: &Model, timeout: Option<Duration>) -> InferRequest {
    let input = |(name, tensor): (&String, &Tensor)| InputTensor {
        name: name.clone(),
        datatype: datatype::name(tensor.dtype).into(),
        shape: tensor.shape.iter().map(|size| i64::from(*size)).collect(),
        contents: None,
    };
    let names = model.certificate.inputs().iter().map(|spec| &spec.name);
    let mut request = InferRequest {
        model_name: model.name.clone(),
        inputs: names.zip(&model.inputs).map(input).collect(),
        raw_input_contents: model.inputs.iter().map(|tensor| tensor.data.clone()).collect(),
        ..InferRequest::default()
    };
    if let Some(timeout) = timeout {
        let value = Some(Value::Int(timeout.as_micros() as i64));
        request.parameters.insert("timeout".into(), Parameter { value });
    }
    request
}

/// What came back.
pub struct Answer {
    /// HTTP's status; of gRPC 200 where its own status is 0, and 503 where it is not.
    pub status: u16,
    /// The length of the JSON part of a binary answer.
    pub head_bytes: Option<usize>,
    /// The body.
    pub body: Vec<u8>,
    /// When the last of it arrived in the socket.
    pub at: Instant,
}

/// Ways of having one request under way.
pub enum Connections {
    /// A connection of its own.
    Http1(Http1),
    /// A stream of a connection.
    Http2(Http2),
}

impl Connections {
    /// Opens ways for `count` requests at a time: over HTTP/1.1 as many connections, over
    /// HTTP/2 as few as have so many streams.
    pub async fn open(call: &Call, address: SocketAddr, count: usize) -> Result<Vec<Self>> {
        let mut connections = Vec::with_capacity(count);
        match call.encoding {
            Encoding::Json | Encoding::Binary => {
                for _ in 0..count {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    let stream = Stamped::new(stream);
                    let (request, read) = (call.http1(address), Vec::with_capacity(16 << 10));
                    connections.push(Self::Http1(Http1 { stream, request, read }));
                }
            }
            Encoding::Http2 | Encoding::BinaryHttp2 | Encoding::Grpc => {
                while connections.len() < count {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    let stream = Stamped::new(stream);
                    let stamp = stream.stamp();
                    let (sender, connection) = h2::client::handshake(stream).await?;
                    tokio::spawn(connection);
                    let streams = STREAMS.min(count - connections.len());
                    connections.extend((0..streams).map(|_| {
                        let (sender, call, stamp) = (sender.clone(), call.clone(), stamp.clone());
                        Self::Http2(Http2 { sender, call, address, stamp })
                    }));
                }
            }
        }
        Ok(connections)
    }

    /// Sends the request and reads its answer.
    pub async fn exchange(&mut self) -> Result<Answer> {
        match self {
            Self::Http1(connection) => connection.exchange().await,
            Self::Http2(stream) => stream.exchange().await,
        }
    }
}

/// A connection with one request at a time.
pub struct Http1 {
    stream: Stamped,
    request: Vec<u8>,
    read: Vec<u8>,
}

impl Http1 {
    async fn exchange(&mut self) -> Result<Answer> {
        self.stream.write_all(&self.request).await?;
        self.read.clear();
        let head = loop {
            if let Some(head) = find(&self.read, b"\r\n\r\n") {
                break head;
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the server closed the connection");
            }
        };
        let text = std::str::from_utf8(&self.read[..head])?;
        let status = text.get(9..12).context("no status")?.parse()?;
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().parse::<usize>().ok())?
            })
        };
        let length = value("content-length").context("no content-length")?;
        let head_bytes = value(HEADER_LENGTH);
        let (start, end) = (head + 4, head + 4 + length);
        while self.read.len() < end {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the server closed the connection");
            }
        }
        let at = self.stream.stamp().arrival().at;
        Ok(Answer { status, head_bytes, body: self.read[start..end].to_vec(), at })
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// A stream at a time of a connection that others use too.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    call: Call,
    address: SocketAddr,
    /// Of the connection: the answer has arrived then, or before.
    stamp: Stamp,
}

impl Http2 {
    async fn exchange(&mut self) -> Result<Answer> {
        let Self { sender, call, address, stamp } = self;
        let mut request =
            Request::builder().method(Method::POST).uri(format!("http://{address}{}", call.path));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let mut sender = sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request.body(())?, false)?;
        body.send_data(call.body.clone(), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut read = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            read.extend_from_slice(chunk.chunk());
        }
        let number = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        };
        let mut status = head.status.as_u16();
        if call.encoding == Encoding::Grpc {
            let trailers = body.trailers().await?.unwrap_or_default();
            let code = number(&trailers, "grpc-status").or(number(&head.headers, "grpc-status"));
            status = if code == Some(0) { 200 } else { 503 };
        }
        let head_bytes = number(&head.headers, HEADER_LENGTH);
        Ok(Answer { status, head_bytes, body: read, at: stamp.arrival().at })
    }
}
